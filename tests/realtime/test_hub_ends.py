"""Sharing executions: slow readers, signs of life, and that nothing stays of those who have left."""

from __future__ import annotations

import asyncio
import gc
import random
from datetime import timedelta
from types import SimpleNamespace

import psutil
import pytest

from core import logs
from core.settings import Settings
from tests.realtime.city import COUNTED, MINE, STATE, City, answer, follow
from tests.realtime.log import append, open_tails, until
from tests.realtime.wire import ALICE, WATCH, serve

# slow readers


async def test_slow_reader_of_a_lossless_feed_is_closed_to_resume(city: City) -> None:
    """What waits for one socket is bounded; whoever falls behind comes back with the cursor and has lost nothing."""
    async with city.terminals("alice", "bob") as (slow, other):
        cursor = (await follow(slow, WATCH, order=city.order))["cursor"]
        await follow(other, WATCH, order=city.order)
        await city.settled()
        slow.connection.transport.pause_reading()
        [socket] = [one for one in city.site.sockets._open if one.principal.subject == ALICE.subject]
        written: list[str] = []
        while not socket.ended:
            mark = f"{len(written)}" + "x" * 50_000
            written.append(mark)
            await city.write(mark)
            assert (await answer(other))["marks"] == [mark]
            assert socket.outbox.waiting[1] <= city.site.sockets.limits.queue_bytes
        slow.connection.transport.resume_reading()
        code, _ = await slow.closed()
        assert code == 4290
    async with city.terminals("alice") as (again,):
        seen = (await follow(again, WATCH, order=city.order, after=cursor))["marks"]
        while len(seen) < len(written):
            seen += (await answer(again))["marks"]
        assert seen == written


async def test_slow_reader_of_states_finds_the_newest(city: City) -> None:
    async with city.terminals("alice", "bob") as (slow, other):
        await follow(slow, STATE, store=city.store)
        await follow(other, STATE, store=city.store)
        await city.settled()
        slow.connection.transport.pause_reading()
        [socket] = [one for one in city.site.sockets._open if one.principal.subject == ALICE.subject]
        for n in range(30):
            await city.write(f"{n}" + "x" * 30_000, feed=city.queue)
            assert len((await answer(other))["marks"]) == n + 1
            assert socket.outbox.waiting[0] <= 1
        slow.connection.transport.resume_reading()
        sizes = [0]
        while sizes[-1] < 30:
            sizes.append(len((await answer(slow))["marks"]))
        assert sizes == sorted(set(sizes)) and len(sizes) < 30


# heartbeat


async def test_each_sign_of_life_tells_how_far_the_feeds_are(database_url: str) -> None:
    settings = Settings()
    async with open_tails(database_url, timedelta(seconds=0.05)) as (database, tails):
        runtime = SimpleNamespace(settings=settings, database=database)
        async with serve(runtime, tails, settings, keep_alive=0.05) as site:
            city = City(site, database, tails)
            async with city.terminals("alice") as (terminal,):
                await terminal.subscribe("w", WATCH, variables={"order": city.order})
                await terminal.subscribe("n", 'subscription { numbers(upTo: 0, end: "wait") { value } }')
                cursor = ""
                while not cursor:
                    message = await terminal.receive()
                    if message["type"] == "next":
                        cursor = message["payload"]["data"]["watch"]["cursor"]
                while message["type"] != "ping" or "payload" not in message:
                    message = await terminal.receive()
                assert message["payload"] == {"cursors": {"w": cursor}}
                await append(database, city.feed)
                while message["type"] != "next":
                    message = await terminal.receive()
                cursor = message["payload"]["data"]["watch"]["cursor"]
                while message["type"] != "ping":
                    message = await terminal.receive()
                assert message["payload"] == {"cursors": {"w": cursor}}


async def test_groups_and_tasks_end_with_their_members(city: City) -> None:
    before = len(asyncio.all_tasks())
    for _ in range(5):
        async with city.terminals(*["alice", "bob"] * 5) as terminals:
            for terminal in terminals:
                for id, query in (("w", WATCH), ("m", MINE)):
                    await terminal.subscribe(id, query, variables={"order": city.order})
                await terminal.subscribe("s", STATE, variables={"store": city.store})
            await until(lambda: city.site.sockets.operations == 30)
            await city.settled()
            await city.write("a")
            assert city.site.sockets.hub.groups == 4
            assert (city.tails.watched, city.tails.watchers) == (2, 21)
        await until(lambda: (city.site.sockets.sockets, city.site.sockets.hub.groups, city.tails.watched) == (0, 0, 0))
    await until(lambda: len(asyncio.all_tasks()) <= before + 2)


@pytest.mark.fuzz
async def test_ten_thousand_sockets_leave_nothing(city: City) -> None:
    """Opened, subscribed, half of them cut without a word: tasks, groups, watchers and memory end where they were."""
    logs.configure("warning")  # else what is logged stays in pytest's memory
    process = psutil.Process()

    async def cycle(number: int) -> None:
        async with city.site.terminal() as terminal:
            await terminal.init(token=random.choice(("alice", "bob")))
            await follow(terminal, random.choice((WATCH, MINE, COUNTED)), order=city.order)
            if number % 2:
                terminal.connection.transport.abort()

    async def cycles(count: int) -> None:
        for start in range(0, count, 50):
            async with asyncio.TaskGroup() as group:
                for number in range(start, start + 50):
                    group.create_task(cycle(number))
            await city.write(f"{start}")
        await until(lambda: (city.site.sockets.sockets, city.site.sockets.hub.groups, city.tails.watched) == (0, 0, 0))
        gc.collect()

    await cycles(10_000)  # until caches and the heap have their size
    tasks, memory = len(asyncio.all_tasks()), process.memory_info().rss
    await cycles(10_000)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    assert process.memory_info().rss < memory + 10_000 * 200, "less than 200 bytes for each"
