"""Fields that are loaded by key: one load for a list."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from graphql import GraphQLError, GraphQLField, GraphQLObjectType

from gateway.compiler import Attribute, Batch, Call, Planner, Resolve
from gateway.compiler.plans import default_plan
from tests.compiler.forest import Item, compiled, data, outcome, schema

# -- in batches


class Loads:
    """Planner whose ``wait``, ``owner`` and ``rank`` come for all objects of a level at once."""

    def __init__(self, answer: Callable[[str, list[Item]], Any]) -> None:
        self.calls: list[tuple[str, list[int]]] = []
        self._answer = answer
        self.planner = Planner(self._plan)

    def _plan(self, _parent: GraphQLObjectType, name: str, definition: GraphQLField) -> Any:
        if name in ("wait", "wait_", "owner", "rank"):
            return Batch(lambda context, rows: self._load(name, rows))
        return Resolve(definition.resolve) if definition.resolve else Attribute(name)

    async def _load(self, name: str, rows: list[Item]) -> Any:
        self.calls.append((name, [row.id for row in rows]))
        await asyncio.sleep(0)
        return self._answer(name, rows)


def ids(_name: str, rows: list[Item]) -> list[Any]:
    return [row.id for row in rows]


@pytest.mark.parametrize(
    ("text", "calls"),
    {
        "{ trees { wait } }": [("wait", [1, 2, 3])],
        "{ trees { trees { wait } } }": [("wait", [11, 12, 13, 21, 22, 23, 31, 32, 33])],
        "{ tree { row { wait } } }": [("wait", [1, 2])],
        "{ trees { wait wait_ } }": [("wait", [1, 2, 3]), ("wait_", [1, 2, 3])],
    }.items(),
    ids=str,
)
async def test_a_list_is_one_load(text: str, calls: list[Any]) -> None:
    loads = Loads(ids)
    result = await outcome(compiled(schema(), text, loads.planner))
    assert result.errors == []
    assert loads.calls == calls


async def test_an_object_that_several_of_a_list_have_in_common_is_completed_once() -> None:
    one, other = Item(5), Item(6)
    names: list[Item] = []

    def now(source: Item) -> int:
        names.append(source)
        return source.id

    def plan(parent: GraphQLObjectType, name: str, definition: GraphQLField) -> Any:
        if name == "tree":
            return Batch(lambda _context, rows: asyncio.sleep(0, [one, other, one]))
        return Call(now) if name == "now" else default_plan(parent, name, definition)

    result = await outcome(compiled(schema(), "{ trees { rank: id tree { now } } }", Planner(plan)))
    assert data(result) == {"trees": [{"rank": n, "tree": {"now": now}} for n, now in ((1, 5), (2, 6), (3, 5))]}
    assert names == [one, other]


async def test_loads_of_siblings_begin_before_any_is_awaited() -> None:
    """So that a loader below can join them."""
    begun: list[str] = []

    async def answer(name: str, rows: list[Item]) -> list[int]:
        assert len(begun) == 2
        return [row.id for row in rows]

    def load(name: str) -> Callable[[Any, list[Item]], Awaitable[list[Any]]]:
        def begin(_context: Any, rows: list[Item]) -> Awaitable[list[Any]]:
            begun.append(name)
            return answer(name, rows)

        return begin

    planner = Planner(lambda _parent, name, _field: Batch(load(name)) if "wait" in name else Attribute(name))
    result = await outcome(compiled(schema(), "{ trees { wait wait_ } }", planner))
    assert result.errors == []


async def test_objects_of_a_load_load_together() -> None:
    def answer(name: str, rows: list[Item]) -> list[Any]:
        return [Item(row.id * 10, leaf=row.id == 2) for row in rows] if name == "owner" else [row.id for row in rows]

    loads = Loads(answer)
    text = "{ trees { owner { ... on Tree { wait } ... on Leaf { wait } rank } } }"
    result = await outcome(compiled(schema(), text, loads.planner))
    assert result.errors == []
    assert loads.calls[0] == ("owner", [1, 2, 3])
    assert sorted(loads.calls[1:]) == [("rank", [10, 30]), ("rank", [20]), ("wait", [10, 30]), ("wait", [20])]
    assert [tree["owner"]["wait"] for tree in data(result)["trees"]] == [10, 20, 30]


LOCKED = GraphQLError("locked", extensions={"code": "LOCKED"})


@pytest.mark.parametrize(
    ("answer", "values", "errors"),
    [
        (lambda: [1, None, 3], [1, None, 3], []),
        (lambda: [1, LOCKED, 3], [1, None, 3], [(["maybe", 1, "wait"], "locked", {"code": "LOCKED"})]),
        (
            lambda: [1, "x", 3],
            [1, None, 3],
            [(["maybe", 1, "wait"], "Int cannot represent non-integer value: 'x'", {})],
        ),
        (lambda: (1, 2, 3), [1, 2, 3], []),
        (lambda: [2**40, True, 3.0], [None, 1, 3], [(["maybe", 0, "wait"], None, {})]),
    ],
    ids=["null", "error", "wrong", "tuple", "coerced"],
)
async def test_values_of_a_load(answer: Callable[[], Any], values: list[Any], errors: list[Any]) -> None:
    loads = Loads(lambda _name, _rows: answer())
    result = await outcome(compiled(schema(), "{ maybe { wait } }", loads.planner))
    assert [tree["wait"] for tree in data(result)["maybe"]] == values
    found = [(e.path, e.message if errors and errors[0][1] else None, e.extensions) for e in result.errors]
    assert found == errors


@pytest.mark.parametrize("rows", ["too few", "too many", "none", "raises", "raises at once"])
async def test_a_load_that_fails_fails_its_field_and_no_other(rows: str) -> None:
    def load(_context: Any, items: list[Item]) -> Any:
        if rows == "raises at once":
            raise ValueError("no loader")

        async def values() -> Any:
            if rows == "raises":
                raise ValueError("no database")
            return {"too few": [1], "too many": [1] * 9, "none": None}[rows]

        return values()

    planner = Planner(lambda _parent, name, _field: Batch(load) if name == "wait" else Attribute(name))
    result = await outcome(compiled(schema(), "{ trees { now wait } }", planner))
    assert data(result) == {"trees": [{"now": 7, "wait": None}] * 3}
    assert [error.path for error in result.errors] == [["trees", n, "wait"] for n in range(3)]
