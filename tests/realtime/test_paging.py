"""Polling feeds and forgetting old events: pages in order without a gap, and a snapshot where the log ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from core.ids import uuid7
from subscriptions import feeds
from subscriptions.feeds import QUEUE, Cursor
from subscriptions.paging import read_events, read_state
from subscriptions.updates import ResetReason, UpdateKind
from tests.realtime.log import append, new_feed, open_tails, reader, top
from tests.support import NOON


async def test_pages_follow_each_other(database_url: str) -> None:
    feed = new_feed()
    async with open_tails(database_url) as (database, tails):
        await append(database, feed, count=2)
        page = await read_events(tails, feed, None, 10, reader(database, feed))
        [start] = page.updates
        assert (start.kind, len(start.value), page.has_more) == (UpdateKind.SNAPSHOT, 2, False)
        assert start.cursor == page.cursor and start.reset is None

        again = await read_events(tails, feed, page.cursor, 10, reader(database, feed))
        assert (again.updates, again.cursor, again.has_more) == ([], page.cursor, False)

        await append(database, feed, count=5)
        cursor, offsets, more = page.cursor, list[int](), list[bool]()
        for _ in range(3):
            page = await read_events(tails, feed, cursor, 2, reader(database, feed))
            offsets += [update.value.offset for update in page.updates]  # type: ignore[union-attr]
            more.append(page.has_more)
            cursor = page.cursor
        assert (offsets, more) == ([3, 4, 5, 6, 7], [True, True, False])
        # Whoever follows goes on from a page's cursor as well.
        follower = tails.follow(feed, cursor, reader(database, feed))
        tails.deliver(await append(database, feed))
        assert (await anext(follower)).value.offset == 8  # type: ignore[union-attr]
        await follower.aclose()


async def test_a_cursor_that_leads_nowhere_gives_a_snapshot(database_url: str) -> None:
    feed, other = new_feed(), new_feed()
    async with open_tails(database_url) as (database, tails):
        await append(database, feed, other, count=4)
        good = Cursor(tails.epoch, 1)
        for after, reason in (
            ("", ResetReason.CURSOR_INVALID),
            ("x.1.2", ResetReason.CURSOR_INVALID),
            (good.encode(other), ResetReason.CURSOR_INVALID),
            (Cursor(tails.epoch, 99).encode(feed), ResetReason.CURSOR_INVALID),
            (Cursor("elsewhere", 1).encode(feed), ResetReason.EPOCH_CHANGED),
        ):
            page = await read_events(tails, feed, after, 10, reader(database, feed))
            [update] = page.updates
            assert update.reset is not None and update.reset.reason is reason, after
            assert len(update.value) == 4 and page.cursor == Cursor(tails.epoch, 4).encode(feed)  # type: ignore[arg-type]
        await database.execute('DELETE FROM feed_event WHERE feed = $1 AND "offset" <= 2', feed)
        page = await read_events(tails, feed, good.encode(feed), 10, reader(database, feed))
        assert page.updates[0].reset is not None and page.updates[0].reset.reason is ResetReason.LOG_TRUNCATED
        # The log is replaced, and nothing has told this process yet.
        await feeds.begin_epoch(database)
        page = await read_events(tails, feed, page.cursor, 10, reader(database, feed))
        assert page.updates[0].reset is not None and page.updates[0].reset.reason is ResetReason.EPOCH_CHANGED


async def test_states_are_told_when_they_changed(database_url: str) -> None:
    feed = QUEUE.of(uuid7())
    async with open_tails(database_url) as (database, tails):
        page = await read_state(tails, feed, None, reader(database, feed))
        assert (len(page.updates), page.updates[0].value) == (1, [])
        assert not (await read_state(tails, feed, page.cursor, reader(database, feed))).updates
        await append(database, feed, count=3)
        page = await read_state(tails, feed, page.cursor, reader(database, feed))
        [update] = page.updates
        assert len(update.value) == 3 and update.reset is None
        await feeds.begin_epoch(database)
        page = await read_state(tails, feed, page.cursor, reader(database, feed))
        assert page.updates[0].reset is not None and page.updates[0].reset.reason is ResetReason.EPOCH_CHANGED


async def test_old_events_are_forgotten_in_batches(database_url: str) -> None:
    names = [new_feed() for _ in range(3)]
    async with open_tails(database_url) as (database, tails):
        for _ in range(4):
            await append(database, *names, count=3)
        old = NOON - timedelta(days=1)
        await database.execute('UPDATE feed_event SET at = $1 WHERE "offset" <= 7', old)
        [kept, *_] = names
        cursor = Cursor(tails.epoch, 7).encode(kept)

        async def drops(**options: Any) -> int:
            return await feeds.forget_before(database, NOON, pause=0, **options)

        assert await drops(batch=4) == 7 * len(names)
        assert await drops() == 0
        left = await database.fetch('SELECT feed, min("offset") AS first, count(*) AS n FROM feed_event GROUP BY feed')
        assert {(row["first"], row["n"]) for row in left} == {(8, 5)} and len(left) == len(names)
        for name in names:
            assert len(await feeds.read(database, name, 7)) == 5, "every event still has its payload"
        page = await read_events(tails, kept, cursor, 10, reader(database, kept))
        assert [u.value.offset for u in page.updates] == [8, 9, 10, 11, 12]  # type: ignore[union-attr]
        page = await read_events(tails, kept, Cursor(tails.epoch, 6).encode(kept), 10, reader(database, kept))
        assert page.updates[0].reset is not None and page.updates[0].reset.reason is ResetReason.LOG_TRUNCATED
        await append(database, kept)
        assert await top(database, kept) == 13
