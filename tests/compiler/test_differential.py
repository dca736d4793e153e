"""Compiled operations answer as graphql-core does, over generated documents and made-up answers."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import hypothesis_graphql
import pytest
from graphql import GraphQLObjectType, GraphQLSchema, OperationType, parse
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import nodes

from auth.principals import View
from gateway.compiler import Planner
from gateway.contracts import build_contracts
from schema.build import full_schema
from tests.compiler.adversary import adversary, bare_adversary
from tests.compiler.chaos import Chaos
from tests.compiler.mangle import mangle
from tests.compiler.oracle import Case, compare, find_operation, variable_differences
from tests.compiler.planned import plan_all
from tests.compiler.unleashed import unleash

RATES = (0.0, 0.02, 0.15, 0.5)
"""Shares of wrong values: sound answers must take the fast way, a single wrong one must leave it in time."""

SCALARS: dict[str, Any] = {
    "DateTime": st.just(nodes.String("2026-03-02T04:00:00+08:00")),
    "Int64": st.sampled_from([0, 2**53 + 1, -(2**63)]).map(nodes.Int),
    "Even": st.sampled_from([0, 2, -4]).map(nodes.Int),
    "Any": st.sampled_from([nodes.Int(1), nodes.String("x"), nodes.Null, nodes.List([nodes.Int(1)]), nodes.Object([])]),
}


@cache
def strange() -> GraphQLSchema:
    return adversary()


@cache
def planned() -> tuple[GraphQLSchema, Planner]:
    """The awkward schema, read in all ways of a planner."""
    schema = bare_adversary()
    return schema, plan_all(schema)


@cache
def planned_contracts() -> dict[View, tuple[GraphQLSchema, Planner]]:
    """The product's contracts, read in all ways of a planner."""
    built = build_contracts(full_schema())
    return {view: (contract.schema, plan_all(contract.schema)) for view, contract in built.items()}


@cache
def contracts() -> dict[View, GraphQLSchema]:
    """The product's contracts with made-up answers in place of its resolvers."""
    built = build_contracts(full_schema())
    return {view: unleash(contract.schema) for view, contract in built.items()}


def documents(schema: GraphQLSchema) -> st.SearchStrategy[str]:
    """Queries and mutations, and subscriptions as the queries that their events are answered with."""
    scalars = {name: made for name, made in SCALARS.items() if name in schema.type_map}
    # `custom_scalars` must not name scalars that only the answers have.
    found = hypothesis_graphql.from_schema(schema, custom_scalars=scalars)
    if schema.subscription_type is None:
        return found
    kwargs = schema.to_kwargs() | {"query": schema.subscription_type, "mutation": None, "subscription": None}
    events = GraphQLSchema(**kwargs)
    each = [hypothesis_graphql.queries(events, fields=[f], custom_scalars=scalars) for f in events.query_type.fields]
    return st.one_of(found, st.one_of(each).map(lambda text: f"subscription {text}"))


def check(
    schema: GraphQLSchema,
    case: Case,
    seeds: range | list[int],
    planner: Planner | None = None,
    rates: tuple[float, ...] = RATES,
) -> bool:
    """Fail when the compiled operation and graphql-core differ for one of the seeds. Whether both were executed."""
    kind = find_operation(parse(case.text), case.name).operation
    root = {
        OperationType.QUERY: schema.query_type,
        OperationType.MUTATION: schema.mutation_type,
        OperationType.SUBSCRIPTION: schema.subscription_type,
    }[kind]
    assert isinstance(root, GraphQLObjectType)
    found = variable_differences(schema, case)
    executed = 0

    async def run() -> None:
        nonlocal executed
        compiled: dict[Any, Any] = {}
        for seed in seeds:
            for rate in rates:

                def setting(seed: int = seed, rate: float = rate) -> tuple[Any, Any]:
                    chaos = Chaos(seed, rate, schema, plain=planner is not None)
                    return chaos.root(root), chaos

                differences = await compare(schema, case, setting, compiled, planner)
                executed += differences is not None
                found.extend(f"{difference}\n  seed {seed} rate {rate}" for difference in differences or ())

    asyncio.run(run())
    assert not found, f"{case}\n" + "\n".join(found[:4])
    return executed > 0


def check_mangled(schema: GraphQLSchema, text: str, seed: int, planner: Planner | None = None) -> None:
    """Check a document and a few harder ones made of it, each with its own answers."""
    for number in range(3):
        case = mangle(schema, text, seed + number)
        if case is not None:
            check(schema, case, [(seed + number) % 9973], planner)


few = settings(max_examples=25, phases=[Phase.explicit, Phase.generate, Phase.shrink])
seeds = st.integers(0, 2**32)


@few
@given(text=st.deferred(lambda: documents(strange())), seed=seeds)
def test_awkward_schema(text: str, seed: int) -> None:
    check_mangled(strange(), text, seed)


@pytest.mark.parametrize("view", list(View))
def test_contract(view: View) -> None:
    @settings(few, max_examples=8)
    @given(text=documents(contracts()[view]), seed=seeds)
    def one(text: str, seed: int) -> None:
        check_mangled(contracts()[view], text, seed)

    one()


@few
@given(text=st.deferred(lambda: documents(planned()[0])), seed=seeds)
def test_planned_schema(text: str, seed: int) -> None:
    schema, planner = planned()
    check_mangled(schema, text, seed, planner)


@pytest.mark.parametrize("view", list(View))
def test_planned_contract(view: View) -> None:
    schema, planner = planned_contracts()[view]

    @settings(few, max_examples=6)
    @given(text=documents(schema), seed=seeds)
    def one(text: str, seed: int) -> None:
        check_mangled(schema, text, seed, planner)

    one()
