"""One feed while it is watched: what is known of it, and the stream that its watchers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from prometheus_client import Counter, Histogram

from core import logs
from core.clock import Clock
from subscriptions.feeds import Event, FeedKind, Page, Signal, kind_of
from subscriptions.watchers import EventWatcher, Watcher

log = logs.get(__name__)

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


class Tail:
    """One watched feed. ``target`` is its highest known offset, ``position`` how far its shared stream has got.

    What follows ``position`` is read from the log, unless a signal brings it along (:meth:`take`).
    """

    __slots__ = (
        "_ask",
        "_clock",
        "_found",
        "_reading",
        "kind",
        "live",
        "name",
        "others",
        "position",
        "signals",
        "target",
        "told",
        "watchers",
    )  # fmt: skip

    def __init__(self, name: str, ask: Callable[[str, int, Callable[[Page], None]], None], clock: Clock) -> None:
        self.kind = kind_of(name)
        self.name = name
        self.watchers: set[Watcher] = set()
        self.live: set[EventWatcher] = set()
        """Watchers that share the stream."""
        self.others: set[Watcher] = set()
        """Watchers that want something else than every event."""
        self.target = 0
        self.position = 0
        self.signals = 0
        self.told = 0
        """Highest offset that a signal told."""
        self._found = 0
        self._clock = clock
        self._ask = ask
        self._reading = False

    def attach(self, watcher: Watcher) -> None:
        self.watchers.add(watcher)
        if not isinstance(watcher, EventWatcher):
            self.others.add(watcher)

    def detach(self, watcher: Watcher) -> None:
        self.watchers.discard(watcher)
        self.others.discard(watcher)
        if isinstance(watcher, EventWatcher):
            watcher.take = None
            self.leave(watcher)

    def signal(self, signal: Signal) -> None:
        """Take a signal of this feed, or what a snapshot or the head check found out."""
        if signal.offset is not None:
            if signal.offset <= self.target:
                return
            self.target = signal.offset
        self.signals += 1
        for watcher in self.others:
            watcher.signalled(signal)
        self._advance()

    def take(self, signal: Signal, event: Event) -> None:
        """Take the event behind ``position``, which ``signal`` has brought along; there are ``live`` watchers."""
        offset = event.offset
        self.position = offset
        self.signals += 1
        if offset > self.target:
            self.target = offset
            for watcher in self.others:
                watcher.signalled(signal)
        self._offer((event,))
        if self.target > offset:
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
        """Take a ``top`` that was read since there were ``signals`` of them.

        When no other came since, and it is lower than what was known, the log was set back.
        """
        if top < self.target and self.signals == signals:
            self.break_up()
        self.target = max(top, self.target)

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
                observe_lag(self.kind, page.events[0].at, self._clock)
                self.position = page.events[-1].offset
                self._offer(page.events)
        self._advance()

    def _offer(self, events: Sequence[Event]) -> None:
        for watcher in tuple(self.live):
            try:
                taken = watcher.offer(events)
            except Exception as error:  # the others are still to be told
                log.error("feeds.not_taken", error=repr(error))
                taken = False
            if not taken:
                self.leave(watcher)


def observe_lag(kind: FeedKind, at: datetime, clock: Clock) -> None:
    """Note how long ago, in real time, a change was that its followers are about to be told of."""
    LAG.labels(kind.name).observe(max((clock.now() - at).total_seconds() / clock.speed, 0.0))
