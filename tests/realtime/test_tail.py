"""Following feeds: nothing lost, nothing twice, nothing out of order, and nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import random
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.ids import uuid7
from models.database import UNAVAILABLE, Database
from subscriptions import feeds, watchers
from subscriptions.feeds import QUEUE, RIDER_LOCATION, Event, NewEvent, Signal
from subscriptions.tail import FeedTails
from subscriptions.updates import ResetReason, Update, UpdateKind
from tests.engines import PostgresServer, Reaper
from tests.realtime.log import NEVER, PATIENCE, append, bare, new_feed, open_tails, reader, take, top, until
from tests.support import NOON

SOON = timedelta(milliseconds=30)


class Follower:
    """Keeps what it was told, checks it as it comes, and resumes when told to break."""

    def __init__(self, database: Database, tails: FeedTails, feed: str, rng: random.Random) -> None:
        self.feed = feed
        self.marks: list[str] = []
        self.offset = 0
        self.snapshots = 0
        self._tails = tails
        self._snapshot = reader(database, feed)
        self._rng = rng
        self._cursor: str | None = None
        self.pace = asyncio.Event()
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        while True:
            breaks_after = self._rng.choice([3, 20, 10_000])
            async with aclosing(self._tails.follow(self.feed, self._cursor, self._snapshot)) as updates:
                async for update in updates:
                    self._take(update)
                    if self._rng.random() < 0.05:
                        await self.pace.wait()  # a slow one: everybody else goes on
                    breaks_after -= 1
                    if not breaks_after:
                        break

    def _take(self, update: Update[Any]) -> None:
        assert update.reset is None
        if update.kind is UpdateKind.SNAPSHOT:
            assert self.snapshots == 0, "a valid cursor is resumed from"
            self.snapshots += 1
            self.marks = list(update.value)
            self.offset = len(self.marks)
        else:
            event: Event = update.value
            assert event.offset == self.offset + 1, "no gap, no repetition, no other order"
            assert update.type == event.type
            self.offset = event.offset
            self.marks.append(event.payload["mark"])
        assert update.cursor != self._cursor
        self._cursor = update.cursor


@pytest.mark.parametrize("seed", range(5))
async def test_concurrent_writers_lost_signals_and_followers_that_come_and_go(
    database_url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every follower's snapshot and events equal the log, whatever happens to the signals."""
    monkeypatch.setattr(watchers, "QUEUE", 5)
    rng = random.Random(seed)
    names = [new_feed() for _ in range(3)]
    followers: list[Follower] = []
    held: list[Signal] = []

    async with open_tails(database_url, SOON) as (database, tails):

        def carry(signals: list[Signal]) -> None:
            """Lose, repeat, delay and reorder, some without their event, some with one that proves nothing."""
            for signal in signals:
                assert signal.event is not None
                elsewhere = replace(signal.event, log="elsewhere", text='{"mark": "false"}')
                taken = rng.choice([signal, signal, *bare([signal]), replace(signal, event=elsewhere)])
                held.extend([taken] * rng.choice([0, 1, 1, 2]))
            rng.shuffle(held)
            while held and rng.random() < 0.6:
                tails.deliver([held.pop()])
            if rng.random() < 0.05:
                tails.deliver(None)

        async def write() -> None:
            for _ in range(30):
                chosen = tuple(rng.sample(names, rng.choice([1, 1, 2, 3])))
                try:
                    async with database.transaction() as connection:
                        signals = await feeds.append(
                            connection,
                            [NewEvent(chosen, "t", NOON, {"mark": str(uuid7())}) for _ in range(rng.choice([1, 2, 9]))],
                        )
                        if rng.random() < 0.25:
                            raise InterruptedError
                except InterruptedError:
                    continue
                carry(signals)
                if rng.random() < 0.3:
                    followers.append(Follower(database, tails, rng.choice(names), rng))
                if followers and rng.random() < 0.3:
                    rng.choice(followers).pace.set()

        followers += [Follower(database, tails, name, rng) for name in names]
        await asyncio.gather(*(write() for _ in range(4)))
        _, tops = await feeds.tops(database, names)
        for follower in followers:
            follower.pace.set()
        await until(lambda: all(f.task.done() or f.offset == tops[f.feed] for f in followers))
        for follower in followers:
            if follower.task.done():
                follower.task.result()
            top, marks = await reader(database, follower.feed)()
            assert (follower.offset, follower.marks) == (top, marks)
            follower.task.cancel()
        await asyncio.gather(*(f.task for f in followers), return_exceptions=True)
        assert (tails.watched, tails.watchers) == (0, 0)


async def test_snapshot_then_events(database_url: str) -> None:
    feed = new_feed()
    async with open_tails(database_url) as (database, tails):
        await append(database, feed, count=2)
        async with aclosing(tails.follow(feed, None, reader(database, feed))) as updates:
            [first] = await take(updates)
            assert (first.kind, first.type, first.reset, len(first.value)) == (UpdateKind.SNAPSHOT, None, None, 2)
            assert first.at == NOON
            tails.deliver(await append(database, feed, count=2))
            second, third = await take(updates, 2)
            assert [(u.kind, u.type, u.value.offset) for u in (second, third)] == [
                (UpdateKind.EVENT, "type.0", 3),
                (UpdateKind.EVENT, "type.1", 4),
            ]
            assert len({first.cursor, second.cursor, third.cursor}) == 3


async def test_event_between_attaching_and_snapshot(database_url: str) -> None:
    """An event that commits while the snapshot is read is in the snapshot or after it, once."""
    feed = new_feed()
    async with open_tails(database_url) as (database, tails):
        for before in (True, False):
            start = (await top(database, feed)) + 1
            read = reader(database, feed)

            async def snapshot(before: bool = before, read: Any = read) -> Any:
                if before:
                    tails.deliver(await append(database, feed))
                state = await read()
                if not before:
                    tails.deliver(await append(database, feed))
                return state

            async with aclosing(tails.follow(feed, None, snapshot)) as updates:
                [first] = await take(updates)
                tails.deliver(await append(database, feed))
                events = await take(updates, 1 if before else 2)
                offsets = [*range(1, len(first.value) + 1), *(u.value.offset for u in events)]
                assert offsets == list(range(1, start + 2))


async def test_resume_from_every_cursor(database_url: str) -> None:
    feed = new_feed()
    async with open_tails(database_url) as (database, tails):
        async with aclosing(tails.follow(feed, None, reader(database, feed))) as updates:
            cursors = [(await take(updates))[0].cursor]
            tails.deliver(await append(database, feed, count=450))  # more than one page
            cursors += [u.cursor for u in await take(updates, 450)]
        for offset in (0, 1, 100, 199, 200, 201, 249, 250, 449):
            async with aclosing(tails.follow(feed, cursors[offset], reader(database, feed))) as updates:
                events = await take(updates, 450 - offset)
                assert [u.value.offset for u in events] == list(range(offset + 1, 451))
                assert [u.cursor for u in events] == cursors[offset + 1 :]
        async with aclosing(tails.follow(feed, cursors[450], reader(database, feed))) as updates:
            waiting = asyncio.ensure_future(anext(updates))
            await until(lambda: tails.watchers == 1)
            tails.deliver(await append(database, feed))
            assert (await asyncio.wait_for(waiting, PATIENCE)).value.offset == 451


async def test_cursors_that_cannot_be_resumed_from(database_url: str) -> None:
    feed, other = new_feed(), new_feed()
    async with open_tails(database_url) as (database, tails):
        await append(database, feed, other, count=9)

        async def reset(after: str, name: str = feed) -> ResetReason | None:
            async with aclosing(tails.follow(name, after, reader(database, name))) as updates:
                [update] = await take(updates)
                assert (update.kind is UpdateKind.SNAPSHOT) == (update.reset is not None)
                if update.reset is None:
                    return None
                # It goes on behind the snapshot as if nothing had happened.
                tails.deliver(await append(database, name))
                assert (await take(updates))[0].value.offset == len(update.value) + 1 + dropped
                return update.reset.reason

        dropped = 0
        async with aclosing(tails.follow(feed, None, reader(database, feed))) as updates:
            cursor = (await take(updates))[0].cursor
        epoch, _, tag = cursor.split(".")
        for text in (
            "",
            "x",
            "...",
            f"{epoch}.9",
            f"{epoch}.zz.{tag}",
            f"{epoch}.-1.{tag}",
            f"{epoch}.{2**70:x}.{tag}",
        ):
            assert await reset(text) is ResetReason.CURSOR_INVALID, text
        assert await reset(cursor, other) is ResetReason.CURSOR_INVALID
        assert await reset(f"{epoch}.ff.{tag}") is ResetReason.CURSOR_INVALID
        assert await reset(f"{'0' * 12}.1.{tag}") is ResetReason.EPOCH_CHANGED

        dropped = 4
        await database.execute('DELETE FROM feed_event WHERE feed = $1 AND "offset" <= 4', feed)
        assert await reset(f"{epoch}.3.{tag}") is ResetReason.LOG_TRUNCATED
        assert await reset(f"{epoch}.4.{tag}") is None
        await database.execute("DELETE FROM feed_event WHERE feed = $1", feed)
        dropped = await top(database, feed)
        assert await reset(f"{epoch}.{dropped - 1:x}.{tag}") is ResetReason.LOG_TRUNCATED


async def test_log_truncated_and_replaced_under_a_follower(database_url: str) -> None:
    feed = new_feed()
    async with (
        open_tails(database_url) as (database, tails),
        aclosing(tails.follow(feed, None, reader(database, feed))) as updates,
    ):
        await take(updates)
        signals = await append(database, feed, count=3)
        await database.execute("DELETE FROM feed_event WHERE feed = $1", feed)
        tails.deliver(bare(signals))
        [update] = await take(updates)
        assert update.reset is not None and update.reset.reason is ResetReason.LOG_TRUNCATED

        await database.execute("UPDATE feed_epoch SET epoch = 'restored'")
        tails.deliver(await append(database, feed))
        [update] = await take(updates)
        assert update.reset is not None and update.reset.reason is ResetReason.EPOCH_CHANGED
        assert update.cursor.startswith("restored.")
        tails.deliver(await append(database, feed))
        assert (await take(updates))[0].value.offset == 5

        # Also on a quiet feed, where nothing but the check of the heads can notice it.
        await database.execute("UPDATE feed_epoch SET epoch = 'another'")
        tails.deliver(None)
        [update] = await take(updates)
        assert update.reset is not None and update.reset.reason is ResetReason.EPOCH_CHANGED

        # A backup that is older than what was delivered, under the same epoch.
        await database.execute("DELETE FROM feed_event WHERE feed = $1", feed)
        await database.execute("UPDATE feed_head SET top = 2 WHERE feed = $1", feed)
        tails.deliver(None)
        [update] = await take(updates)
        assert update.reset is not None and update.reset.reason is ResetReason.CURSOR_INVALID
        tails.deliver(await append(database, feed))
        assert (await take(updates))[0].value.offset == 3


async def test_head_check_finds_what_lost_signals_would_have_told(database_url: str) -> None:
    feed = new_feed()
    async with (
        open_tails(database_url, SOON) as (database, tails),
        aclosing(tails.follow(feed, None, reader(database, feed))) as updates,
    ):
        await take(updates)
        for offset in (1, 2, 3):
            await append(database, feed)
            assert (await take(updates))[0].value.offset == offset


async def test_gap_notice_checks_at_once(database_url: str) -> None:
    feed = new_feed()
    async with (
        open_tails(database_url) as (database, tails),
        aclosing(tails.follow(feed, None, reader(database, feed))) as updates,
    ):
        await take(updates)
        await append(database, feed)
        tails.deliver(None)
        assert (await take(updates))[0].value.offset == 1


@pytest.mark.parametrize(("signals_of", "needed"), [(list, []), (bare, [10])])
async def test_at_most_one_read_for_all_watchers_and_feeds(
    database_url: str, reads: list[int], signals_of: Any, needed: list[int]
) -> None:
    """None at all for events that come with their signals."""
    names = [new_feed() for _ in range(10)]
    async with open_tails(database_url) as (database, tails):
        streams = [tails.follow(name, None, reader(database, name)) for name in names for _ in range(20)]
        await asyncio.gather(*(take(s) for s in streams))
        tasks = [asyncio.create_task(take(s)) for s in streams]
        await until(lambda: sum(len(t.live) for t in tails._tails.values()) == 200)
        tails.deliver(signals_of(await append(database, *names)))
        await asyncio.gather(*tasks)
        assert reads == needed
        assert len({id(task.result()[0].value) for task in tasks}) == 10, "watchers share the event in memory"
        await asyncio.gather(*(s.aclose() for s in streams))


async def test_slow_watcher_is_bounded_and_loses_nothing(database_url: str) -> None:
    feed = new_feed()
    async with (
        open_tails(database_url) as (database, tails),
        aclosing(tails.follow(feed, None, reader(database, feed))) as slow,
        aclosing(tails.follow(feed, None, reader(database, feed))) as quick,
    ):
        await take(slow)
        got: list[int] = []

        async def collect() -> None:
            async for update in quick:
                got.append(len(update.value) if isinstance(update.value, list) else update.value.offset)  # noqa: PERF401

        collecting = asyncio.create_task(collect())
        waiting = asyncio.create_task(take(slow))
        await until(lambda: sum(len(t.live) for t in tails._tails.values()) == 2)
        tails.deliver(await append(database, feed))
        await waiting
        [entry] = tails._tails.values()
        for round_ in range(12):
            tails.deliver(await append(database, feed, count=100))
            await until(lambda: got[-1] == 1 + 100 * (round_ + 1))  # noqa: B023
            queues = [len(w.queue or ()) for w in entry.watchers]  # type: ignore[attr-defined]
            assert max(queues) == (100 * (round_ + 1) if round_ < 10 else 0)
        assert len(entry.live) == 1, "the slow one has left the shared stream"
        assert [u.value.offset for u in await take(slow, 1200)] == list(range(2, 1202))
        waiting = asyncio.create_task(take(slow))
        await until(lambda: len(entry.live) == 2)
        tails.deliver(await append(database, feed))
        assert (await waiting)[0].value.offset == 1202
        await until(lambda: got == list(range(1203)))
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)


async def test_database_outage_is_only_a_delay(reaper: Reaper) -> None:
    """Followers go on over a restart of PostgreSQL, also when the signal came while it was away."""
    server = PostgresServer(reaper)
    assert server.embedded is not None
    feed, queue = new_feed(), QUEUE.of(uuid7())
    try:
        # Without looking at the heads by the way: what is told is told after the outage.
        async with open_tails(await server.create()) as (database, tails):
            events = tails.follow(feed, None, reader(database, feed))
            states = tails.follow_latest(queue, None, reader(database, queue))
            await asyncio.gather(take(events), take(states))
            for offset in (1, 2):
                following = [asyncio.create_task(take(events)), asyncio.create_task(take(states))]
                await until(lambda: all(entry.watchers for entry in tails._tails.values()))
                signals = await append(database, feed, queue)
                await asyncio.to_thread(server.embedded.stop)
                tails.deliver(bare(signals))
                with pytest.raises(UNAVAILABLE):
                    await top(database, feed)
                assert not any(task.done() for task in following)
                await asyncio.to_thread(server.embedded.start)
                [[event], [state]] = await asyncio.gather(*following)
                assert (event.value.offset, len(state.value)) == (offset, offset)
            await asyncio.gather(events.aclose(), states.aclose())
    finally:
        await server.close()


async def test_first_snapshot_failing_reaches_the_caller(database_url: str) -> None:
    async def snapshot() -> tuple[int, str]:
        raise ConnectionRefusedError

    async with open_tails(database_url) as (_, tails):
        with pytest.raises(ConnectionRefusedError):
            await take(tails.follow(new_feed(), None, snapshot))
        with pytest.raises(ConnectionRefusedError):
            await take(tails.follow_latest(new_feed(), None, snapshot))
        assert tails.watchers == 0


# nothing left behind


async def test_a_thousand_that_come_and_go_leave_nothing(database_url: str) -> None:
    names = [new_feed() for _ in range(10)]
    async with open_tails(database_url) as (database, tails):
        tasks = len(asyncio.all_tasks())
        for round_ in range(10):
            streams: list[Any] = []
            for i in range(100):
                name = names[i % 10]
                streams.append(
                    tails.follow(name, None, reader(database, name))
                    if i % 2
                    else tails.follow_latest(name, None, reader(database, name))
                )
            await asyncio.gather(*(take(s) for s in streams))
            assert tails.watchers == 100
            if round_ % 3 == 0:
                await asyncio.gather(*(s.aclose() for s in streams))
            elif round_ % 3 == 1:
                waiting = [asyncio.create_task(take(s)) for s in streams]
                await asyncio.wait(waiting, timeout=0.01)
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
                del waiting
            del streams  # the rest is dropped without being closed
            gc.collect()
            await until(lambda: tails.watchers == 0)
        values = [tails.follow_values(RIDER_LOCATION.of(uuid7())) for _ in range(1000)]
        assert tails.watchers == 1000
        del values
        gc.collect()
        assert (tails.watchers, tails.watched) == (0, 0)
        await until(lambda: len(asyncio.all_tasks()) <= tasks)


async def test_memory_stays_flat_over_many_events(database_url: str) -> None:
    feed = new_feed()
    async with (
        open_tails(database_url, NEVER) as (database, tails),
        aclosing(tails.follow(feed, None, reader(database, feed))) as updates,
    ):
        await take(updates)

        async def pump(events: int) -> None:
            for _ in range(events // 100):
                tails.deliver(await append(database, feed, count=100))
                await take(updates, 100)

        await pump(1000)
        gc.collect()
        before = sum(1 for o in gc.get_objects() if isinstance(o, Event | feeds.Page))
        await pump(3000)
        gc.collect()
        after = sum(1 for o in gc.get_objects() if isinstance(o, Event | feeds.Page))
        assert after <= before + 200
