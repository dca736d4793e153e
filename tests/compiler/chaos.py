"""Answers for any schema, made up from a seed: sound ones, and as many wrong ones as the seed's rate says.

What a place in the answer gets depends on the seed and the place alone, never on when it is asked, so two executors
that ask the same get the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import zlib
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLError,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    Undefined,
    get_named_type,
    is_leaf_type,
)

from tests.compiler.oddities import (
    Bag,
    Boom,
    Fake,
    FakeDict,
    FakeMapping,
    Later,
    Number,
    Stream,
    Text,
    without_addresses,
)

TEXTS = (
    "",
    "tea",
    "红豆沙",
    'say "hi"\\',
    "a\u2028b\u2029c",
    "\x00\x1f\n\r\t",
    '"""',
    "{x}%s{{}}",
    "</script>",
    "🧋" * 3,
    "long " * 400,
    "\x7f\ufeff",
    "𝔘",
)


@dataclass
class Chaos:
    """The context of one execution: what it is answered, and what it asked."""

    seed: int
    rate: float
    schema: GraphQLSchema
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    """Each call of a resolver: its path and all it was told."""
    plain: bool = False
    """Whether all objects have their values as attributes."""
    order: list[str] = field(default_factory=list)
    """Begin and end of root resolvers."""

    def random(self, *place: Any) -> random.Random:
        return random.Random(f"{self.seed}{place!r}")

    # -- what is asked

    def root(self, kind: GraphQLObjectType) -> Any:
        return Fake(self, kind, (kind.name,))

    def record(self, source: Any, info: GraphQLResolveInfo, args: dict[str, Any]) -> None:
        self.calls.append(
            (
                tuple(info.path.as_list()),
                f"{info.parent_type.name}.{info.field_name}",
                str(info.return_type),
                without_addresses(args),
                without_addresses(source),
                len(info.field_nodes),
                tuple(n.loc.start for n in info.field_nodes if n.loc),
                info.schema is self.schema,
                info.context is self,
                repr(info.variable_values.coerced),
                info.operation.name.value if info.operation.name else None,
                tuple(sorted(info.fragments)),
                info.path.typename,
            )
        )

    def answer(self, source: Any, info: GraphQLResolveInfo, args: dict[str, Any]) -> Any:
        """A resolver's value, or its failure."""
        place = getattr(source, "_place", None)
        if not isinstance(place, tuple):
            place = ("path", *info.path.as_list())
        return self.attribute(info.return_type, (*place, info.field_name, repr(args)))

    def attribute(self, kind: Any, place: tuple[Any, ...]) -> Any:
        """A field's value; unlike an item's, getting it may raise."""
        rng = self.random("raises", *place)
        if rng.random() < self.rate / 3:
            raise self.error(rng, place)
        return self.value(kind, place)

    # -- values

    def value(self, kind: Any, place: tuple[Any, ...]) -> Any:
        rng = self.random(*place)
        if rng.random() < self.rate:
            return self.wrong(kind, place, rng)
        return self.sound(kind, place, rng)

    def sound(self, kind: Any, place: tuple[Any, ...], rng: random.Random) -> Any:
        if isinstance(kind, GraphQLNonNull):
            kind = kind.of_type
        elif rng.random() < 0.1:
            return None
        if isinstance(kind, GraphQLList):
            items = [self.value(kind.of_type, (*place, i)) for i in range(rng.choice((0, 1, 2, 2, 3)))]
            return self.container(items, rng)
        if is_leaf_type(kind):
            return self.leaf(kind, rng)
        if not isinstance(kind, GraphQLObjectType):
            kind = rng.choice(self.schema.get_possible_types(kind))
        return self.object(kind, place, rng)

    def container(self, items: list[Any], rng: random.Random) -> Any:
        match rng.randrange(8 if self.rate else 40):
            case 0:
                return tuple(items)
            case 1:
                return (item for item in items)
            case 2:
                return deque(items)
            case 3:
                return dict(enumerate(items)).values()
            case 4:
                return Bag(items)
            case _:
                return items

    def object(self, kind: GraphQLObjectType, place: tuple[Any, ...], rng: random.Random) -> Any:
        fake = Fake(self, kind, place)
        if self.plain:
            return fake
        match rng.randrange(6):
            case 0:
                return FakeMapping(fake)
            case 1:
                made = FakeDict(__typename=kind.name)
                made._kind = kind
                made._place = place
                for name, declared in kind.fields.items():
                    plain = not self.rate and is_leaf_type(get_named_type(declared.type))
                    made[name] = self.value(declared.type, (*place, name)) if plain else _Deferred(fake, name)
                return made
            case _:
                return fake

    def leaf(self, kind: Any, rng: random.Random) -> Any:
        if isinstance(kind, GraphQLEnumType):
            return rng.choice([value.value for value in kind.values.values()])
        match kind.name:
            case "String":
                text = rng.choice(TEXTS)
                return rng.choice((text, text, text, Text(text), True, 1.5, 7) if self.rate else (text,))
            case "ID":
                return rng.choice(("ord_1", "", 17, Number(4), 3.0) if self.rate else ("ord_1", "a\u2028"))
            case "Int":
                number = rng.choice((0, -1, 2**31 - 1, -(2**31)))
                return rng.choice((number, number, Number(5), True, 4.0, "17") if self.rate else (number,))
            case "Float":
                number = rng.choice((0.1, -0.0, 1e300, 5e-324, 1.0, 1e22, 123456789.123456789))
                return rng.choice((number, number, 3, True, "2.5", Number(4)) if self.rate else (number,))
            case "Boolean":
                return rng.choice((True, False, 1, 0, 0.0) if self.rate else (True, False))
            case "DateTime":
                return datetime(2026, 3, 2, 4, rng.randrange(60), tzinfo=UTC)
            case "Int64":
                return rng.choice((0, 2**53 + 1, -(2**63), 2**63 - 1))
            case "Any":
                return rng.choice((1, "x", [1, None, {"b": 1, "a": []}], {"é": 1.5, "": None}, False, 2**60, {"k": ()}))
            case "Even":
                return rng.choice((0, 2, 4, -6))
            case _:
                return rng.choice(TEXTS)

    def error(self, rng: random.Random, place: tuple[Any, ...]) -> Exception:
        text = f"boom {zlib.crc32(repr(place).encode())}"
        match rng.randrange(6):
            case 0:
                return GraphQLError(text, extensions={"code": "BOOM", "text": TEXTS[3]})
            case 1:
                return Boom(text, {"code": "FOREIGN"})
            case 2:
                return Boom(text, "not a dict")
            case 3:
                return LookupError(text, 5)
            case 4:
                return GraphQLError(text, original_error=ValueError("inner"))
            case _:
                return Boom(text)

    def wrong(self, kind: Any, place: tuple[Any, ...], rng: random.Random) -> Any:
        """Something else than the type asks for, or the right thing in an unexpected way."""
        sound = lambda: self.sound(kind, place, self.random("sound", *place))  # noqa: E731
        nullable = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
        error = self.error(rng, place)
        if isinstance(nullable, GraphQLList) and rng.random() < 0.4:
            return self.wrong_list(nullable, place, rng, error)
        match rng.randrange(17):
            case 0 | 1:
                return None
            case 2:
                return Undefined
            case 3 | 4:
                return error
            case 5:
                return later(sound(), 1)
            case 6:
                return later(error, 1, fail=True)
            case 7:
                return Later(rng.choice((sound(), None, error)))
            case 8:
                return "a string"
            case 9:
                return rng.choice((5, 2**40, -1.5, "", "x1", b"bytes", True))
            case 10:
                return rng.choice((float("nan"), float("inf"), -float("inf"), 10**400))
            case 11:
                return rng.choice(({}, {"__typename": "Nobody"}, {"a": 1}))
            case 12:
                return rng.choice(([], [None], (1, "2"), set[int]()))
            case 13:
                return object
            case 14:
                return _Callable(sound() if rng.random() < 0.7 else error)
            case 15:
                with contextlib.suppress(RuntimeError):
                    future = asyncio.get_running_loop().create_future()
                    future.set_result(sound())
                    return future
                return None
            case _:
                return later(Later(sound()), 0) if rng.random() < 0.3 else sound()

    def wrong_list(self, kind: Any, place: tuple[Any, ...], rng: random.Random, error: Exception) -> Any:
        items = [self.value(kind.of_type, (*place, i)) for i in range(rng.choice((0, 1, 2, 3)))]
        match rng.randrange(6):
            case 0:
                return _ending(items, error)
            case 1:
                return Stream(items, error if rng.random() < 0.4 else None)
            case 2:
                return _stream(items, error if rng.random() < 0.4 else None)
            case 3:
                return [
                    item if rng.random() < 0.4 or _waits(item) else later(item, i % 3) for i, item in enumerate(items)
                ]
            case 4:
                return [*items, later(error, 1, fail=True)]
            case _:
                return [*items, error]


class _Deferred:
    """A dict's entry that is made up when it is called, as graphql-core's default resolver calls it."""

    def __init__(self, fake: Fake, name: str) -> None:
        self._fake = fake
        self._name = name

    def __call__(self, _info: GraphQLResolveInfo, **_args: Any) -> Any:
        return getattr(self._fake, self._name)

    def __repr__(self) -> str:
        return f"<deferred {self._name}>"


class _Callable:
    """A value that is a method for the default resolver and a strange value for others."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __call__(self, info: GraphQLResolveInfo, **args: Any) -> Any:
        info.context.record(self, info, args)
        if isinstance(self._value, Boom):
            raise self._value
        return self._value

    def __repr__(self) -> str:
        return "<callable>"


def _waits(value: Any) -> bool:
    return hasattr(value, "__await__")


async def later(value: Any, turns: int, *, fail: bool = False) -> Any:
    for _ in range(turns):
        await asyncio.sleep(0)
    if fail:
        raise value
    return value


def _ending(items: list[Any], error: Exception) -> Iterator[Any]:
    yield from items
    raise error


async def _stream(items: list[Any], error: Exception | None) -> AsyncIterator[Any]:
    for item in items:
        await asyncio.sleep(0)
        yield item
    if error is not None:
        raise error
