"""Answers for any schema, made up from a seed: sound ones, and as many wrong ones as the seed's rate says.

What a place in the answer gets depends on the seed and the place alone, never on when it is asked, so two executors
that ask the same get the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLUnionType,
    Undefined,
    get_named_type,
    is_leaf_type,
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


_ADDRESS = re.compile(r"0x[0-9a-f]+")


def without_addresses(value: Any) -> str:
    """How a value is shown, the same in every run."""
    return _ADDRESS.sub("0x", repr(value))


class Boom(Exception):
    """A resolver's failure with what graphql-core takes over from foreign errors."""

    def __init__(self, text: str, extensions: Any = None) -> None:
        super().__init__(text)
        if extensions is not None:
            self.extensions = extensions


class _Plain:
    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Later(_Plain):
    """An awaitable that is no coroutine."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Iterator[Any]:
        yield from asyncio.sleep(0).__await__()
        return self._value


class Bag(_Plain):
    """An iterable that is nothing else."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)


class Stream(_Plain):
    """An asynchronous iterable without ``aclose``."""

    def __init__(self, items: list[Any], end: Exception | None = None) -> None:
        self._items = iter(items)
        self._end = end

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Any:
        await asyncio.sleep(0)
        for item in self._items:
            return item
        if self._end is not None:
            raise self._end
        raise StopAsyncIteration


class Text(str):
    """A string of a class of its own."""


class Number(int):
    """An integer of a class of its own."""


class Fake:
    """An object of a GraphQL type, whose attributes are made up as they are read."""

    __slots__ = ("_chaos", "_kind", "_place")

    def __init__(self, chaos: Chaos, kind: GraphQLObjectType, place: tuple[Any, ...]) -> None:
        self._chaos = chaos
        self._kind = kind
        self._place = place

    def __getattr__(self, name: str) -> Any:
        if name == "_Fake__typename":
            return self._kind.name
        declared = self._kind.fields.get(name)
        if declared is None:
            raise AttributeError(name)
        return self._chaos.attribute(declared.type, (*self._place, name))

    def __repr__(self) -> str:
        return f"<{self._kind.name}>"


class FakeMapping(Mapping[str, Any]):
    """The same as a mapping that is no dict."""

    def __init__(self, fake: Fake) -> None:
        self._fake = fake
        self._place = fake._place
        self._kind = fake._kind

    def __getitem__(self, name: str) -> Any:
        if name == "__typename":
            return self._kind.name
        try:
            return getattr(self._fake, name)
        except AttributeError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._kind.fields)

    def __len__(self) -> int:
        return len(self._kind.fields)

    def __repr__(self) -> str:
        return f"<mapping {self._kind.name}>"


class FakeDict(dict[str, Any]):
    """A dict that knows its place; plain for all who do not ask."""

    _kind: GraphQLObjectType
    _place: tuple[Any, ...]

    def __repr__(self) -> str:
        return f"<dict {self._kind.name}>"


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
                return _later(sound(), 1)
            case 6:
                return _later(error, 1, fail=True)
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
                return _later(Later(sound()), 0) if rng.random() < 0.3 else sound()

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
                    item if rng.random() < 0.4 or _waits(item) else _later(item, i % 3) for i, item in enumerate(items)
                ]
            case 4:
                return [*items, _later(error, 1, fail=True)]
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


async def _later(value: Any, turns: int, *, fail: bool = False) -> Any:
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


# -- resolvers for a schema


def _sync(source: Any, info: GraphQLResolveInfo, **args: Any) -> Any:
    chaos: Chaos = info.context
    chaos.record(source, info, args)
    return chaos.answer(source, info, args)


async def _async(source: Any, info: GraphQLResolveInfo, **args: Any) -> Any:
    chaos: Chaos = info.context
    chaos.record(source, info, args)
    for _ in range(chaos.random("turns", *info.path.as_list()).randrange(4)):
        await asyncio.sleep(0)
    return chaos.answer(source, info, args)


def _mixed(source: Any, info: GraphQLResolveInfo, **args: Any) -> Any:
    if info.context.random("mixed", *info.path.as_list()).random() < 0.5:
        return _async(source, info, **args)
    return _sync(source, info, **args)


async def _effect(source: Any, info: GraphQLResolveInfo, **args: Any) -> Any:
    """A root field of a mutation: what it answers depends on how many effects there were before."""
    chaos: Chaos = info.context
    chaos.record(source, info, args)
    key = str(info.path.key)
    chaos.order.append(f"begin {key}")
    await asyncio.sleep(0)
    chaos.order.append(f"end {key}")
    return chaos.attribute(info.return_type, ("Mutation", info.field_name, repr(args), len(chaos.order)))


def _effect_now(source: Any, info: GraphQLResolveInfo, **args: Any) -> Any:
    chaos: Chaos = info.context
    chaos.record(source, info, args)
    chaos.order += [f"begin {info.path.key}", f"end {info.path.key}"]
    return chaos.attribute(info.return_type, ("Mutation", info.field_name, repr(args), len(chaos.order)))


def _resolve_type(value: Any, info: GraphQLResolveInfo, abstract: GraphQLInterfaceType | GraphQLUnionType) -> Any:
    chaos: Chaos = info.context
    possible = chaos.schema.get_possible_types(abstract)
    kind = getattr(value, "_kind", None)
    name = kind.name if isinstance(kind, GraphQLObjectType) else possible[0].name
    rng = chaos.random("type", abstract.name, *getattr(value, "_place", ("unknown",)))
    if rng.random() >= chaos.rate:
        return name
    match rng.randrange(12):
        case 0:
            return None
        case 1:
            return "Nobody"
        case 2:
            return rng.choice(sorted(chaos.schema.type_map))
        case 3:
            raise chaos.error(rng, ("type", name))
        case 4:
            return chaos.schema.type_map[name]
        case 5:
            return 5
        case 6:
            return _later(chaos.error(rng, ("type", name)), 1, fail=True)
        case 7:
            return _later(rng.choice((None, "Nobody", "Query", "String", name)), 1)
        case 8:
            return rng.choice(possible).name
        case _:
            return _later(name, rng.randrange(3))


def _is_type_of(kind: GraphQLObjectType) -> Callable[[Any, GraphQLResolveInfo], Any]:
    def is_type_of(value: Any, info: GraphQLResolveInfo) -> Any:
        chaos: Chaos = info.context
        own = getattr(value, "_kind", None)
        fits = own is kind
        rng = chaos.random("is", kind.name, *getattr(value, "_place", ("unknown",)))
        if rng.random() >= chaos.rate:
            return fits
        match rng.randrange(6):
            case 0:
                return not fits
            case 1:
                raise chaos.error(rng, ("is", kind.name))
            case 2:
                return _later(chaos.error(rng, ("is", kind.name)), 1, fail=True)
            case 3:
                return _later(not fits, 1)
            case _:
                return _later(fits, rng.randrange(3))

    return is_type_of


WAYS = (None, None, None, _sync, _async, _mixed)


def unleash(schema: GraphQLSchema, *, ways: tuple[Any, ...] = WAYS, abstract: bool = True) -> GraphQLSchema:
    """Give every field of ``schema`` made-up answers, each in a way of its own: attribute, function, coroutine."""
    for kind in list(schema.type_map.values()):
        if kind.name.startswith("__"):
            continue
        drawn = zlib.crc32(kind.name.encode())
        if isinstance(kind, GraphQLObjectType):
            kind.is_type_of = _is_type_of(kind) if abstract and drawn % 3 == 0 else None
            for name, declared in kind.fields.items():
                way = ways[zlib.crc32(f"{kind.name}.{name}".encode()) % len(ways)]
                if kind is schema.mutation_type:
                    way = _effect if way in (_async, _mixed, None) else _effect_now
                declared.resolve = way
        elif isinstance(kind, GraphQLInterfaceType | GraphQLUnionType):
            kind.resolve_type = None if abstract and drawn % 4 == 0 else _resolve_type
    return schema
