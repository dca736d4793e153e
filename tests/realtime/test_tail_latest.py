"""Following feeds of which only the newest counts: states and values."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from core.ids import uuid7
from subscriptions import tail
from subscriptions.feeds import CITY, QUEUE, RIDER_LOCATION, Cursor, Signal
from subscriptions.updates import ResetReason, UpdateKind
from tests.realtime.log import NEVER, PATIENCE, append, open_tails, reader, take, until

SOON = timedelta(milliseconds=30)


# coalesced feeds


async def test_latest_skips_to_the_newest_state(database_url: str) -> None:
    feed = QUEUE.of(uuid7())
    async with (
        open_tails(database_url) as (database, tails),
        aclosing(tails.follow_latest(feed, None, reader(database, feed))) as updates,
    ):
        [first] = await take(updates)
        assert (first.kind, first.value) == (UpdateKind.SNAPSHOT, [])
        for _ in range(20):
            tails.deliver(await append(database, feed))
        [second] = await take(updates)
        assert (len(second.value), second.reset) == (20, None)
        # Nothing has changed since: a repeated or late signal gives nothing.
        tails.deliver([Signal(feed, 20), Signal(feed, 3)])
        waiting = asyncio.ensure_future(take(updates))
        tails.deliver(await append(database, feed))
        assert len((await waiting)[0].value) == 21


async def test_latest_change_during_its_snapshot_is_not_missed(database_url: str) -> None:
    feed = QUEUE.of(uuid7())
    async with open_tails(database_url) as (database, tails):
        read = reader(database, feed)
        late = [True]

        async def snapshot() -> Any:
            state = await read()
            if late.pop() if late else False:
                tails.deliver(await append(database, feed))
            return state

        async with aclosing(tails.follow_latest(feed, None, snapshot)) as updates:
            assert [len(u.value) for u in await take(updates, 2)] == [0, 1]


async def test_latest_at_most_once_per_interval_and_the_last_change_always(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = QUEUE.of(uuid7())
    pauses: asyncio.Queue[float] = asyncio.Queue()
    over = asyncio.Event()

    async def sleep(seconds: float) -> None:
        pauses.put_nowait(seconds)
        await over.wait()

    async with (
        open_tails(database_url) as (database, tails),
        aclosing(tails.follow_latest(feed, None, reader(database, feed), NEVER)) as updates,
    ):
        monkeypatch.setattr(tail, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": sleep}))
        assert (await take(updates))[0].value == []
        waiting = asyncio.create_task(take(updates))
        async with asyncio.timeout(PATIENCE):
            pause = await pauses.get()
        assert 0.9 * NEVER.total_seconds() < pause <= NEVER.total_seconds(), "from the last one to the next"
        for _ in range(30):
            tails.deliver(await append(database, feed))
        assert not waiting.done()
        over.set()
        assert len((await waiting)[0].value) == 30


async def test_latest_resumes_silently_only_at_the_top(database_url: str) -> None:
    feed = QUEUE.of(uuid7())
    async with open_tails(database_url) as (database, tails):
        read = reader(database, feed)
        await append(database, feed, count=3)
        async with aclosing(tails.follow_latest(feed, None, read)) as updates:
            cursor = (await take(updates))[0].cursor
        async with aclosing(tails.follow_latest(feed, cursor, read)) as updates:
            waiting = asyncio.ensure_future(take(updates))
            await until(lambda: tails.watchers == 1)
            tails.deliver(await append(database, feed))
            [update] = await asyncio.wait_for(waiting, PATIENCE)
            assert (len(update.value), update.reset) == (4, None)
        async with aclosing(tails.follow_latest(feed, cursor, read)) as updates:
            [update] = await take(updates)
            assert (len(update.value), update.reset) == (4, None)
        epoch, _, tag = cursor.split(".")
        for text, reason in [
            ("nonsense", ResetReason.CURSOR_INVALID),
            (f"{epoch}.ff.{tag}", ResetReason.CURSOR_INVALID),
            (f"elsewhere.1.{tag}", ResetReason.EPOCH_CHANGED),
        ]:
            async with aclosing(tails.follow_latest(feed, text, read)) as updates:
                [update] = await take(updates)
                assert update.reset is not None and update.reset.reason is reason


async def test_latest_of_a_feed_that_was_set_back(database_url: str) -> None:
    """A restored backup under the same epoch has lower offsets; they count again."""
    feed = QUEUE.of(uuid7())
    async with (
        open_tails(database_url, SOON) as (database, tails),
        aclosing(tails.follow_latest(feed, None, reader(database, feed))) as updates,
    ):
        tails.deliver(await append(database, feed, count=9))
        assert len((await take(updates))[0].value) == 9
        # In one statement: a restored backup shows no state in between.
        await database.execute(
            """WITH gone AS (DELETE FROM feed_event WHERE feed = $1 AND "offset" > 2)
               UPDATE feed_head SET top = 2 WHERE feed = $1""",
            feed,
        )
        assert len((await take(updates))[0].value) == 2
        await append(database, feed)
        assert len((await take(updates))[0].value) == 3


async def test_latest_of_an_unlogged_feed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = CITY.of(uuid7())
    numbers = iter(range(100))

    async def snapshot() -> tuple[int, int]:
        return 0, next(numbers)

    async with open_tails(database_url) as (_, tails):
        async with aclosing(tails.follow_latest(feed, "anything", snapshot)) as updates:
            [first] = await take(updates)
            assert first.reset is None and Cursor.decode(first.cursor, feed) is not None
            tails.deliver([Signal(feed), Signal(feed)])
            await take(updates)
            tails.deliver(None)
            await take(updates)
        monkeypatch.setattr(tail, "_REFRESH", 0.05)
        async with aclosing(tails.follow_latest(feed, None, snapshot)) as updates:
            await take(updates, 3)  # without any signal


# newest values


async def test_values_newest_wins_with_a_trailing_edge(database_url: str) -> None:
    feed = RIDER_LOCATION.of(uuid7())
    async with open_tails(database_url) as (_, tails):
        values = tails.follow_values(feed, timedelta(milliseconds=80))
        tails.deliver([Signal(feed, None, {"n": 1})])  # caught although nobody waits yet
        assert await take(values) == [{"n": 1}]
        for n in (2, 3, 4):
            tails.deliver([Signal(feed, None, {"n": n})])
        assert await take(values) == [{"n": 4}]
        waiting = asyncio.ensure_future(take(values))
        tails.deliver([Signal(feed, None, {"n": 5})])
        assert await waiting == [{"n": 5}]
        await values.aclose()
        assert tails.watched == 0
