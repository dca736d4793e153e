"""Arguments whose literals hold variables, for types that make something simple of them."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import GraphQLInputObjectType, GraphQLScalarType, build_schema, parse, print_ast, validate

from tests.compiler.oracle import Case, compare

SCHEMA = build_schema("scalar Raw input In { a: Int raw: Raw } type Query { f(raw: Raw, in: In): String }")


class World:
    """A context."""

    def __init__(self) -> None:
        self.calls: list[Any] = []


def _shown(_source: Any, info: Any, **arguments: Any) -> str:
    info.context.calls.append((("f",), repr(arguments)))
    return repr(arguments)


def _sum(values: dict[str, Any]) -> str:
    return repr(values)


RAW, IN = SCHEMA.type_map["Raw"], SCHEMA.type_map["In"]
assert isinstance(RAW, GraphQLScalarType) and isinstance(IN, GraphQLInputObjectType)
RAW.coerce_input_literal = print_ast  # type: ignore[method-assign]
IN.out_type = _sum  # type: ignore[method-assign]
assert SCHEMA.query_type is not None
SCHEMA.query_type.fields["f"].resolve = _shown


@pytest.mark.parametrize(
    "text",
    [
        "query ($x: Int) { f(raw: [$x, 1]) }",
        "query ($x: Int) { f(raw: {a: [{b: $x}]}) }",
        "query ($x: Int) { f(in: {a: $x}) }",
        "query ($x: Int) { f(in: {raw: [$x]}) }",
        "{ f(raw: {a: [1]}, in: {a: 1}) }",
    ],
)
@pytest.mark.parametrize("variables", [{}, {"x": None}, {"x": 5}], ids=str)
async def test_variables_in_literals(text: str, variables: dict[str, Any]) -> None:
    assert not validate(SCHEMA, parse(text))
    assert await compare(SCHEMA, Case(text, variables), lambda: (None, World())) == []
