"""Fields as Strawberry declares them, planned as the product's are, beside Strawberry's own resolvers."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import hypothesis_graphql
import pytest
import strawberry
from graphql import GraphQLSchema, parse, validate
from hypothesis import given, settings
from hypothesis import strategies as st

from auth.principals import View
from core.money import Money as MoneyValue
from gateway.contracts import Contract
from resolvers.context import Load, batched
from resolvers.loading import Loader
from schema.base import ALL, Int64, Money, exposes, money_field, query
from schema.build import assemble
from tests.compiler.mangle import mangle
from tests.compiler.oddities import Later
from tests.compiler.oracle import Case, compare
from tests.compiler.test_differential import SCALARS, seeds

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)


@strawberry.enum
class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@dataclass
class Row:
    id: int
    name: str | None
    price: int | None = 5
    currency: str = "CNY"
    mood: Mood = Mood.GOOD
    at: datetime = NOON
    class_: str = "a word of Python"


@dataclass
class OtherRow:
    id: int
    inner: Row | None = None


@dataclass
class World:
    """A context with loaders, that counts its loads."""

    seed: int
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    loads: list[list[int]] = field(default_factory=list)
    _loaders: dict[Any, Any] = field(default_factory=dict)

    def loader(self, load: Load[Any, Any]) -> Any:
        if load not in self._loaders:

            async def read(keys: list[Any]) -> Any:
                return await load(self, keys)  # type: ignore[arg-type]

            self._loaders[load] = Loader(read)
        return self._loaders[load]


async def load_friend(context: Any, keys: list[int]) -> list[Any]:
    context.loads.append(keys)
    await asyncio.sleep(0)
    made: dict[int, Any] = {0: ValueError("no friend"), 1: None, 2: Row(7, "friend"), 3: Row(8, None)}
    return [made[key % 4] for key in keys]


def _friend_key(root: Any) -> int | None:
    return root.id if root.id < 6 else None


@strawberry.input
class Wish:
    text: str = "nothing"
    mood: Mood | None = None
    number: int | None = strawberry.UNSET
    numbers: list[int] = strawberry.field(default_factory=list)
    inner: Wish | None = None
    at: datetime | None = None


@strawberry.input(one_of=True)
class Choice:
    a: strawberry.Maybe[int]
    b: strawberry.Maybe[Wish]


@exposes(Row, views=set(View))
@strawberry.type
class Thing:
    id: int
    name: str
    mood: Mood
    at: datetime
    word: str = strawberry.field(name="word", default="")
    price: Money | None = money_field("price")
    must: Money = money_field("price")
    class_: str = strawberry.field(name="class")
    friend: Thing | None = strawberry.field(
        resolver=batched(load_friend, lambda root: root.id if root.id < 6 else None)
    )

    @strawberry.field
    def shout(self: Any, times: int = 2, suffix: str | None = None) -> str:
        return str(self.name).upper() * (times % 5) + repr(suffix)

    @strawberry.field
    async def later(root: strawberry.Parent[Row], info: strawberry.Info, mood: Mood = Mood.BAD) -> str:
        await asyncio.sleep(0)
        return f"{root.name} {mood!r} {info.field_name} {info.context.seed}"

    @strawberry.field
    def told(info: strawberry.Info, me: strawberry.Parent[Row], numbers: list[int] | None = None) -> str:
        return f"{info.python_name} {numbers!r} {me.id}"

    @strawberry.field
    def wishes(self: Any, wish: Wish, wishes: list[Wish] | None = None, choice: Choice | None = None) -> str:
        return f"{wish!r} {wishes!r} {choice!r}"

    @strawberry.field
    async def perhaps(self: Any, text: strawberry.Maybe[str], moods: list[Mood] | None = strawberry.UNSET) -> str:
        return f"{text!r} {moods!r}"

    @strawberry.field
    def failing(self: Any, info: strawberry.Info, kind: int = 0) -> int | None:
        match (self.id + kind) % 4:
            case 0:
                raise ValueError(f"failing {self.id}")
            case 1:
                return "x"  # type: ignore[return-value]
            case _:
                return self.id

    @strawberry.field
    def waiting(self: Any) -> str:
        return Later(f"late {self.id}")  # type: ignore[return-value]


@exposes(OtherRow, views=set(View))
@strawberry.type
class Other:
    id: int
    inner: Thing | None

    @strawberry.field
    async def things(self: Any, first: int = 2) -> list[Thing]:
        return _rows(self.id, min(first, 4))  # type: ignore[return-value]


def _rows(seed: int, count: int) -> list[Any]:
    return [
        Row(seed * 3 + n, None if (seed + n) % 5 == 0 else f"n{n}", None if n % 3 == 1 else n) for n in range(count)
    ]


class Query:
    @query(list[Thing], *ALL)
    async def things(self, info: strawberry.Info, first: int = 4) -> object:
        return _rows(info.context.seed, min(first, 5))

    @query(list[Thing | Other | None], *ALL)
    def mixed(self, info: strawberry.Info) -> object:
        made: list[Any] = [OtherRow(1, Row(3, "in")), Row(4, "row"), None, OtherRow(2), MoneyValue(1, "CNY")]
        return made[: 3 + info.context.seed % 3]

    @query(Thing | None, *ALL)
    def thing(self, info: strawberry.Info, big: Int64 = 5, at: datetime | None = None) -> object:
        return Row(info.context.seed, f"{big} {at}", 2**40)

    @query(str, *ALL)
    async def echo(self, wish: Wish, moods: list[Mood] = [Mood.GOOD], text: str = "t") -> object:  # noqa: B006
        return f"{wish!r} {moods!r} {text!r}"


def make() -> tuple[GraphQLSchema, Any]:
    contract = Contract(assemble([Query]), View.CONSUMER)
    return contract.schema, contract.planner


SCHEMA, PLANNER = make()


async def check(text: str, variables: dict[str, Any] | None = None) -> None:
    assert not validate(SCHEMA, parse(text))
    for seed in range(6):
        found = await compare(SCHEMA, Case(text, variables or {}), lambda seed=seed: (None, World(seed)), None, PLANNER)
        assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "{ things { id name mood at class friend { id name friend { id } } price { amount currency } } }",
        '{ things { shout a: shout(times: 3) b: shout(suffix: null) c: shout(times: 1, suffix: "s") } }',
        "{ things { later a: later(mood: GOOD) told b: told(numbers: 3) "
        "c: told(numbers: [1, 2]) d: told(numbers: null) } }",
        '{ things { wishes(wish: {}) a: wishes(wish: {text: "x", mood: BAD, number: null, numbers: 4}, wishes: {}) '
        'b: wishes(wish: {inner: {inner: {at: "2026-03-02T04:00:00Z"}}}, wishes: [{mood: GOOD}, {}], choice: {a: 1}) '
        'c: wishes(wish: {}, wishes: null, choice: {b: {text: "y"}}) } }',
        '{ things { perhaps a: perhaps(text: null) b: perhaps(text: "x", moods: [GOOD]) c: perhaps(moods: null) } }',
        "{ things(first: 5) { id failing a: failing(kind: 1) b: failing(kind: 2) waiting } }",
        "{ mixed { __typename ... on Thing { id name friend { name } } "
        "... on Other { id inner { shout later } things { id } } } }",
        '{ thing(big: 9223372036854775807, at: "2026-03-02T04:00:00+08:00") { name price { amount } '
        "must { amount } } }",
        '{ echo(wish: {}) a: echo(wish: {mood: null, number: 1}, moods: BAD, text: "\\"") '
        "b: echo(wish: {}, moods: []) }",
    ],
)
async def test_document(text: str) -> None:
    await check(text)


@pytest.mark.parametrize(
    "variables",
    [{}, {"w": {}}, {"w": {"number": None, "mood": "BAD", "inner": {"number": 3}}, "m": "GOOD", "n": 1, "t": "x"}],
)
async def test_variables(variables: dict[str, Any]) -> None:
    await check(
        'query ($w: Wish! = {text: "d"}, $m: Mood, $n: [Int!], $t: String, $i: Int! = 2, $c: Choice) { echo(wish: $w) '
        "things { later(mood: GOOD) told(numbers: $n) perhaps(text: $t) shout(times: $i, suffix: $t) "
        'wishes(wish: {text: "a", mood: $m, inner: $w}, wishes: [$w, {number: $i}], choice: $c) } }',
        variables,
    )


async def test_a_list_is_one_load() -> None:
    context = World(0)
    seen: Callable[[], tuple[Any, Any]] = lambda: (None, context)  # noqa: E731
    assert await compare(SCHEMA, Case("{ things(first: 4) { friend { id } } }"), seen, None, PLANNER) == []
    assert context.loads == [[0, 1, 2, 3]]  # by whoever came first; the other found them


@settings(max_examples=40)
@given(
    text=hypothesis_graphql.queries(SCHEMA, custom_scalars={k: v for k, v in SCALARS.items() if k in SCHEMA.type_map}),
    seed=seeds,
)
def test_generated_documents(text: str, seed: int) -> None:
    _generated(text, seed)


@pytest.mark.fuzz
@settings(max_examples=2000)
@given(
    text=hypothesis_graphql.queries(SCHEMA, custom_scalars={k: v for k, v in SCALARS.items() if k in SCHEMA.type_map}),
    seed=st.integers(0, 2**32),
)
def test_generated_documents_at_length(text: str, seed: int) -> None:
    _generated(text, seed)


def _generated(text: str, seed: int) -> None:
    async def run() -> list[str]:
        found: list[str] = []
        for number in range(2):
            case = mangle(SCHEMA, text, seed + number)
            if case is not None:
                differences = await compare(SCHEMA, case, lambda: (None, World(seed % 7)), None, PLANNER)
                found += [f"{case}\n{difference}" for difference in differences or ()]
        return found

    assert not asyncio.run(run())
