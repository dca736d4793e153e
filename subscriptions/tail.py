"""Following feeds: what this process's subscriptions read.

The process keeps one :class:`FeedTails`. It takes the signals, reads the log (one statement at a time, for all feeds
that have news) and hands the events to the watchers in memory; nobody else polls. Everything runs on one event loop,
and a feed's state changes only between two ``await``s, which is all the locking it needs:

- a watcher is attached, so that signals reach its feed, *before* it reads its snapshot or resumes from its cursor;
- it then reads the log by itself until it stands where the feed's shared position is, and at that moment joins:
  every later event is put into its bounded queue;
- a watcher that does not take its events in time loses its queue, not its place: it leaves the shared stream and
  reads the log from its own position again.

A signal is only a reason to read. The head check finds what lost signals would have told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, TypeVar, cast

from prometheus_client import Counter, Histogram

from core import logs
from core.clock import Clock
from models.database import Database
from subscriptions import feeds
from subscriptions.feeds import Cursor, Event, Page, Signal, cursor_text, kind_of
from subscriptions.reader import LogReader, backoff, patiently
from subscriptions.updates import FeedReset, ResetReason, Update, UpdateKind

T = TypeVar("T")
Snapshot = Callable[[], Awaitable[tuple[int, T]]]
"""Reads ``(offset, state)`` of one instant, in one statement."""

log = logs.get(__name__)

QUEUE: Final = 1000
"""Events that may wait for one watcher in memory; one that is further behind reads the log."""
_CHECK_TIMEOUT: Final = 15.0
_REFRESH: Final = 10.0
"""Seconds after which the state of an unlogged feed is read again even if no signal came."""
LAG: Final = Histogram(
    "hutong_feed_lag_seconds",
    "Real time from the change to its event in this process, for feeds that somebody follows.",
    ["feed"],
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=None,
)
UNTOLD: Final = Counter(
    "hutong_head_checks_late_total", "Times the head check found events of a feed that no signal told.", registry=None
)
METRICS: Final = (LAG, UNTOLD)
"""The gateway's registry exports them."""
NO_EVENTS: Final = 2**62
"""An offset above all others: asking for what follows it tells top and epoch only."""


class _Wake:
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

    def __init__(self) -> None:
        self.woken = _Wake()

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


class _StateWatcher(Watcher):
    """Wants to know that the state is no longer the one at ``position``."""

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


class _ValueWatcher(Watcher):
    """Wants the newest value."""

    def __init__(self) -> None:
        super().__init__()
        self.value: dict[str, Any] = {}

    def signalled(self, signal: Signal) -> None:
        if signal.value is not None:
            self.value = signal.value
            self.woken.set()


class _Tail:
    """One watched feed. ``target`` is its highest known offset, ``position`` how far its shared stream has got."""

    def __init__(self, name: str, ask: Callable[[str, int, Callable[[Page], None]], None], clock: Clock) -> None:
        kind = kind_of(name)
        self.name = name
        self.logged = kind.logged
        self.watchers: set[Watcher] = set()
        self.live: set[EventWatcher] = set()
        self.target = 0
        self.position = 0
        self.signals = 0
        self.told = 0
        """Highest offset that a signal told."""
        self._found = 0
        self._clock = clock
        self._lag = LAG.labels(kind.name)
        self._ask = ask
        self._reading = False

    def signal(self, signal: Signal) -> None:
        """Take a signal of this feed, or what a snapshot or the head check found out."""
        if signal.offset is not None:
            if signal.offset <= self.target:
                return
            self.target = signal.offset
        self.signals += 1
        for watcher in self.watchers:
            watcher.signalled(signal)
        self._advance()

    def join(self, watcher: EventWatcher) -> bool:
        """Let ``watcher`` share the stream, if it has read as far as that has got; otherwise it must read on."""
        if watcher.live:
            return True
        if not watcher.verified or watcher.position is None:
            return False
        if watcher.position < (self.position if self.live else self.target):
            return False
        if not self.live:
            self.position = watcher.position
        watcher.live = True
        watcher.woken.clear()
        self.live.add(watcher)
        self._advance()
        return True

    def leave(self, watcher: EventWatcher) -> None:
        """Take ``watcher`` out of the shared stream; its position stays."""
        watcher.live = False
        watcher.queue = None
        watcher.woken.set()
        self.live.discard(watcher)
        if watcher.parked and watcher.take is not None:
            watcher.parked = False
            watcher.take(None)

    def break_up(self) -> None:
        """End the shared stream: the log is not the one it was reading. Each watcher finds out for itself."""
        for watcher in self.watchers:
            if isinstance(watcher, EventWatcher):
                watcher.verified = False
                self.leave(watcher)
            else:
                watcher.signalled(Signal(self.name))
        self.position = self.target = 0

    def checked(self, top: int) -> None:
        """Take what the head check found out."""
        # A signal that is only on its way comes before the next check.
        if self._found > self.told:
            UNTOLD.inc()
        self._found = top if top > self.target and (self.target or self.live) else 0
        self.signal(Signal(self.name, top))

    def settle(self, top: int, signals: int) -> None:
        """Believe the ``top`` that was read when no signal came since there were ``signals`` of them."""
        self.target = max(top, self.target) if self.signals != signals else top

    def _advance(self) -> None:
        if self.live and self.target > self.position and not self._reading:
            self._reading = True
            after, signals = self.position, self.signals
            self._ask(self.name, after, lambda page: self._received(page, after, signals))

    def _received(self, page: Page, after: int, signals: int) -> None:
        self._reading = False
        self.settle(page.top, signals)
        if self.live and after == self.position:
            if page.skips(after):
                self.break_up()
            elif page.events:
                oldest = page.events[0].at
                self._lag.observe(max((self._clock.now() - oldest).total_seconds() / self._clock.speed, 0.0))
                for watcher in list(self.live):
                    if not watcher.offer(page.events):
                        self.leave(watcher)
                self.position = page.events[-1].offset
        self._advance()


class FeedTails:
    """Follows the feeds that somebody in this process watches; a feed that nobody watches costs nothing.

    :param head_check: how often the tops of all watched feeds are compared with the log.
    """

    def __init__(self, database: Database, clock: Clock, head_check: timedelta = timedelta(seconds=2)) -> None:
        self._database = database
        self._clock = clock
        self._head_check = head_check.total_seconds()
        self._reader = LogReader(database, self._seen)
        self._tails: dict[str, _Tail] = {}
        self._check_now = asyncio.Event()
        self._epoch = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin reading; the database must be open."""
        self._epoch = await feeds.epoch(self._database)
        self._tasks = [asyncio.create_task(self._reader.run()), asyncio.create_task(self._check_heads())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def deliver(self, signals: Sequence[Signal] | None) -> None:
        """Take signals, in any order and any number of times; None when some may have been lost."""
        if signals is None:
            self._check_now.set()
            for tail in self._tails.values():
                for watcher in tail.watchers:
                    watcher.lost()
            return
        for signal in signals:
            tail = self._tails.get(signal.feed)
            if tail is not None:
                tail.told = max(tail.told, signal.offset or 0)
                tail.signal(signal)

    @property
    def watched(self) -> int:
        """Number of feeds that are being watched."""
        return len(self._tails)

    @property
    def watchers(self) -> int:
        return sum(len(tail.watchers) for tail in self._tails.values())

    def follow(self, feed: str, after: str | None, snapshot: Snapshot[T]) -> AsyncGenerator[Update[T | Event], None]:
        """A snapshot, unless ``after`` resumes, then every event above its offset exactly once and in order.

        A cursor that cannot be resumed from gives a snapshot with ``reset``. An error of the first ``snapshot``
        goes to the caller; later the database may go away and come back without the caller noticing more than a
        delay.
        """
        watcher = EventWatcher()
        return cast("AsyncGenerator[Update[T | Event], None]", self.watch(watcher, feed, after, snapshot))

    async def watch(
        self, watcher: EventWatcher, feed: str, after: str | None, snapshot: Snapshot[T]
    ) -> AsyncGenerator[Update[T | Event] | None, None]:
        """:meth:`follow` for a ``watcher`` that parks: None says that it has, and is the last until it no longer is."""
        with self._attached(feed, watcher) as tail:
            epoch = self._epoch
            reset: FeedReset | None = None
            read_snapshot = snapshot
            if after is not None:
                cursor = self.decode(feed, after)
                if isinstance(cursor, Cursor):
                    watcher.position = cursor.offset
                else:
                    reset = FeedReset(cursor)
            while True:
                if watcher.position is None:
                    epoch = self._epoch
                    offset, value = await read_snapshot()
                    if epoch != self._epoch:
                        continue
                    watcher.position, watcher.verified = offset, True
                    tail.signal(Signal(feed, offset))
                    yield self.snapshot_update(feed, epoch, offset, value, reset)
                    reset, read_snapshot = None, patiently(snapshot)
                if tail.join(watcher):
                    while watcher.live:
                        if watcher.queue:
                            event = watcher.queue.popleft()
                            watcher.position = event.offset
                            yield event_update(epoch, event)
                        elif watcher.take is not None:
                            watcher.parked = True
                            yield None
                        else:
                            watcher.woken.clear()
                            await watcher.woken.wait()
                    continue
                signals = tail.signals
                page = await self._reader.read(feed, watcher.position)
                reason = unusable(page, epoch, watcher.position)
                if reason is not None:
                    reset, watcher.position = FeedReset(reason), None
                    continue
                watcher.verified = True
                read_snapshot = patiently(snapshot)
                tail.settle(page.top, signals)
                for event in page.events:
                    watcher.position = event.offset
                    yield event_update(epoch, event)

    def follow_latest(
        self,
        feed: str,
        after: str | None,
        snapshot: Snapshot[T],
        min_interval: timedelta = timedelta(0),
    ) -> AsyncGenerator[Update[T], None]:
        """The newest snapshot, and again after any change, at most every ``min_interval`` of real time.

        The last change is always followed by a snapshot. ``after`` only saves the first snapshot when nothing has
        changed since; for a feed that is not logged it has no meaning.
        """
        updates = self.watch_latest(feed, after, snapshot, min_interval, tells=False)
        return cast("AsyncGenerator[Update[T], None]", updates)

    async def watch_latest(
        self, feed: str, after: str | None, snapshot: Snapshot[T], min_interval: timedelta, *, tells: bool = True
    ) -> AsyncGenerator[Update[T] | None, None]:
        """:meth:`follow_latest`, which ``tells`` by None that it knows of nothing newer and waits for a change."""
        loop = asyncio.get_running_loop()
        pause = min_interval.total_seconds()
        logged = kind_of(feed).logged
        watcher = _StateWatcher(logged)
        with self._attached(feed, watcher) as tail:
            reset: FeedReset | None = None
            read_snapshot = snapshot
            epoch = self._epoch
            watcher.woken.set()
            if after is not None and logged:
                cursor = self.decode(feed, after)
                if isinstance(cursor, Cursor):
                    watcher.position = cursor.offset
                    page = await self._reader.read(feed, NO_EVENTS)
                    reason = unusable(page, cursor.epoch, cursor.offset, every_event=False)
                    reset = FeedReset(reason) if reason is not None else None
                    if reason is None and page.top == cursor.offset and tail.target <= page.top:
                        watcher.woken.clear()
                else:
                    reset = FeedReset(cursor)
            while True:
                if tells and not watcher.woken.is_set():
                    yield None
                try:
                    async with asyncio.timeout(None if logged else _REFRESH):
                        await watcher.woken.wait()
                except TimeoutError:
                    pass
                if epoch != self._epoch:
                    epoch, reset = self._epoch, FeedReset(ResetReason.EPOCH_CHANGED)
                watcher.woken.clear()
                offset, value = await read_snapshot()
                read_snapshot = patiently(snapshot)
                watcher.position = offset
                tail.signal(Signal(feed, offset))
                if logged and epoch == self._epoch and tail.target <= offset:
                    watcher.woken.clear()
                sent = loop.time()
                yield self.snapshot_update(feed, epoch, offset, value, reset)
                reset = None
                await asyncio.sleep(max(sent + pause - loop.time(), 0))

    def follow_values(self, feed: str, min_interval: timedelta = timedelta(0)) -> Values:
        """The newest signalled value, whenever there is a newer one, at most every ``min_interval`` of real time.

        Values are caught from this call on, so call it before reading where the thing is now.
        """
        return Values(self, feed, min_interval.total_seconds())

    @contextmanager
    def _attached(self, feed: str, watcher: Watcher) -> Generator[_Tail]:
        tail = self.attach(feed, watcher)
        try:
            yield tail
        finally:
            self.detach(tail, watcher)

    def attach(self, feed: str, watcher: Watcher) -> _Tail:
        tail = self._tails.get(feed)
        if tail is None:
            tail = self._tails[feed] = _Tail(feed, self._reader.ask, self._clock)
        tail.watchers.add(watcher)
        return tail

    def detach(self, tail: _Tail, watcher: Watcher) -> None:
        tail.watchers.discard(watcher)
        if isinstance(watcher, EventWatcher):
            watcher.take = None
            tail.leave(watcher)
        if not tail.watchers and self._tails.get(tail.name) is tail:
            del self._tails[tail.name]

    def _seen(self, feed: str, page: Page) -> None:
        """Notice that the log is another one, before anybody uses ``page``."""
        if self._is_new(page.epoch):
            return
        tail = self._tails.get(feed)
        if tail is not None and tail.live and page.top < tail.position:
            tail.break_up()

    def _is_new(self, epoch: str) -> bool:
        """Whether the log was replaced; then every shared stream has ended."""
        if epoch == self._epoch:
            return False
        log.warning("feeds.epoch_changed", epoch=epoch)
        self._epoch = epoch
        for tail in self._tails.values():
            tail.break_up()
        return True

    async def _check_heads(self) -> None:
        tries = backoff()
        while True:
            try:
                async with asyncio.timeout(self._head_check):
                    await self._check_now.wait()
            except TimeoutError:
                pass
            self._check_now.clear()
            signals = {name: tail.signals for name, tail in self._tails.items() if tail.logged}
            if not signals:
                continue
            try:
                async with asyncio.timeout(_CHECK_TIMEOUT):
                    epoch, tops = await feeds.tops(self._database, list(signals))
                tries = backoff()
            except Exception as error:
                delay = next(tries)
                log.warning("feeds.unreadable", error=repr(error), retry_in=delay)
                self._check_now.set()
                await asyncio.sleep(delay)
                continue
            self._is_new(epoch)
            for name, before in signals.items():
                tail = self._tails.get(name)
                top = tops.get(name, 0)
                if tail is None:
                    continue
                if top < tail.target and tail.signals == before:
                    tail.break_up()
                tail.checked(top)

    @property
    def epoch(self) -> str:
        """The epoch of the log, as last seen."""
        return self._epoch

    def decode(self, feed: str, after: str) -> Cursor | ResetReason:
        """The position in ``feed`` that a client's cursor names, or why it names none."""
        cursor = Cursor.decode(after, feed)
        if cursor is None or cursor.offset >= NO_EVENTS:
            return ResetReason.CURSOR_INVALID
        return cursor if cursor.epoch == self._epoch else ResetReason.EPOCH_CHANGED

    def top_cursor(self, feed: str) -> str | None:
        """Cursor of the newest event of ``feed`` that this process knows of; None unless it is watched and logged."""
        tail = self._tails.get(feed)
        return Cursor(self._epoch, tail.target).encode(feed) if tail is not None and tail.logged else None

    def unpark(self, feed: str, watcher: EventWatcher, position: int) -> None:
        """Let a parked ``watcher`` read the log again by itself, from ``position`` on."""
        watcher.position = position
        self._tails[feed].leave(watcher)

    def snapshot_update(self, feed: str, epoch: str, offset: int, value: T, reset: FeedReset | None) -> Update[T]:
        """The delivery of a state that was read together with its ``offset``."""
        cursor = Cursor(epoch, offset).encode(feed)
        return Update(cursor, UpdateKind.SNAPSHOT, None, self._clock.now(), reset, value)

    async def read(self, feed: str, after: int) -> Page:
        """What follows ``after`` in ``feed``; waits while the database is away."""
        return await self._reader.read(feed, after)


def event_update(epoch: str, event: Event) -> Update[Event]:
    """The delivery of a logged event."""
    return Update(cursor_text(epoch, event.offset, event.feed), UpdateKind.EVENT, event.type, event.at, None, event)


def unusable(page: Page, epoch: str, position: int, *, every_event: bool = True) -> ResetReason | None:
    """Why somebody at ``position`` of ``epoch`` cannot go on with ``page``."""
    if page.epoch != epoch:
        return ResetReason.EPOCH_CHANGED
    if position > page.top:
        return ResetReason.CURSOR_INVALID
    return ResetReason.LOG_TRUNCATED if every_event and page.skips(position) else None


class Values(AsyncIterator[dict[str, Any]]):
    """Iterator of :meth:`FeedTails.follow_values`. It watches until it is closed or nobody holds it any more."""

    def __init__(self, tails: FeedTails, feed: str, pause: float) -> None:
        self._tails = tails
        self._watcher = _ValueWatcher()
        self._tail = tails.attach(feed, self._watcher)
        self._pause = pause
        self._sent = -pause

    async def __anext__(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        await self._watcher.woken.wait()
        await asyncio.sleep(max(self._sent + self._pause - loop.time(), 0))
        self._watcher.woken.clear()
        self._sent = loop.time()
        return self._watcher.value

    async def aclose(self) -> None:
        self._tails.detach(self._tail, self._watcher)

    def __del__(self) -> None:
        self._tails.detach(self._tail, self._watcher)
