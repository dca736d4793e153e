"""What is cancelled, or ends by what is no exception, leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import Any

import pytest
from graphql import GraphQLField, GraphQLObjectType, parse

from gateway.compiler import Attribute, Batch, Planner
from gateway.compiler.plans import default_plan
from tests.compiler.forest import Item, compiled, outcome, schema
from tests.compiler.oracle import Case, coerced, run_core, running, settle

# -- to the end


@pytest.mark.parametrize(
    "text",
    [
        "{ wait }",
        "{ wait wait_ now }",
        "{ trees { wait tree { wait } } }",
        "{ nodes { ... on Leaf { wait } ... on Tree { wait wait_ trees { wait } } } }",
        "mutation { tree(n: 1) { wait other: wait } }",
        "subscription { ticks { wait other: wait trees { wait } } }",
    ],
)
async def test_cancelling_stops_what_runs(text: str) -> None:
    running: set[Item | int] = set()
    stopped: list[Any] = []
    entered = asyncio.Event()

    async def wait(source: Any, info: Any) -> int:
        mark = tuple(info.path.as_list())
        running.add(mark)  # type: ignore[arg-type]
        entered.set()
        try:
            await asyncio.Event().wait()
            return 1
        finally:
            running.discard(mark)  # type: ignore[arg-type]
            stopped.append(mark)

    async def tree(_source: Any, _info: Any, n: int = 0) -> Item:
        return Item(n)

    made = compiled(schema(wait=wait, wait_=wait, tree=tree, ticks=tree), text)
    task = asyncio.ensure_future(outcome(made))
    await entered.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert running
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()
    assert not running
    assert stopped


@pytest.mark.parametrize(
    "text",
    [
        "{ a: wait b: wait_ }",
        "{ trees { a: wait b: wait } now }",
        "{ wait trees { wait } }",
        "{ trees { batched: id w: wait } maybe { batched: id w: wait } }",
    ],
)
async def test_cancelling_at_once_leaves_no_coroutine_behind(text: str) -> None:
    """What was called and has not begun to run is closed: nobody would ever await it."""

    async def wait(*_: Any) -> int:
        await asyncio.get_running_loop().create_future()
        return 1

    def plan(parent: GraphQLObjectType, name: str, definition: GraphQLField) -> Any:
        if name == "id":
            return Batch(lambda _context, rows: gapped(rows))
        return default_plan(parent, name, definition)

    async def gapped(rows: list[Any]) -> list[Any]:
        return [await wait() for _ in rows]

    made = compiled(schema(wait=wait, wait_=wait), text, Planner(plan))
    loop = asyncio.get_running_loop()
    gc.collect()  # what other tests have left
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for turns in range(6):  # the earlier, the less has begun
            task = asyncio.create_task(outcome(made))
            for _ in range(turns):
                await asyncio.sleep(0)
            loop.call_soon(task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await task
        gc.collect()
    assert [str(warning.message) for warning in caught if warning.category is RuntimeWarning] == []


async def test_what_is_cancelled_before_it_begins_leaves_no_coroutine_behind() -> None:
    made = compiled(schema(wait=lambda *_: 1), "{ wait }")
    no_variables = coerced(made.schema, parse("{ a }"), Case(""))
    assert no_variables is not None
    gc.collect()  # what other tests have left
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pending: Any = made.run(Item(), None, no_variables)
        pending.close()
        del pending
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


async def test_cancelling_stops_loads() -> None:
    begun: list[asyncio.Future[Any]] = []

    def load(_context: Any, _rows: list[Item]) -> asyncio.Future[Any]:
        begun.append(asyncio.get_running_loop().create_future())
        return begun[-1]

    planner = Planner(lambda _parent, name, _field: Batch(load) if "wait" in name else Attribute(name))
    made = compiled(schema(), "{ tree_ { wait } trees { wait } wait }", planner)
    task = asyncio.ensure_future(outcome(made))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(begun) == 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()
    assert [future.cancelled() for future in begun] == [True, True, True]


class Stop(BaseException):
    """Nothing that a field may swallow."""


@pytest.mark.parametrize("error", [Stop, asyncio.CancelledError])
@pytest.mark.parametrize("text", ["{ now }", "{ now wait }", "{ trees { now } }", "{ trees { now wait } wait }"])
@pytest.mark.parametrize("asynchronous", [True, False])
async def test_what_is_no_exception_ends_everything(text: str, asynchronous: bool, error: type[BaseException]) -> None:
    async def wait(*_: Any) -> int:
        await asyncio.Event().wait()
        return 1

    async def now_later(*_: Any) -> int:
        await asyncio.sleep(0)
        raise error

    def now(*_: Any) -> int:
        raise error

    built = schema(wait=wait, now=now_later if asynchronous else now)
    with pytest.raises(error):
        await run_core(built, parse(text), Case(text), Item(), None)
    await _end_all()
    with pytest.raises(error):
        await outcome(compiled(built, text))
    await settle()


async def _end_all() -> None:
    """What graphql-core leaves behind."""
    for task in running():
        task.cancel()
    await settle()
