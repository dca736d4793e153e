"""When resolvers run: together where they may, one after the other where they must."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.compiler.forest import Item, compiled, data, outcome, schema
from tests.patience import PATIENCE

# -- together


@pytest.mark.parametrize(
    ("text", "parties"),
    {
        "{ a: wait b: wait c: wait_ }": 3,
        "{ trees { wait } }": 3,
        "{ trees { wait other: wait_ } }": 6,
        "{ trees { trees { wait } } }": 9,
        "{ trees { trees { wait } w: wait } wait }": 13,
        "{ nodes { ... on Leaf { wait } ... on Tree { wait } } }": 3,
        "{ nodes { ... on Leaf { wait } ... on Tree { trees { wait } } } }": 7,
        "{ tree { tree_ { wait } other: tree { wait } } a: tree_ { wait } }": 3,
        "{ tree { row { wait } } }": 2,
        "{ maybe { now } tree { now wait } wait }": 2,
        "{ trees { tree { now trees { wait } } } }": 9,
    }.items(),
    ids=str,
)
async def test_siblings_wait_together(text: str, parties: int) -> None:
    barrier = asyncio.Barrier(parties)

    async def wait(*_: Any) -> int:
        async with asyncio.timeout(PATIENCE):
            await barrier.wait()
        return 1

    result = await outcome(compiled(schema(wait=wait, wait_=wait), text))
    assert result.errors == []


async def test_asynchronous_levels_wait_together() -> None:
    """Lists below awaited lists: all objects of the inner level wait for each other."""
    barriers = [asyncio.Barrier(3), asyncio.Barrier(9)]

    async def trees(source: Item, _info: Any) -> list[Item]:
        return source.trees

    async def wait(source: Item, _info: Any) -> int:
        async with asyncio.timeout(PATIENCE):
            await barriers[source.id > 9].wait()
        return source.id

    built = schema(trees=trees, wait=wait)
    result = await outcome(compiled(built, "{ trees { wait trees { wait } } }"))
    assert result.errors == []
    assert [[inner["wait"] for inner in tree["trees"]] for tree in data(result)["trees"]] == [
        [11, 12, 13],
        [21, 22, 23],
        [31, 32, 33],
    ]


async def test_a_field_does_not_wait_for_the_depth_of_another() -> None:
    """What is below one field may end before its sibling does."""
    inner = asyncio.Event()

    async def trees(source: Item, _info: Any) -> list[Item]:
        return source.trees

    async def wait(source: Item, _info: Any) -> int:
        if source.id == 0:
            async with asyncio.timeout(PATIENCE):
                await inner.wait()
        elif source.id == 3:
            inner.set()
        return 1

    result = await outcome(compiled(schema(trees=trees, wait=wait), "{ wait trees { wait } }"))
    assert result.errors == []


# -- in order


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_effects_come_one_after_the_other(asynchronous: bool) -> None:
    order: list[str] = []

    def begin(n: int) -> None:
        order.append(f"begin {n}")

    def end(n: int) -> int:
        order.append(f"end {n}")
        if n == 3:
            raise ValueError("three")
        return n

    async def step(_source: Any, _info: Any, n: int) -> int:
        begin(n)
        for _ in range(5 - n):
            await asyncio.sleep(0)
        return end(n)

    def step_now(_source: Any, _info: Any, n: int) -> int:
        begin(n)
        return end(n)

    async def tree(_source: Any, _info: Any, n: int) -> Item:
        begin(n)
        return Item()

    async def wait(*_: Any) -> int:
        await asyncio.sleep(0)
        order.append("below")
        return 1

    built = schema(step=step if asynchronous else step_now, tree=tree, wait=wait)
    text = "mutation { a: step(n: 1) b: step(n: 2) t: tree(n: 9) { wait } c: step(n: 3) d: step(n: 4) a: step(n: 1) }"
    result = await outcome(compiled(built, text))
    assert data(result) == {"a": 1, "b": 2, "t": {"wait": 1}, "c": None, "d": 4}
    assert [error.path for error in result.errors] == [["c"]]
    steps = [f"{what} {n}" for n in (1, 2) for what in ("begin", "end")]
    assert order == [*steps, "begin 9", "below", "begin 3", "end 3", "begin 4", "end 4"]


async def test_nothing_happens_after_an_effect_that_nulls_the_answer() -> None:
    done: list[int] = []

    async def step(_source: Any, _info: Any, n: int) -> int:
        done.append(n)
        if n == 2:
            raise ValueError("two")
        return n

    result = await outcome(
        compiled(schema(step=step, step_=step), "mutation { a: step(n: 1) b: step_(n: 2) c: step(n: 3) }")
    )
    assert result.data is None
    assert [(error.path, error.message) for error in result.errors] == [(["b"], "two")]
    assert done == [1, 2]


async def test_an_effect_is_not_repeated_when_its_answer_is_wrong() -> None:
    """The second look that a wrong value gets must not be a second call."""
    calls: list[int] = []

    def step(_source: Any, _info: Any, n: int) -> Any:
        calls.append(n)
        return ["no", "numbers", object(), None][n % 4]

    text = "mutation { a: step(n: 0) b: step(n: 1) c: step(n: 2) d: step(n: 3) e: step_(n: 3) }"
    result = await outcome(compiled(schema(step=step, step_=step), text))
    assert calls == [0, 1, 2, 3, 3]
    assert result.data is None
    assert len(result.errors) == 4
