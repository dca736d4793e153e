"""Logs that were set back: an event of before is never taken for the one that has its place now."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

from models.database import Database
from subscriptions.updates import ResetReason
from tests.realtime.city import City, answer, follow
from tests.realtime.log import append, bare, new_feed, open_tails, reader, take, until
from tests.realtime.wire import WATCH


async def set_back(database: Database, feed: str, top: int, epoch: str | None = None) -> None:
    """Restore an older state of the log, in one statement."""
    await database.execute(
        """WITH gone AS (DELETE FROM feed_event WHERE feed = $1 AND "offset" > $2),
                epoch AS (UPDATE feed_epoch SET epoch = coalesce($3, epoch))
           UPDATE feed_head SET top = $2 WHERE feed = $1""",
        feed,
        top,
        epoch,
    )


async def test_a_late_signal_of_an_earlier_epoch(database_url: str) -> None:
    """The new epoch was noticed by reading; no head has been checked since."""
    feed = new_feed()
    async with (
        open_tails(database_url) as (database, tails),
        aclosing(tails.follow(feed, None, reader(database, feed))) as updates,
    ):
        await append(database, feed, count=2)
        await take(updates)
        waiting = asyncio.create_task(take(updates))
        await until(lambda: tails._tails[feed].live)
        [late] = await append(database, feed)
        await set_back(database, feed, 2, "restored")
        tails.deliver(bare([late]))
        [update] = await waiting
        assert update.reset is not None and update.reset.reason is ResetReason.EPOCH_CHANGED

        waiting = asyncio.create_task(take(updates))
        await until(lambda: tails._tails[feed].live)
        [now] = await append(database, feed)
        tails.deliver([late])
        [update] = await waiting
        assert now.event is not None
        assert (update.value.offset, update.value.text) == (3, now.event.text)


async def test_a_late_signal_of_the_server_before_a_restore(database_url: str) -> None:
    """The restored log has the same epoch, which was noticed by reading as well."""
    feed = new_feed()
    async with (
        open_tails(database_url) as (database, tails),
        aclosing(tails.follow(feed, None, reader(database, feed))) as updates,
    ):
        await append(database, feed, count=2)
        await take(updates)
        waiting = asyncio.create_task(take(updates))
        await until(lambda: tails._tails[feed].live)
        tails._log = f"{tails.epoch}@before"
        late = [
            replace(signal, event=replace(signal.event, log=tails._log))
            for signal in [*await append(database, feed), *await append(database, feed)]
            if signal.event is not None
        ]
        tails.deliver(late[:1])
        assert (await waiting)[0].value.offset == 3
        waiting = asyncio.create_task(take(updates))
        await set_back(database, feed, 2)
        tails.deliver(bare(late[1:]))
        [update] = await waiting
        assert update.reset is not None and update.reset.reason is ResetReason.CURSOR_INVALID

        waiting = asyncio.create_task(take(updates))
        await until(lambda: tails._tails[feed].live)
        [now] = await append(database, feed)
        tails.deliver(late)
        [update] = await waiting
        assert now.event is not None
        assert (update.value.offset, update.value.text) == (3, now.event.text)


async def test_one_who_comes_back_does_not_hide_it_from_those_who_were_there(database_url: str) -> None:
    """Who reads the log first takes its top for what is known of the feed; the others are beyond it."""
    feed = new_feed()
    async with (
        open_tails(database_url) as (database, tails),
        aclosing(tails.follow(feed, None, reader(database, feed))) as updates,
    ):
        await take(updates)
        waiting = asyncio.create_task(take(updates, 3))
        await until(lambda: tails._tails[feed].live)
        for _ in range(3):
            tails.deliver(await append(database, feed))
        events = await waiting
        waiting = asyncio.create_task(take(updates))
        await set_back(database, feed, 2)
        async with aclosing(tails.follow(feed, events[0].cursor, reader(database, feed))) as back:
            assert (await take(back))[0].value.offset == 2
            coming = asyncio.create_task(take(back))
            [update] = await waiting
            assert update.reset is not None and update.reset.reason is ResetReason.CURSOR_INVALID
            waiting = asyncio.create_task(take(updates))
            await until(lambda: len(tails._tails[feed].live) == 2)
            [now] = await append(database, feed)
            tails.deliver([now])
            assert now.event is not None
            assert [each[0].value.text for each in (await waiting, await coming)] == [now.event.text] * 2


async def test_what_was_made_of_an_event_that_never_happened(city: City) -> None:
    """A restored log under the same epoch gives the same cursors to other events."""
    async with city.terminals("alice", "bob") as terminals:
        for terminal in terminals:
            await follow(terminal, WATCH, order=city.order)
        await city.settled()
        await city.write("before")
        for terminal in terminals:
            assert (await answer(terminal))["marks"] == ["before"]
        await set_back(city.database, city.feed, 0)
        city.tails.deliver(None)
        for terminal in terminals:
            assert (await answer(terminal))["reset"] == {"reason": "CURSOR_INVALID"}
        await city.settled()
        await city.write("now")
        for terminal in terminals:
            assert (await answer(terminal))["marks"] == ["now"]
