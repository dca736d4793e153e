"""Simulated time: many people act at once, and what happens later never overtakes what it depends on.

Everybody's doing is an :class:`Activity` with a local time and a *promise*: the earliest minute at which it may
still do something that others depend on (a strict event). The *floor* is the smallest promise of all. Without a
pace, an activity that sleeps until a strict event goes on when the floor has reached it, so strict events happen in
order of simulated time, those of one minute at the same time; a sleep until a loose event ends already when the
floor is within the lookahead, because a loose event concerns only the sleeper and those it wakes. This is
conservative discrete-event simulation with null messages (Chandy and Misra 1979) and a bounded lag.

With a pace, simulated minutes are scaled real time and every sleep ends at its real instant.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

FOREVER: Final = math.inf


@dataclass(slots=True)
class Lag:
    """By how much (seconds of real time) a paced day runs behind: last, worst, and the mean."""

    last: float = 0.0
    worst: float = 0.0
    total: float = 0.0
    count: int = 0

    def note(self, seconds: float) -> None:
        self.last = seconds
        self.worst = max(self.worst, seconds)
        self.total += seconds
        self.count += 1

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0


class Activity:
    """One strand of somebody's doing. Use as a context manager; it ends with the block."""

    __slots__ = ("_sleep", "_timeline", "at", "name", "promise", "task")

    def __init__(self, timeline: Timeline, name: str, at: float, promise: float) -> None:
        self._timeline = timeline
        self._sleep: asyncio.Future[bool] | None = None
        self.name = name
        self.at = at
        self.promise = promise
        self.task: asyncio.Task[None] | None = None

    async def until(self, at: float, *, strict: bool = False) -> bool:
        """Sleep until simulated minute ``at``; False when :meth:`wake` ended the sleep before.

        A strict sleep ends when nobody may still do anything strict before ``at``.
        """
        reached = await self._timeline.sleep(self, max(at, self.at), strict)
        if reached:
            self.at = max(at, self.at)
        return reached

    def wake(self) -> None:
        """End the sleep now; nothing happens to an activity that is awake."""
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_result(False)

    def nothing_strict_before(self, minute: float) -> None:
        """Raise the promise to ``minute``; a promise never gets smaller."""
        if minute > self.promise:
            self.promise = minute
            self._timeline.advance()

    @property
    def asleep(self) -> bool:
        return self._sleep is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timeline.end(self)


class Timeline:
    """The clock of a simulated day that starts at minute ``start``.

    :param pace: simulated seconds per real second, None for as fast as possible.
    :param lookahead: minutes by which loose events may run ahead of the floor.
    :param window: minutes by which strict events may; 0 keeps their order exactly.
    """

    def __init__(self, start: float, *, pace: float | None = None, lookahead: float = 6.0, window: float = 0.0) -> None:
        self.start = start
        self.pace = pace
        self.lag = Lag()
        self._lookahead = lookahead
        self._window = window
        self._floor = start
        self._promises: list[tuple[float, int, Activity]] = []
        self._strict: list[tuple[float, int, Activity, asyncio.Future[bool]]] = []
        self._loose: list[tuple[float, int, Activity, asyncio.Future[bool]]] = []
        self._alive: set[Activity] = set()
        self._number = itertools.count()
        self._real_start = time.monotonic()
        self._moved = time.monotonic()

    def open(self) -> None:
        """Let time begin now. Until then, activities can be begun and fall asleep."""
        self._real_start = self._moved = time.monotonic()
        self.advance()

    @property
    def now(self) -> float:
        """The simulated minute: the floor, or with a pace what real time makes it."""
        if self.pace is not None:
            return self.start + (time.monotonic() - self._real_start) * self.pace / 60
        return self._floor

    @property
    def standstill(self) -> float:
        """Real seconds since anything happened in simulated time."""
        return time.monotonic() - self._moved

    def begin(self, name: str, at: float | None = None, promise: float | None = None) -> Activity:
        """A new activity at minute ``at`` (default: now), promising nothing strict before ``promise`` (default: at)."""
        at = self.now if at is None else at
        activity = Activity(self, name, at, at if promise is None else promise)
        self._alive.add(activity)
        heapq.heappush(self._promises, (activity.promise, next(self._number), activity))
        return activity

    def end(self, activity: Activity) -> None:
        self._alive.discard(activity)
        self._moved = time.monotonic()
        self.advance()

    async def sleep(self, activity: Activity, at: float, strict: bool) -> bool:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        activity._sleep = future  # pyright: ignore[reportPrivateUsage]
        handle: asyncio.TimerHandle | None = None
        activity.promise = max(activity.promise, at)
        if self.pace is None:
            queue = self._strict if strict else self._loose
            heapq.heappush(queue, (at, next(self._number), activity, future))
            self.advance()
        else:
            delay = self._real_start + (at - self.start) * 60 / self.pace - time.monotonic()
            if delay <= 0:
                self.lag.note(-delay)
                future.set_result(True)
            else:
                handle = loop.call_later(delay, self._due, future, at)
        try:
            return await future
        finally:
            activity._sleep = None  # pyright: ignore[reportPrivateUsage]
            self._moved = time.monotonic()
            if handle is not None:
                handle.cancel()

    def _due(self, future: asyncio.Future[bool], at: float) -> None:
        if not future.done():
            self.lag.note(max(0.0, time.monotonic() - self._real_start - (at - self.start) * 60 / (self.pace or 1)))
            future.set_result(True)

    def advance(self) -> None:
        """Let everybody go on who may."""
        if self.pace is not None:
            return
        floor = self._lowest_promise()
        if floor < FOREVER:
            self._floor = max(self._floor, floor)
        self._release(self._strict, floor + self._window)
        self._release(self._loose, floor + self._lookahead)

    def _release(self, queue: list[tuple[float, int, Activity, asyncio.Future[bool]]], until: float) -> None:
        while queue and queue[0][0] <= until:
            future = heapq.heappop(queue)[3]
            if not future.done():
                future.set_result(True)

    def _lowest_promise(self) -> float:
        heap = self._promises
        while heap:
            told, _, activity = heap[0]
            if activity not in self._alive:
                heapq.heappop(heap)
            elif activity.promise > told:
                heapq.heapreplace(heap, (activity.promise, next(self._number), activity))
            else:
                return told
        return FOREVER

    def holding_back(self) -> list[Activity]:
        """Activities that are awake and keep the floor where it is: whom a standstill is due to."""
        floor = self._lowest_promise()
        return [a for a in self._alive if not a.asleep and a.promise <= floor]
