"""When resolvers run: together, in order, once, and not after the end."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from graphql import GraphQLError, GraphQLField, GraphQLObjectType, GraphQLSchema, build_schema, parse

from gateway.compiler import Attribute, Batch, Call, Compiled, Outcome, Planner, Resolve, compile_operation
from gateway.compiler.plans import default_plan
from tests.compiler.oracle import Case, coerced, find_operation, run_core, running, settle
from tests.patience import PATIENCE

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
