"""Those who watch a feed, as the feed knows them: what each wants to hear of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from subscriptions.feeds import Event, Signal

QUEUE: Final = 1000
"""Events that may wait for one watcher in memory; one that is further behind reads the log."""


class Wake:
    """An :class:`asyncio.Event` for one who waits, in 60 bytes instead of 800: there is one in every subscription."""

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> None:
        while not self._is_set:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None


class Watcher:
    """One subscription of one feed."""

    __slots__ = ("woken",)

    def __init__(self) -> None:
        self.woken = Wake()

    def signalled(self, signal: Signal) -> None:
        """The feed may have moved."""

    def lost(self) -> None:
        """Signals that nothing else can replace may have been lost."""


class EventWatcher(Watcher):
    """Wants every event. ``position`` is the offset of the last one it took, None before its snapshot.

    ``verified``: the log is known to have what follows ``position``.

    With ``take`` it parks as soon as it is live and has nothing left to read: from then on ``take`` is called with
    the events themselves as they come, or with None when it has to read the log by itself again.
    """

    __slots__ = ("live", "parked", "position", "queue", "take", "verified")

    def __init__(self, take: Callable[[Sequence[Event] | None], None] | None = None) -> None:
        super().__init__()
        self.position: int | None = None
        self.verified = False
        self.queue: deque[Event] | None = None
        self.live = False
        self.take = take
        self.parked = False

    def offer(self, events: Sequence[Event]) -> bool:
        """Hand on or queue the events it has not got yet; False when there is no room."""
        assert self.position is not None
        if self.parked and self.take is not None:
            fresh = events if events[0].offset > self.position else [e for e in events if e.offset > self.position]
            if fresh:
                self.position = fresh[-1].offset
                self.take(fresh)
            return True
        if self.queue is None:
            self.queue = deque()
        last = self.queue[-1].offset if self.queue else self.position
        fresh = [event for event in events if event.offset > last]
        if len(self.queue) + len(fresh) > QUEUE:
            return False
        self.queue.extend(fresh)
        self.woken.set()
        return True


class StateWatcher(Watcher):
    """Wants to know that the state is no longer the one at ``position``."""

    __slots__ = ("_logged", "position")

    def __init__(self, logged: bool) -> None:
        super().__init__()
        self.position = -1
        self._logged = logged

    def signalled(self, signal: Signal) -> None:
        if signal.offset is None or signal.offset > self.position:
            self.woken.set()

    def lost(self) -> None:
        if not self._logged:
            self.woken.set()


class ValueWatcher(Watcher):
    """Wants the newest value."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        super().__init__()
        self.value: dict[str, Any] = {}

    def signalled(self, signal: Signal) -> None:
        if signal.value is not None:
            self.value = signal.value
            self.woken.set()
