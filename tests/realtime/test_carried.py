"""Events that signals bring along: what is taken is what the log has, in its order, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

import pytest

from core.ids import uuid7
from models.database import Database
from subscriptions import feeds
from subscriptions import reader as log_reader
from subscriptions.feeds import Event, NewEvent, Page
from subscriptions.signals import decode, encode
from subscriptions.updates import ResetReason
from subscriptions.watchers import EventWatcher
from tests.realtime.log import PATIENCE, append, new_feed, open_tails, reader, take, until
from tests.support import NOON

TRICKY: list[dict[str, Any]] = [
    {"b": 1, "a": {"": None, "Ä": [True, 1.0, 1.50, -0.0, 1e16, 1e22, 1e-7, 2**53 + 1]}},
    {"text": '\x01\x1e\x1f\n\r\t\u2028 "\\ 李雷 🍜', "\n": "\n"},
    {"at": NOON, "key": uuid7(), "long": "长" * 20_000},
    {},
]


async def test_a_carried_event_is_the_event_that_is_read(database_url: str, reads: list[int]) -> None:
    """Byte for byte, also after its way through a message to another process."""
    first, second = sorted([new_feed(), new_feed()], reverse=True)
    at = NOON.astimezone(timezone(timedelta(hours=8))).replace(microsecond=123_450)
    async with (
        open_tails(database_url) as (database, tails),
        aclosing(tails.follow(first, None, reader(database, first))) as updates,
        aclosing(tails.follow(second, None, reader(database, second))) as others,
    ):
        waiting = [asyncio.create_task(take(each, 1 + 2 * len(TRICKY))) for each in (updates, others)]
        await until(lambda: sum(len(t.live) for t in tails._tails.values()) == 2)
        events = [
            NewEvent(names, f"type.{n}", at, payload)
            for n, payload in enumerate(TRICKY)
            for names in ((second, first), (first, second))
        ]
        async with database.transaction() as connection:
            signals = await feeds.append(connection, events)
        received = decode(encode(signals))
        assert received == signals
        assert [signal.event is None for signal in signals] == [n // 4 == 2 for n in range(16)], "only short ones"
        for n in range(0, 16, 4):
            tails.deliver(received[n : n + 4])
        for feed, task in zip((first, second), waiting, strict=True):
            told = [update.value for update in (await asyncio.wait_for(task, PATIENCE))[1:]]
            logged = await feeds.read(database, feed, 0)
            assert told == logged
            assert [event.at.tzinfo for event in told] == [event.at.tzinfo for event in logged]
        assert sum(reads) == 2, "the long one, in each feed"


async def test_what_a_signal_carries_is_taken_only_where_it_proves_to_be_next(
    database_url: str, reads: list[int]
) -> None:
    feed = new_feed()
    async with (
        open_tails(database_url) as (database, tails),
        aclosing(tails.follow(feed, None, reader(database, feed))) as updates,
    ):
        await take(updates)
        next_one = asyncio.create_task(take(updates))
        await until(lambda: tails._tails[feed].live)
        [one], [two], [three] = [await append(database, feed) for _ in range(3)]

        # One that is missing is read, and what is told twice, late or in another order is told once.
        tails.deliver([two])
        assert (await next_one)[0].value.offset == 1
        assert (await take(updates))[0].value.offset == 2
        assert (await take(updates))[0].value.offset == 3
        tails.deliver([one, three, two, one])

        # A process that has not noticed that its server is no longer the one: its events never happened.
        [four] = await append(database, feed)
        assert four.event is not None
        read = len(reads)
        false = replace(four.event, log="deposed@1", text='{"mark": "false"}')
        tails.deliver([replace(four, event=false)])
        [update] = await take(updates)
        assert (update.value.offset, update.value.text) == (4, four.event.text)
        assert len(reads) == read + 1
        tails.deliver([four])

        # An event that was never committed is not in the log, and no signal says so.
        with pytest.raises(InterruptedError):
            async with database.transaction() as connection:
                lost = await feeds.append(connection, [NewEvent((feed,), "t", NOON, {"mark": "lost"})])
                raise InterruptedError
        [five] = await append(database, feed)
        assert lost[0].offset == five.offset == 5
        tails.deliver([five])
        assert (await take(updates))[0].value.text == five.event.text
        assert len(reads) == read + 1


async def test_events_are_taken_again_from_a_server_that_has_taken_over(database_url: str, reads: list[int]) -> None:
    feed = new_feed()
    async with (
        open_tails(database_url) as (database, tails),
        aclosing(tails.follow(feed, None, reader(database, feed))) as updates,
    ):
        await take(updates)
        tails._log = f"{tails.epoch}@before"
        waiting = asyncio.create_task(take(updates))
        await until(lambda: tails._tails[feed].live)
        tails.deliver(await append(database, feed))
        assert (await waiting)[0].reset is None
        await until(lambda: not tails._log.endswith("@before"))
        read = len(reads)
        tails.deliver(await append(database, feed))
        assert (await take(updates))[0].value.offset == 2
        assert len(reads) == read


async def test_one_that_fails_at_an_event_takes_it_from_nobody(database_url: str) -> None:
    feed = new_feed()
    told: list[list[int]] = [[] for _ in range(10)]

    def take_by(n: int) -> EventWatcher:
        def taken(events: Sequence[Event] | None) -> None:
            told[n] += [event.offset for event in events or ()]
            if events and told[n] == [1] and n % 2:
                raise InterruptedError

        return EventWatcher(taken)

    async with open_tails(database_url) as (database, tails), AsyncExitStack() as stack:
        streams: list[Any] = []
        for n in range(10):
            stream = tails.watch(take_by(n), feed, None, reader(database, feed))
            streams.append(await stack.enter_async_context(aclosing(stream)))
            await take(stream, 2)
        tails.deliver(await append(database, feed))
        assert told == [[1]] * 10
        tails.deliver(await append(database, feed))
        assert told == [[1, 2], [1]] * 5
        for stream in streams[1::2]:
            assert [update.value.offset for update in await take(stream)] == [2]


async def test_an_epoch_that_ends_while_a_page_of_it_is_handed_over(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heads were checked between the answer and the turn of the one who had asked."""
    feed = new_feed()
    async with open_tails(database_url) as (database, tails):
        await append(database, feed, count=2)
        async with aclosing(tails.follow(feed, None, reader(database, feed))) as updates:
            [first] = await take(updates)
        original = tails._reader.read

        async def read(*asked: Any) -> Page:
            monkeypatch.setattr(tails._reader, "read", original)
            page = await original(*asked)
            await database.execute("UPDATE feed_epoch SET epoch = 'restored'")
            tails.deliver(None)
            await until(lambda: tails.epoch == "restored")
            return page

        monkeypatch.setattr(tails._reader, "read", read)
        async with aclosing(tails.follow(feed, first.cursor, reader(database, feed))) as updates:
            waiting = asyncio.create_task(take(updates))
            await until(lambda: (tails.epoch == "restored" and tails._tails[feed].live) or waiting.done())
            if not waiting.done():
                tails.deliver(await append(database, feed))
            [update] = await waiting
            assert update.reset is not None and update.reset.reason is ResetReason.EPOCH_CHANGED


async def test_a_page_that_is_older_than_a_carried_event_changes_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement began before the commit, and its answer comes after the signal."""
    feed = new_feed()
    original = feeds.read_pages
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(database: Database, positions: Any, limit: int = 200) -> Any:
        pages = await original(database, positions, limit)
        asked.set()
        await answer.wait()
        return pages

    monkeypatch.setattr(log_reader.feeds, "read_pages", slow)
    async with (
        open_tails(database_url) as (database, tails),
        AsyncExitStack() as stack,
        aclosing(tails.follow(feed, None, reader(database, feed))) as updates,
    ):
        [first] = await take(updates)
        waiting = asyncio.create_task(take(updates, 2))
        await until(lambda: tails._tails[feed].live)
        behind = await stack.enter_async_context(aclosing(tails.follow(feed, first.cursor, reader(database, feed))))
        late = asyncio.create_task(take(behind, 2))
        await asyncio.wait_for(asked.wait(), PATIENCE)
        for _ in range(2):
            tails.deliver(await append(database, feed))
        assert [update.value.offset for update in await waiting] == [1, 2]
        answer.set()
        assert [update.value.offset for update in await late] == [1, 2]
        assert tails._tails[feed].position == 2
