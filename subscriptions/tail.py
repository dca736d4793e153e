"""Following feeds: what this process's subscriptions read.

The process keeps one :class:`FeedTails`. It takes the signals, reads the log where they leave something open (one
statement at a time, for all such feeds) and hands the events to the watchers in memory; nobody else polls. Everything
runs on one event loop, and a feed's state changes only between two ``await``s, which is all the locking it needs:

- a watcher is attached, so that signals reach its feed, *before* it reads its snapshot or resumes from its cursor;
- it then reads the log by itself until it stands where the feed's shared position is, and at that moment joins:
  every later event is put into its bounded queue;
- a watcher that does not take its events in time loses its queue, not its place: it leaves the shared stream and
  reads the log from its own position again.

The log is the truth. An event that a signal brings along is taken when it is exactly the next one of the shared
stream and comes from the log that was last read; it is then the event that reading would find. Any other signal (a
later offset, another log, no event) is a reason to read, and the head check finds what lost signals would have told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar, cast

from core import logs
from core.clock import Clock
from models.database import Database
from subscriptions import feeds
from subscriptions.feeds import Cursor, Event, FeedKind, Page, Signal, epoch_of, kind_of
from subscriptions.reader import LogReader, backoff, patiently
from subscriptions.stream import LAG, UNTOLD, Tail, observe_lag
from subscriptions.updates import FeedReset, ResetReason, Update, UpdateKind
from subscriptions.watchers import EventWatcher, StateWatcher, ValueWatcher, Watcher

T = TypeVar("T")
Snapshot = Callable[[], Awaitable[tuple[int, T]]]
"""Reads ``(offset, state)`` of one instant, in one statement."""

log = logs.get(__name__)

_CHECK_TIMEOUT: Final = 15.0
_REFRESH: Final = 10.0
"""Seconds after which the state of an unlogged feed is read again even if no signal came."""
METRICS: Final = (LAG, UNTOLD)
"""The gateway's registry exports them."""
NO_EVENTS: Final = 2**62
"""An offset above all others: asking for what follows it tells top and epoch only."""


class FeedTails:
    """Follows the feeds that somebody in this process watches; a feed that nobody watches costs nothing.

    :param head_check: how often the tops of all watched feeds are compared with the log.
    """

    def __init__(self, database: Database, clock: Clock, head_check: timedelta = timedelta(seconds=2)) -> None:
        self._database = database
        self._clock = clock
        self._head_check = head_check.total_seconds()
        self._reader = LogReader(database, self._seen)
        self._tails: dict[str, Tail] = {}
        self._check_now = asyncio.Event()
        self.epoch = ""
        """The epoch of the log, as last seen."""
        self._log = ""
        """The log as last read by name, and one that a signal named, of which it is not known."""
        self._unknown_log = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin reading; the database must be open."""
        self._log, _ = await feeds.tops(self._database, [])
        self.epoch = epoch_of(self._log)
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
        tails, log = self._tails, self._log
        oldest: dict[FeedKind, datetime] = {}
        for signal in signals:
            tail = tails.get(signal.feed)
            if tail is None:
                continue
            offset, event = signal.offset, signal.event
            if offset is not None:
                if offset > tail.told:
                    tail.told = offset
                if event is not None:
                    if event.log != log:
                        self._doubt(event.log)
                    elif offset == tail.position + 1 and tail.live:
                        oldest.setdefault(tail.kind, event.at)
                        tail.take(signal, event.of(signal.feed, offset))
                        continue
            tail.signal(signal)
        for kind, at in oldest.items():
            observe_lag(kind, at, self._clock)

    def _doubt(self, log: str) -> None:
        """Find out whether the log is ``log`` now, which a signal says; once, for it may be one of long ago."""
        if log != self._unknown_log:
            self._unknown_log = log
            self._check_now.set()

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
            epoch = self.epoch
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
                    epoch = self.epoch
                    offset, value = await read_snapshot()
                    if epoch != self.epoch:
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
                if epoch != self.epoch:  # since the page was read
                    reason = ResetReason.EPOCH_CHANGED
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
        watcher = StateWatcher(logged)
        with self._attached(feed, watcher) as tail:
            reset: FeedReset | None = None
            read_snapshot = snapshot
            epoch = self.epoch
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
                if epoch != self.epoch:
                    epoch, reset = self.epoch, FeedReset(ResetReason.EPOCH_CHANGED)
                watcher.woken.clear()
                offset, value = await read_snapshot()
                read_snapshot = patiently(snapshot)
                watcher.position = offset
                tail.signal(Signal(feed, offset))
                if logged and epoch == self.epoch and tail.target <= offset:
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
    def _attached(self, feed: str, watcher: Watcher) -> Generator[Tail]:
        tail = self.attach(feed, watcher)
        try:
            yield tail
        finally:
            self.detach(tail, watcher)

    def attach(self, feed: str, watcher: Watcher) -> Tail:
        tail = self._tails.get(feed)
        if tail is None:
            tail = self._tails[feed] = Tail(feed, self._reader.ask, self._clock)
        tail.attach(watcher)
        return tail

    def detach(self, tail: Tail, watcher: Watcher) -> None:
        tail.detach(watcher)
        if not tail.watchers and self._tails.get(tail.name) is tail:
            del self._tails[tail.name]

    def _seen(self, feed: str, page: Page) -> None:
        """Notice that the log is another one, before anybody uses ``page``."""
        if self._is_new(page.log):
            return
        tail = self._tails.get(feed)
        if tail is not None and tail.live and page.top < tail.position:
            self._check_now.set()  # it may be older than an event that a signal has brought

    def _is_new(self, read: str) -> bool:
        """Whether the log, which was ``read``, was replaced; then every shared stream has ended."""
        if read == self._log:
            return False
        self._log, epoch = read, epoch_of(read)
        if epoch == self.epoch:
            return False
        log.warning("feeds.epoch_changed", epoch=epoch)
        self.epoch = epoch
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
            signals = {name: tail.signals for name, tail in self._tails.items() if tail.kind.logged}
            if not signals:
                continue
            try:
                async with asyncio.timeout(_CHECK_TIMEOUT):
                    log_read, tops = await feeds.tops(self._database, list(signals))
                tries = backoff()
            except Exception as error:
                delay = next(tries)
                log.warning("feeds.unreadable", error=repr(error), retry_in=delay)
                self._check_now.set()
                await asyncio.sleep(delay)
                continue
            self._is_new(log_read)
            for name, before in signals.items():
                tail = self._tails.get(name)
                top = tops.get(name, 0)
                if tail is None:
                    continue
                if top < tail.target and tail.signals == before:
                    tail.break_up()
                tail.checked(top)

    def decode(self, feed: str, after: str) -> Cursor | ResetReason:
        """The position in ``feed`` that a client's cursor names, or why it names none."""
        cursor = Cursor.decode(after, feed)
        if cursor is None or cursor.offset >= NO_EVENTS:
            return ResetReason.CURSOR_INVALID
        return cursor if cursor.epoch == self.epoch else ResetReason.EPOCH_CHANGED

    def top_cursor(self, feed: str) -> str | None:
        """Cursor of the newest event of ``feed`` that this process knows of; None unless it is watched and logged."""
        tail = self._tails.get(feed)
        return Cursor(self.epoch, tail.target).encode(feed) if tail is not None and tail.kind.logged else None

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
    return Update(Cursor(epoch, event.offset).encode(event.feed), UpdateKind.EVENT, event.type, event.at, None, event)


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
        self._watcher = ValueWatcher()
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
