"""Reads by key, merged: what the fields of a list ask for in one turn of the event loop is one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_KEYS: Final = 1_000
"""Keys of one call; more are read in several."""


class _Turn(Generic[K]):
    """The keys asked for in one turn, and who waits for them."""

    __slots__ = ("gone", "keys", "task", "waiting")

    def __init__(self) -> None:
        self.keys: list[K] = []
        self.waiting: list[tuple[asyncio.Future[Any], Any, bool]] = []
        self.gone = 0
        self.task: asyncio.Task[None] | None = None

    def add(self, future: asyncio.Future[Any], asked: Any, many: bool) -> None:
        self.waiting.append((future, asked, many))
        future.add_done_callback(self._left)

    @property
    def deserted(self) -> bool:
        return self.gone == len(self.waiting)

    def _left(self, future: asyncio.Future[Any]) -> None:
        """Stop reading when everybody who waited was cancelled."""
        self.gone += future.cancelled()
        if self.deserted and self.task is not None:
            self.task.cancel()


class Loader(Generic[K, V]):
    """Values by key for one operation: each key is read once, and those of one turn together. None has no value.

    ``read`` gets distinct keys, at most MAX_KEYS, and gives their values in the same order. A value that is an
    exception is the failure of its key; when ``read`` raises, all its keys have failed.
    """

    __slots__ = ("_known", "_next", "_pending", "_read")

    def __init__(self, read: Callable[[list[K]], Awaitable[Sequence[V | Exception]]]) -> None:
        self._read = read
        self._known: dict[K | None, V | Exception | None] = {None: None}
        self._pending: dict[K, _Turn[K]] = {}
        self._next: _Turn[K] | None = None

    def load(self, key: K) -> asyncio.Future[V]:
        """The value of ``key``; awaiting it raises the key's failure."""
        future = asyncio.get_running_loop().create_future()
        self._settle(future, key, False)
        return future

    def load_many(self, keys: Iterable[K]) -> asyncio.Future[list[V | Exception]]:
        """The values of ``keys`` in their order, failures among them as they are: one future for all."""
        future = asyncio.get_running_loop().create_future()
        self._settle(future, list(keys), True)
        return future

    def prime(self, values: Mapping[K, V]) -> None:
        """Take ``values`` as read, except for keys that are known or on their way."""
        for key, value in values.items():
            if key not in self._pending:
                self._known.setdefault(key, value)

    def _settle(self, future: asyncio.Future[Any], asked: Any, many: bool) -> None:
        """Answer, or wait for a turn that reads one of the keys and look again."""
        if future.cancelled():
            return
        known, pending, turn = self._known, self._pending, None
        for key in asked if many else (asked,):
            if key not in known:
                turn = pending.get(key)
                if turn is None:
                    turn = pending[key] = self._turn()
                    turn.keys.append(key)
        if turn is not None:
            turn.add(future, asked, many)
        elif many:
            future.set_result([known[key] for key in asked])
        elif isinstance(value := known[asked], Exception):
            future.set_exception(value)
        else:
            future.set_result(value)

    def _turn(self) -> _Turn[K]:
        """The next one."""
        turn = self._next
        if turn is None:
            # Begins after everything that is ready now, all of which may still ask.
            turn = self._next = _Turn[K]()
            asyncio.get_running_loop().call_soon(lambda: asyncio.create_task(self._fetch(turn)))
        return turn

    async def _fetch(self, turn: _Turn[K]) -> None:
        # Known from here on: a task cancelled before its first step would clear nothing away.
        self._next, turn.task = None, asyncio.current_task()
        try:
            if not turn.deserted:
                for start in range(0, len(turn.keys), MAX_KEYS):
                    await self._fetch_keys(turn.keys[start : start + MAX_KEYS])
        finally:
            for key in turn.keys:
                del self._pending[key]
            for waiter in turn.waiting:
                self._settle(*waiter)

    async def _fetch_keys(self, keys: list[K]) -> None:
        try:
            values = await self._read(keys)
            if len(values) != len(keys):
                raise ValueError(f"{len(values)} values for {len(keys)} keys")
        except Exception as error:
            values = [error] * len(keys)
        self._known.update(zip(keys, values, strict=True))
