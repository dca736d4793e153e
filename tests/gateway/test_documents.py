"""Documents: limits, caches, persisted operations."""

from __future__ import annotations

import gc
import hashlib
from pathlib import Path
from typing import Any

import orjson
import pytest
from graphql import DocumentNode

from auth.principals import ANONYMOUS, Principal, PrincipalKind, View
from core.settings import Settings
from gateway.contracts import build_contracts
from gateway.documents import Documents, document_id
from gateway.execution import Gateway, OperationRequest
from gateway.manifests import ManifestError, ManifestOperation, make_manifest, read_manifest
from gateway.operations import Operations
from gateway.refusals import Refused
from tests.gateway.tiny import tiny_schema

CONTRACTS = build_contracts(tiny_schema())
PARTNER = Principal(PrincipalKind.PARTNER, View.PARTNER)
BODY = "query Tea { thing { id } }"
ID = hashlib.sha256(BODY.encode()).hexdigest()


def gateway() -> Gateway:
    operations = Operations()
    operations.add(View.PARTNER, CONTRACTS[View.PARTNER], BODY)
    operations.add(View.CONSUMER, CONTRACTS[View.CONSUMER], BODY)
    return Gateway(CONTRACTS, Settings(), operations)


def refusal(
    principal: Principal = ANONYMOUS, door: Gateway | None = None, **request: Any
) -> tuple[dict[str, Any], int]:
    with pytest.raises(Refused) as caught:
        (door or gateway()).admit(principal, OperationRequest(**request))
    return caught.value.errors[0], caught.value.http_status


def apollo(id: str, version: Any = 1) -> dict[str, Any]:
    return {"persistedQuery": {"version": version, "sha256Hash": id}}


@pytest.mark.parametrize(
    ("query", "code", "limit"),
    [
        ("{" + " ".join("thing { id }" for _ in range(600)) + "}", "TOKEN_LIMIT_EXCEEDED", 2000),
        ("{" + " ".join(f"a{i}: thing {{ id }}" for i in range(51)) + "}", "ALIAS_LIMIT_EXCEEDED", 50),
        ("{" + "thing " * 21 + "}", "ROOT_FIELD_LIMIT_EXCEEDED", 20),
        ("{ thing" * 16 + " { id }" + "}" * 16, "DEPTH_LIMIT_EXCEEDED", 15),
        ("{ thing @a" + "@a" * 50 + " { id } }", "DIRECTIVE_LIMIT_EXCEEDED", 50),
        (
            "query Q @a { thing { ...F @a } } fragment F on Thing " + "@a " * 50 + "{ id }",
            "DIRECTIVE_LIMIT_EXCEEDED",
            50,
        ),
        ("mutation {" + " ".join(f"a{i}: bump {{ __typename }}" for i in range(6)) + "}", "MUTATION_LIMIT_EXCEEDED", 5),
        ('{ thing(name: "' + "x" * 10_001 + '") { id } }', "INPUT_STRING_LIMIT_EXCEEDED", 10_000),
        ("{ thing(name: [" + "1 " * 251 + "]) { id } }", "INPUT_LIST_LIMIT_EXCEEDED", 250),
        ("{ thing(name: " + "{a: " * 11 + "1" + "}" * 11 + ") { id } }", "INPUT_DEPTH_LIMIT_EXCEEDED", 10),
        ("query Q($a: [Int] = [" + "1 " * 251 + "]) { thing { id } }", "INPUT_LIST_LIMIT_EXCEEDED", 250),
        ("{ things(first: 101) { nodes { id } } }", "PAGE_SIZE_LIMIT_EXCEEDED", 100),
        ("{ thing" * 900 + " { id }" + "}" * 900, "DEPTH_LIMIT_EXCEEDED", 15),
    ],
)
def test_limits_have_a_code_the_limit_and_the_value(query: str, code: str, limit: int) -> None:
    error, status = refusal(query=query)
    assert error["extensions"]["code"] == code
    assert error["extensions"]["limit"] == limit
    assert status == 400


@pytest.mark.parametrize(
    ("value", "code", "limit", "actual"),
    [
        ("x" * 10_001, "INPUT_STRING_LIMIT_EXCEEDED", 10_000, 10_001),
        ({"a": ["x", {"b": "x" * 20_000}]}, "INPUT_STRING_LIMIT_EXCEEDED", 10_000, 20_000),
        ([1] * 251, "INPUT_LIST_LIMIT_EXCEEDED", 250, 251),
        ({"a": [[1] * 250, ["y"] * 300]}, "INPUT_LIST_LIMIT_EXCEEDED", 250, 300),
        ([[[[[[[[[[[1]]]]]]]]]]], "INPUT_DEPTH_LIMIT_EXCEEDED", 10, 11),
        (orjson.loads("[" * 300 + "]" * 300), "INPUT_DEPTH_LIMIT_EXCEEDED", 10, 11),
    ],
)
def test_variables_have_limits_whatever_they_are_for(value: Any, code: str, limit: int, actual: int) -> None:
    query = "query E($value: Int64!) { echo(value: $value) }"
    error, status = refusal(query=query, variables={"value": value})
    facts = error["extensions"]
    assert (facts["code"], facts["limit"], facts["value"], status) == (code, limit, actual, 400)


def test_the_largest_variables_are_admitted() -> None:
    deep = {"a": {"b": [{"c": ["x" * 10_000] * 250}]}}
    error, _ = refusal(query="query E($value: Int64!) { echo(value: $value) }", variables={"value": deep})
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


def test_limits_are_settings() -> None:
    query = "{ a: thing { id } b: thing { id } }"
    assert Gateway(CONTRACTS, Settings()).admit(ANONYMOUS, OperationRequest(query=query))
    for strict, code in (
        ({"max_aliases": 1}, "ALIAS_LIMIT_EXCEEDED"),
        ({"max_depth": 1}, "DEPTH_LIMIT_EXCEEDED"),
        ({"max_root_fields": 1}, "ROOT_FIELD_LIMIT_EXCEEDED"),
        ({"max_tokens": 5}, "TOKEN_LIMIT_EXCEEDED"),
        ({"max_nodes": 1}, "NODE_LIMIT_EXCEEDED"),
    ):
        error, _ = refusal(door=Gateway(CONTRACTS, Settings(**strict)), query=query)  # type: ignore[arg-type]
        assert error["extensions"]["code"] == code


def test_more_objects_than_an_answer_may_have_are_not_looked_for() -> None:
    query = "query Q($n: Int!) { things(first: $n) { nodes { id } edges { node { id } } } }"
    door = Gateway(CONTRACTS, Settings(max_nodes=100))
    assert door.admit(ANONYMOUS, OperationRequest(query=query, variables={"n": 33})).cost == 2 + 33 * 3
    error, _ = refusal(door=door, query=query, variables={"n": 34})
    assert error["extensions"] == {"code": "NODE_LIMIT_EXCEEDED", "limit": 100, "value": 103}


def test_fragments_count_every_time_they_are_used() -> None:
    fragments = " ".join(f"fragment F{i} on Q {{ a: x {{ ...F{i + 1} }} b: x {{ ...F{i + 1} }} }}" for i in range(12))
    error, _ = refusal(query="{ ...F0 } " + fragments + " fragment F12 on Q { id }")
    assert error["extensions"]["code"] == "ALIAS_LIMIT_EXCEEDED"
    assert error["extensions"]["value"] == sum(2 ** (i + 1) for i in range(12))


def test_a_cycle_of_fragments_is_refused_by_validation() -> None:
    error, _ = refusal(query="{ thing { ...A } } fragment A on Thing { ...B } fragment B on Thing { ...A }")
    assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


def test_the_cache_keeps_documents_apart_by_view_and_is_bounded() -> None:
    documents = Documents(introspection=False, cached_tokens=100)
    consumer, admin = CONTRACTS[View.CONSUMER], CONTRACTS[View.ADMIN]
    document = documents.load(admin, "{ thing { secret } }")
    assert documents.load(admin, "{ thing { secret } }") is document
    with pytest.raises(Refused):
        documents.load(consumer, "{ thing { secret } }")
    for i in range(50):
        documents.load(consumer, f"query Q{i} {{ thing {{ id }} }}")
    assert documents.get(View.ADMIN, document.id) is None
    assert documents.get(View.CONSUMER, document_id("query Q49 { thing { id } }")) is not None


def test_syntax_errors_have_a_place_and_a_code() -> None:
    error, _ = refusal(query="{ thing {")
    assert error["extensions"]["code"] == "GRAPHQL_PARSE_FAILED"
    assert error["locations"]


def test_nothing_is_kept_of_a_document_with_too_many_mistakes() -> None:
    text = "{" + " ".join(f"mistake{i}" for i in range(10)) + "}"
    error, _ = refusal(query=text)
    assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    gc.collect()
    trees = [one for one in gc.get_objects() if type(one) is DocumentNode and one.loc]
    assert text not in {tree.loc.source.body for tree in trees}


def test_operation_names() -> None:
    two = "query A { thing { id } } query B { thing { name } }"
    assert refusal(query=two)[0]["extensions"]["code"] == "OPERATION_RESOLUTION_FAILURE"
    assert refusal(query=two, operation_name="C")[0]["extensions"]["code"] == "OPERATION_RESOLUTION_FAILURE"
    assert gateway().admit(ANONYMOUS, OperationRequest(query=two, operation_name="B")).name == "B"


@pytest.mark.parametrize(
    "variables", [{"value": "12x"}, {"value": 2**70}, {}, {"value": None}, {"value": True}, {"value": 1.5}]
)
def test_variables_that_do_not_fit_are_the_callers_mistake(variables: dict[str, Any]) -> None:
    error, _ = refusal(query="query E($value: Int64!) { echo(value: $value) }", variables=variables)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.mark.parametrize(
    "at",
    ["2026-03-02T12:00:00", "2026-03-02", "20260302T120000Z", "2026-03-02T12:00:00+0800", "2026-02-30T12:00:00Z", 5],
)
def test_a_datetime_needs_an_offset_and_the_form_of_rfc_3339(at: Any) -> None:
    error, _ = refusal(query="query E($at: DateTime!) { thing(at: $at) { at } }", variables={"at": at})
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


@pytest.mark.parametrize("id", [ID, f"sha256:{ID}", f"sha256:{ID.upper()}"])
def test_a_registered_operation_is_found_by_its_id(id: str) -> None:
    assert gateway().admit(PARTNER, OperationRequest(document_id=id)).document.text == BODY
    assert gateway().admit(PARTNER, OperationRequest(extensions=apollo(ID))).document.text == BODY
    assert gateway().admit(ANONYMOUS, OperationRequest(document_id=id)).name == "Tea"


def test_a_partner_may_send_nothing_but_registered_operations() -> None:
    unknown = document_id("{ thing { name } }")
    for request, code, status in [
        ({"query": BODY}, "PERSISTED_QUERY_ID_REQUIRED", 400),
        ({}, "PERSISTED_QUERY_ID_REQUIRED", 400),
        ({"document_id": unknown}, "PERSISTED_QUERY_NOT_IN_LIST", 404),
        ({"extensions": apollo(unknown)}, "PERSISTED_QUERY_NOT_IN_LIST", 404),
        ({"query": "{ thing { name } }", "extensions": apollo(unknown)}, "CANNOT_SEND_PQ_ID_AND_BODY", 400),
        ({"query": "{ thing { name } }", "document_id": ID}, "CANNOT_SEND_PQ_ID_AND_BODY", 400),
    ]:
        error, found = refusal(PARTNER, **request)
        assert (error["extensions"]["code"], found) == (code, status), request
    assert gateway().admit(PARTNER, OperationRequest(document_id=ID, query=BODY)).name == "Tea"


def test_automatic_persisted_queries_of_first_party_clients() -> None:
    door = gateway()
    query = "{ thing { name } }"
    id = document_id(query)
    error, status = refusal(door=door, extensions=apollo(id))
    assert (error["message"], error["extensions"]["code"], status) == (
        "PersistedQueryNotFound",
        "PERSISTED_QUERY_NOT_FOUND",
        200,
    )
    door.admit(ANONYMOUS, OperationRequest(query=query, extensions=apollo(id)))
    assert door.admit(ANONYMOUS, OperationRequest(extensions=apollo(id))).document.text == query
    error, status = refusal(door=door, query="{ thing { id } }", extensions=apollo(id))
    assert (error["message"], status) == ("provided sha does not match query", 400)


@pytest.mark.parametrize(
    "extensions",
    [{"persistedQuery": 1}, apollo(ID, 2), apollo("zz"), {"persistedQuery": {"version": 1}}],
)
def test_a_malformed_persisted_query_is_refused(extensions: dict[str, Any]) -> None:
    assert refusal(extensions=extensions)[1] == 400


def test_manifests(tmp_path: Path) -> None:
    path = tmp_path / "operations.json"
    source = tmp_path / "Tea.graphql"
    source.write_text(BODY + "\n")
    path.write_bytes(make_manifest([source]))
    assert orjson.loads(path.read_bytes())["operations"] == [{"id": ID, "name": "Tea", "type": "query", "body": BODY}]
    assert read_manifest(path) == [ManifestOperation(ID, "Tea", BODY)]
    path.write_bytes(path.read_bytes().replace(b"{ id }", b"{ at }"))
    with pytest.raises(ManifestError, match="not the SHA-256"):
        read_manifest(path)
    source.write_text("{ thing { id } }")
    with pytest.raises(ManifestError, match="with a name"):
        make_manifest([source])
    path.write_text("[]")
    with pytest.raises(ManifestError, match="apollo"):
        read_manifest(path)


def test_a_manifest_operation_is_offered_to_the_views_whose_contract_has_all_of_it() -> None:
    operations = Operations()
    body = "query S { thing { secret } }"
    taken = operations.offer(ManifestOperation(document_id(body), "S", body), CONTRACTS, Documents(introspection=False))
    assert set(taken) == {View.ADMIN, View.MERCHANT}
    assert operations.find(View.PARTNER, None, document_id(body)) is None
