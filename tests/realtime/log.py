"""What the realtime tests do with the event log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from core.clock import ManualClock
from core.ids import uuid7
from models.database import Database
from subscriptions import feeds
from subscriptions.feeds import ORDER, NewEvent, Signal
from subscriptions.tail import FeedTails
from tests.patience import PATIENCE
from tests.support import NOON

NEVER = timedelta(hours=1)


def new_feed() -> str:
    return ORDER.of(uuid7())


@asynccontextmanager
async def open_tails(url: str, head_check: timedelta = NEVER) -> AsyncIterator[tuple[Database, FeedTails]]:
    """A database and tails on it that learn of nothing but signals, unless they check the heads often."""
    database = Database(url)
    await database.open()
    tails = FeedTails(database, ManualClock(NOON), head_check)
    await tails.start()
    try:
        yield database, tails
    finally:
        await tails.close()
        await database.close()


async def append(database: Database, *names: str, count: int = 1) -> list[Signal]:
    """Append ``count`` events that all ``names`` carry, in one transaction."""
    events = [NewEvent(names, f"type.{i}", NOON, {"mark": str(uuid7())}) for i in range(count)]
    async with database.transaction() as connection:
        return await feeds.append(connection, events)


def bare(signals: list[Signal]) -> list[Signal]:
    """The signals without their events, as those of long ones are: a reason to read the log."""
    return [Signal(signal.feed, signal.offset, signal.value) for signal in signals]


async def top(database: Database, feed: str) -> int:
    """Offset of the newest event."""
    return (await feeds.tops(database, [feed]))[1].get(feed, 0)


def reader(database: Database, feed: str) -> Callable[[], Awaitable[tuple[int, list[str]]]]:
    """A snapshot whose state is the marks of all events so far, read in one statement with its offset."""

    async def snapshot() -> tuple[int, list[str]]:
        row = await database.fetchrow(
            """SELECT coalesce((SELECT top FROM feed_head WHERE feed = $1), 0) AS top,
                      array(SELECT coalesce(o.payload, p.payload) ->> 'mark' FROM feed_event o
                            LEFT JOIN feed_event p ON p.feed = o.ref_feed AND p."offset" = o.ref_offset
                            WHERE o.feed = $1 ORDER BY o."offset") AS marks""",
            feed,
        )
        assert row is not None
        return row["top"], list(row["marks"])

    return snapshot


async def take(updates: AsyncIterator[Any], count: int = 1) -> list[Any]:
    """The next ``count`` updates."""
    async with asyncio.timeout(PATIENCE):
        return [await anext(updates) for _ in range(count)]


async def until(condition: Callable[[], Any]) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
