"""Reading the event log for everybody in this process who follows a feed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from core import logs
from models.database import UNAVAILABLE, Database
from subscriptions import feeds
from subscriptions.feeds import Page

T = TypeVar("T")

log = logs.get(__name__)

_BATCH: Final = 100
_TIMEOUT: Final = 15.0
_FIRST_DELAY: Final = 0.05
_LONGEST_DELAY: Final = 5.0


class LogReader:
    """All reading of the log by this process: one statement at a time, for everybody who asks meanwhile.

    While the database is away it tries again, and those who asked wait. ``seen`` is told of each page before them.
    """

    def __init__(self, database: Database, seen: Callable[[str, Page], None]) -> None:
        self._database = database
        self._seen = seen
        self._asked: dict[tuple[str, int], list[Callable[[Page], None]]] = {}
        self._work = asyncio.Event()

    def ask(self, feed: str, after: int, answer: Callable[[Page], None]) -> None:
        """Have ``answer`` called with what follows ``after`` in ``feed``."""
        self._asked.setdefault((feed, after), []).append(answer)
        self._work.set()

    async def read(self, feed: str, after: int) -> Page:
        """What follows ``after`` in ``feed``."""
        future: asyncio.Future[Page] = asyncio.get_running_loop().create_future()

        def answer(page: Page) -> None:
            if not future.done():
                future.set_result(page)

        self.ask(feed, after, answer)
        return await future

    async def run(self) -> None:
        while True:
            await self._work.wait()
            batch = {key: self._asked.pop(key) for key in list(self._asked)[:_BATCH]}
            if not self._asked:
                self._work.clear()
            pages = await self._pages(list(batch))
            for (feed, after), answers in batch.items():
                page = pages[feed, after]
                self._seen(feed, page)
                for answer in answers:
                    answer(page)

    async def _pages(self, positions: list[tuple[str, int]]) -> dict[tuple[str, int], Page]:
        for delay in backoff():
            try:
                async with asyncio.timeout(_TIMEOUT):
                    return await feeds.read_pages(self._database, positions)
            except Exception as error:
                log.warning("feeds.unreadable", error=repr(error), retry_in=delay)
                await asyncio.sleep(delay)
        raise AssertionError


def backoff() -> Iterator[float]:
    """Seconds to wait before each further try, without end."""
    delay = _FIRST_DELAY
    while True:
        yield delay * random.uniform(0.5, 1)
        delay = min(delay * 2, _LONGEST_DELAY)


def patiently(read: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
    """``read``, tried again while the database is away."""

    async def tried() -> T:
        for delay in backoff():
            try:
                return await read()
            except UNAVAILABLE as error:
                log.warning("feeds.unreadable", error=repr(error), retry_in=delay)
                await asyncio.sleep(delay)
        raise AssertionError

    return tried
