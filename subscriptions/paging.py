"""Reading feeds page by page, for callers that come back with their last cursor instead of holding a subscription."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from subscriptions.feeds import Cursor, Event
from subscriptions.tail import NO_EVENTS, FeedTails, Snapshot, event_update, unusable
from subscriptions.updates import FeedReset, Update

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class FeedPage(Generic[T_co]):
    """``updates`` in order; ``cursor`` is where the next page begins; ``has_more``: it would have updates now."""

    updates: Sequence[Update[T_co]]
    cursor: str
    has_more: bool


async def read_events(
    tails: FeedTails, feed: str, after: str | None, first: int, snapshot: Snapshot[T]
) -> FeedPage[T | Event]:
    """The events after the cursor ``after``, at most ``first``; a snapshot without one.

    A cursor that cannot be resumed from gives a snapshot with ``reset``.
    """
    reset: FeedReset | None = None
    if after is not None:
        cursor = tails.decode(feed, after)
        if isinstance(cursor, Cursor):
            page = await tails.read(feed, cursor.offset)
            reason = unusable(page, cursor.epoch, cursor.offset)
            if reason is None:
                events = page.events[:first]
                updates = [event_update(cursor.epoch, event) for event in events]
                reached = events[-1].offset if events else cursor.offset
                return FeedPage(updates, Cursor(cursor.epoch, reached).encode(feed), page.top > reached)
            reset = FeedReset(reason)
        else:
            reset = FeedReset(cursor)
    return await _snapshot(tails, feed, reset, snapshot)


async def read_state(tails: FeedTails, feed: str, after: str | None, snapshot: Snapshot[T]) -> FeedPage[T]:
    """The newest state, unless it is still the one at the cursor ``after``."""
    reset: FeedReset | None = None
    if after is not None:
        cursor = tails.decode(feed, after)
        if isinstance(cursor, Cursor):
            page = await tails.read(feed, NO_EVENTS)
            reason = unusable(page, cursor.epoch, cursor.offset, every_event=False)
            if reason is None and page.top == cursor.offset:
                return FeedPage([], after, False)
            reset = None if reason is None else FeedReset(reason)
        else:
            reset = FeedReset(cursor)
    return await _snapshot(tails, feed, reset, snapshot)


async def _snapshot(tails: FeedTails, feed: str, reset: FeedReset | None, snapshot: Snapshot[T]) -> FeedPage[T]:
    # A log that was replaced unnoticed meanwhile is noticed by the next page: its cursor has the old epoch.
    epoch = tails.epoch
    offset, value = await snapshot()
    update = tails.snapshot_update(feed, epoch, offset, value, reset)
    return FeedPage([update], update.cursor, False)
