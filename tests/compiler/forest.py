"""A small schema of trees whose resolvers a test chooses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from graphql import GraphQLObjectType, GraphQLSchema, build_schema, parse

from gateway.compiler import Compiled, Outcome, Planner, compile_operation
from tests.compiler.oracle import Case, coerced, find_operation

SDL = """
interface Node { id: Int rank: Int! }
type Leaf implements Node { id: Int rank: Int! wait: Int owner: Node }
type Tree implements Node { id: Int rank: Int! wait: Int wait_: Int! now: Int owner: Node
  trees: [Tree!]! maybe: [Tree] nodes: [Node!] row: [[Tree]!] tree: Tree tree_: Tree! }
type Query { wait: Int wait_: Int! now: Int trees: [Tree!]! maybe: [Tree] nodes: [Node!] tree: Tree tree_: Tree! }
type Mutation { step(n: Int!): Int step_(n: Int!): Int! tree(n: Int!): Tree }
type Subscription { ticks: Tree }
"""
"""Seconds after which things that wait for each other are believed to do so for ever."""


class Item:
    """A source of made-up trees: ``children`` at each level, ``depth`` levels."""

    def __init__(self, id: int = 0, leaf: bool = False) -> None:
        self.id = id
        self.leaf = leaf
        self.now = 7

    @property
    def trees(self) -> list[Item]:
        return [Item(self.id * 10 + n) for n in (1, 2, 3)]

    maybe = trees

    @property
    def nodes(self) -> list[Item]:
        return [Item(self.id * 10 + n, leaf=n == 2) for n in (1, 2, 3)]

    @property
    def row(self) -> list[list[Item | None]]:
        return [[Item(1), None], [], [Item(2)]]

    @property
    def tree(self) -> Item:
        return Item(self.id * 10)

    tree_ = tree


def schema(**resolvers: Callable[..., Any]) -> GraphQLSchema:
    """The schema with resolvers for all fields of a name; the others are attributes."""
    built = build_schema(SDL)
    for kind in built.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):  # those are shared
            for name, declared in kind.fields.items():
                declared.resolve = resolvers.get(name)
    built.type_map["Node"].resolve_type = lambda value, *_: "Leaf" if value.leaf else "Tree"  # type: ignore[attr-defined]
    return built


def compiled(built: GraphQLSchema, text: str, planner: Planner | None = None) -> Compiled:
    document = parse(text)
    return compile_operation(built, document, find_operation(document, None), planner=planner)


async def outcome(
    made: Compiled, root: Any = None, context: Any = None, variables: dict[str, Any] | None = None
) -> Outcome:
    document = parse("{ a }")
    values = coerced(made.schema, document, Case("", variables or {}))
    assert values is not None
    result = made.run(Item() if root is None else root, context, values)
    return await result if isinstance(result, Awaitable) else result


def data(result: Outcome) -> Any:
    return None if result.data is None else orjson.loads(result.data)
