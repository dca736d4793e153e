"""The newest value of an unlogged feed, for as long as a logged feed lets it be seen."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from subscriptions.feeds import Signal
from subscriptions.tail import FeedTails
from subscriptions.watchers import Watcher


class Gate(Watcher):
    """Watches two feeds at once, without a task or a queue.

    ``moved``: the logged feed may be beyond ``position``, so read its state and set both. ``value`` is the newest
    signalled value that was not taken yet. ``suspect``: values may have been lost.
    """

    __slots__ = ("moved", "position", "suspect", "value")

    def __init__(self) -> None:
        super().__init__()
        self.moved = True
        self.position = -1
        self.value: dict[str, Any] | None = None
        self.suspect = False

    def signalled(self, signal: Signal) -> None:
        if signal.value is not None:
            self.value = signal.value
        elif signal.offset is None or signal.offset > self.position:
            self.moved = True
        self.woken.set()

    def lost(self) -> None:
        self.suspect = True
        self.woken.set()

    async def wait(self, earliest: float) -> None:
        """Until the logged feed has moved, or from ``earliest`` (in the loop's time) on there is a value to take."""
        loop = asyncio.get_running_loop()
        while not self.moved:
            timer = None
            if self.value is not None or self.suspect:
                if loop.time() >= earliest:
                    return
                timer = loop.call_at(earliest, self.woken.set)
            self.woken.clear()
            try:
                await self.woken.wait()
            finally:
                if timer is not None:
                    timer.cancel()


@contextmanager
def gated(tails: FeedTails, values: str, state: str) -> Generator[Gate]:
    """A gate before the feed ``values``, watched by the logged feed ``state``; nothing is missed from now on."""
    gate = Gate()
    attached = [tails.attach(feed, gate) for feed in (state, values)]
    try:
        yield gate
    finally:
        for tail in attached:
            tails.detach(tail, gate)
