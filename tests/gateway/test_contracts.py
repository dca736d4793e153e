"""Contracts: what a view may not see does not exist for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import strawberry
from graphql import GraphQLUnionType, validate_schema
from strawberry.types import Info

from auth.principals import ANONYMOUS, Principal, PrincipalKind, View
from core.settings import Settings
from gateway.contracts import build_contracts, sdl_drift, write_sdl
from gateway.execution import Gateway, OperationRequest
from gateway.refusals import Refused
from resolvers.context import Context
from schema.base import ALL, C, M, exposes, mutation, query, result, type_views
from schema.build import SchemaError, assemble
from tests.gateway.tiny import TinyQuery, tiny_schema

CONTRACTS = build_contracts(tiny_schema())


def gateway(introspection: bool = True) -> Gateway:
    return Gateway(CONTRACTS, Settings(introspection=introspection))


def refused(query: str, principal: Principal = ANONYMOUS, introspection: bool = True) -> list[str]:
    with pytest.raises(Refused) as caught:
        gateway(introspection).admit(principal, OperationRequest(query=query))
    return [error["message"] for error in caught.value.errors]


@pytest.mark.parametrize("view", list(View))
def test_every_contract_is_a_valid_schema(view: View) -> None:
    assert validate_schema(CONTRACTS[view].schema) == []


def test_a_field_of_another_view_does_not_exist() -> None:
    assert refused("{ thing { secret } }") == ["Cannot query field 'secret' on type 'Thing'."]
    assert refused("{ ledger { id } }") == ["Cannot query field 'ledger' on type 'Query'."]


def test_a_type_of_another_view_does_not_exist() -> None:
    assert refused("{ node(id: 1) { ... on Ledger { id } } }") == ["Unknown type 'Ledger'."]


def test_suggestions_never_name_a_hidden_field() -> None:
    assert not any("secret" in message for message in refused("{ thing { secre } }"))
    admin = Principal(PrincipalKind.ADMIN, View.ADMIN)
    assert refused("{ thing { secre } }", admin) == [
        "Cannot query field 'secre' on type 'Thing'. Did you mean 'secret'?"
    ]


def test_without_introspection_there_are_no_suggestions_and_no_schema() -> None:
    assert refused("{ thing { nam } }", introspection=False) == ["Cannot query field 'nam' on type 'Thing'."]
    assert "introspection" in refused("{ __schema { types { name } } }", introspection=False)[0]


async def test_introspection_shows_the_contract_only() -> None:
    door = gateway()
    operation = door.admit(ANONYMOUS, OperationRequest(query="{ __schema { types { name } } }"))
    answer = await door.execute(operation, Context(None, None, ANONYMOUS))  # type: ignore[arg-type]
    names = {entry["name"] for entry in answer["data"]["__schema"]["types"]}
    assert "Thing" in names
    assert not names & {"Ledger", "LedgerConnection", "LedgerEdge", "Money"}


def test_a_page_of_hidden_things_is_hidden_with_them() -> None:
    assert "LedgerConnection" in CONTRACTS[View.ADMIN].schema.type_map
    assert "LedgerConnection" not in CONTRACTS[View.MERCHANT].schema.type_map


def test_a_view_without_mutations_has_no_mutation_type() -> None:
    assert CONTRACTS[View.PARTNER].schema.mutation_type is None
    assert CONTRACTS[View.PARTNER].schema.subscription_type is None
    assert "StoreClosed" not in CONTRACTS[View.PARTNER].schema.type_map


def test_unions_keep_their_members_in_every_view_that_has_them() -> None:
    union = CONTRACTS[View.MERCHANT].schema.type_map["RenameResult"]
    assert isinstance(union, GraphQLUnionType)
    assert {t.name for t in union.types} == {"Thing", "StoreClosed", "NotFound", "InvalidInput", "PermissionDenied"}


def test_sdl_files_are_stable_and_drift_is_shown_as_a_difference(tmp_path: Path) -> None:
    write_sdl(CONTRACTS, tmp_path)
    assert sdl_drift(CONTRACTS, tmp_path) == ""
    assert sdl_drift(build_contracts(tiny_schema()), tmp_path) == ""
    path = tmp_path / "admin.graphql"
    path.write_text(path.read_text().replace("  secret: String!\n", ""))
    drift = sdl_drift(CONTRACTS, tmp_path)
    assert "+  secret: String!" in drift
    assert "consumer" not in drift


def test_a_type_without_views_is_refused_at_start() -> None:
    @strawberry.type
    class Undeclared:
        a: int

    class Q:
        @query(Undeclared, C)
        async def u(self) -> object: ...

    with pytest.raises(SchemaError, match="Undeclared says no views"):
        assemble([TinyQuery, Q])


def test_a_root_field_without_views_is_refused_at_start() -> None:
    class Q:
        @strawberry.field
        def free(self) -> int:
            return 1

    with pytest.raises(SchemaError, match=r"Query\.free says no views"):
        assemble([TinyQuery, Q])


def test_a_root_field_declared_twice_is_refused_at_start() -> None:
    class Q:
        @query(str, *ALL)
        async def thing(self) -> object: ...

    with pytest.raises(SchemaError, match="more than once: thing"):
        assemble([TinyQuery, Q])


def test_a_mutation_whose_success_is_hidden_is_refused_at_start() -> None:
    @exposes(views={C})
    @strawberry.type
    class OnlyConsumers:
        a: int

    class Mu:
        @mutation(result("OddResult", OnlyConsumers), C, M)
        async def odd(self, info: Info) -> object: ...

    try:
        with pytest.raises(SchemaError, match="OddResult has no success"):
            build_contracts(assemble([TinyQuery], [Mu]))
    finally:
        del type_views["OnlyConsumers"]
