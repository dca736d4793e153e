"""Loaders: what is merged, what a failure touches, what cancellation stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.principals import ANONYMOUS
from resolvers import loading
from resolvers.context import Context, batched
from resolvers.loading import Loader


class Source:
    """Doubles numbers; odd ones fail on request; can be held up."""

    def __init__(self, fails: Callable[[int], bool] = lambda key: False) -> None:
        self.calls: list[list[int]] = []
        self.fails = fails
        self.open = asyncio.Event()
        self.open.set()
        self.cancelled = 0

    async def read(self, keys: list[int]) -> list[int | Exception]:
        self.calls.append(keys)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return [KeyError(key) if self.fails(key) else key * 2 for key in keys]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_one_turn_is_one_call_with_distinct_keys() -> None:
    source = Source()
    loader = Loader(source.read)
    one, many, other = await asyncio.gather(loader.load(3), loader.load_many([1, 2, 1, 3]), loader.load(1))
    assert (one, many, other) == (6, [2, 4, 2, 6], 2)
    assert source.calls == [[3, 1, 2]]
    assert await loader.load_many([2, 3]) == [4, 6] and await loader.load(1) == 2
    assert source.calls == [[3, 1, 2]]


async def test_no_key_has_no_value_and_is_not_read() -> None:
    source = Source()
    loader: Loader[int | None, int] = Loader(source.read)  # type: ignore[arg-type]
    assert await asyncio.gather(loader.load_many([None, 1, None]), loader.load(None)) == [[None, 2, None], None]
    assert await loader.load_many([None]) == [None]
    assert source.calls == [[1]]


async def test_tasks_that_are_ready_in_the_same_turn_are_merged() -> None:
    source = Source()
    loader = Loader(source.read)

    async def field(key: int) -> int:
        return await loader.load(key)

    assert await asyncio.gather(*(field(key) for key in range(50))) == [key * 2 for key in range(50)]
    assert source.calls == [list(range(50))]


async def test_a_key_on_its_way_is_not_read_again() -> None:
    source = Source()
    source.open.clear()
    loader = Loader(source.read)
    first = loader.load(1)
    await turns()
    second = loader.load_many([1, 2])
    await turns()
    assert source.calls == [[1], [2]]
    source.open.set()
    assert await first == 2 and await second == [2, 4]


async def test_a_failed_key_is_its_own_failure_only() -> None:
    source = Source(lambda key: key % 2 == 1)
    loader = Loader(source.read)
    values = await loader.load_many([1, 2, 3])
    assert [type(value) for value in values] == [KeyError, int, KeyError]
    with pytest.raises(KeyError):
        await loader.load(1)
    assert await loader.load(2) == 4
    assert source.calls == [[1, 2, 3]]


@pytest.mark.parametrize("wrong", ["raises", "short"])
async def test_a_failed_call_is_the_failure_of_all_its_keys(wrong: str) -> None:
    async def read(keys: list[int]) -> list[int]:
        if wrong == "raises":
            raise OSError("no database")
        return [0] * (len(keys) - 1)

    loader: Loader[int, int] = Loader(read)
    values = await loader.load_many([1, 2])
    assert all(isinstance(value, OSError if wrong == "raises" else ValueError) for value in values)
    with pytest.raises((OSError, ValueError)):
        await loader.load(2)


async def test_many_keys_are_several_bounded_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "MAX_KEYS", 10)
    source = Source()
    loader = Loader(source.read)
    assert await loader.load_many(range(25)) == [key * 2 for key in range(25)]
    assert [len(call) for call in source.calls] == [10, 10, 5]


async def test_what_is_primed_is_not_read_and_overrides_nothing() -> None:
    source = Source()
    loader = Loader(source.read)
    pending = loader.load(1)
    loader.prime({1: 100, 2: 200})
    assert await pending == 2 and await loader.load(2) == 200
    loader.prime({1: 100, 2: 300})
    assert await loader.load_many([1, 2]) == [2, 200]
    assert source.calls == [[1]]


async def test_a_call_nobody_waits_for_is_cancelled_and_one_somebody_waits_for_is_not() -> None:
    source = Source()
    source.open.clear()
    loader = Loader(source.read)
    waiters = [loader.load(1), loader.load_many([1, 2])]
    await turns()
    waiters[0].cancel()
    await turns()
    assert source.cancelled == 0
    waiters[1].cancel()
    await turns()
    assert source.cancelled == 1
    source.open.set()
    assert await loader.load_many([1, 2]) == [2, 4]
    assert source.calls == [[1, 2], [1, 2]]


async def test_cancelled_before_it_began_nothing_is_read() -> None:
    source = Source()
    loader = Loader(source.read)
    loader.load(1).cancel()
    await turns()
    assert source.calls == []
    assert await loader.load(1) == 2


async def test_somebody_who_comes_as_the_last_one_leaves_gets_the_value() -> None:
    source = Source()
    source.open.clear()
    loader = Loader(source.read)
    leaves = loader.load(1)
    await turns()
    leaves.cancel()
    await asyncio.sleep(0)  # the call is being cancelled now
    comes = loader.load(1)
    source.open.set()
    assert await comes == 2


@given(st.lists(st.one_of(st.integers(0, 8), st.lists(st.integers(0, 8)), st.just("turn")), max_size=30))
def test_any_order_of_requests_gives_each_its_values_and_reads_no_key_twice(steps: list[Any]) -> None:
    async def run() -> None:
        source = Source(lambda key: key == 7)
        loader = Loader(source.read)
        asked: list[tuple[Any, asyncio.Future[Any]]] = []
        for step in steps:
            if step == "turn":
                await asyncio.sleep(0)
            else:
                asked.append((step, loader.load_many(step) if isinstance(step, list) else loader.load(step)))
        for step, future in asked:
            if isinstance(step, list):
                assert [v if isinstance(v, int) else 14 for v in await future] == [key * 2 for key in step]
            elif step == 7:
                with pytest.raises(KeyError):
                    await future
            else:
                assert await future == step * 2
        read = [key for call in source.calls for key in call]
        assert len(read) == len(set(read))

    asyncio.run(run())


async def test_a_batched_field_says_what_it_reads() -> None:
    calls: list[list[int]] = []

    async def load(context: Context, keys: list[int]) -> list[str]:
        calls.append(keys)
        return [f"{context.locale}{key}" for key in keys]

    class Row:
        def __init__(self, other: int | None) -> None:
            self.other = other

    field = batched(load, lambda row: row.other)
    assert field.batch.load is load and field.batch.key(Row(4)) == 4

    class FakeInfo:
        context = Context(None, None, ANONYMOUS)  # type: ignore[arg-type]

    rows = [Row(1), Row(None), Row(2), Row(1)]
    assert await asyncio.gather(*(field(row, FakeInfo()) for row in rows)) == ["en1", None, "en2", "en1"]  # type: ignore[arg-type]
    assert calls == [[1, 2]]
