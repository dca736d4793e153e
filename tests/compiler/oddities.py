"""Objects and values that behave oddly."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from graphql import (
    GraphQLObjectType,
)

if TYPE_CHECKING:
    from tests.compiler.chaos import Chaos


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
