"""Signals between processes: at once in this one, through Redis to the others, and back after every failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio.client import Pipeline, PubSub

from core.ids import uuid7
from subscriptions import signals as signals_module
from subscriptions.feeds import ORDER, Signal
from subscriptions.signals import CHANNEL, CONNECTED, CONNECTIONS, BroadcastSignals, RedisBackend, decode, encode
from subscriptions.stream import LAG, UNTOLD
from tests.engines import RedisServer
from tests.proxy import proxied
from tests.realtime.log import PATIENCE, append, new_feed, open_tails, reader, take, until


class Inbox:
    """What one process is told."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self.feeds: set[str] = set()
        self.gaps = 0

    def deliver(self, signals: Sequence[Signal] | None) -> None:
        if signals is None:
            self.gaps += 1
        else:
            self.signals.extend(signals)
            self.feeds.update(s.feed for s in signals)


def signal(value: Any = None) -> Signal:
    return Signal(ORDER.of(uuid7()), None if value else 7, value)


@asynccontextmanager
async def process(url: str | None = None) -> AsyncIterator[tuple[BroadcastSignals, Inbox]]:
    """The signals of one process; with Redis, when it is connected."""
    inbox = Inbox()
    port = BroadcastSignals(url)
    await port.start(inbox.deliver)
    try:
        if url is not None:
            await until(lambda: inbox.gaps)
        yield port, inbox
    finally:
        await port.close()


async def subscribed(url: str, count: int) -> None:
    """Wait until ``count`` subscribers are connected to the channel."""
    client = redis.asyncio.from_url(url)
    async with asyncio.timeout(PATIENCE):
        while dict(await client.pubsub_numsub(CHANNEL)) != {CHANNEL.encode(): count}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await client.aclose()


def test_messages_keep_feed_offset_and_value() -> None:
    sent = [Signal("order:1", 3), Signal("location:2", None, {"at": 1.5, "名": "李"})]
    assert decode(encode(sent)) == sent
    assert decode(signals_module.GAP) is None


async def test_in_one_process_without_redis() -> None:
    async with process() as (port, inbox):
        sent = [signal(), signal({"n": 1})]
        await port.publish(sent)
        await until(lambda: inbox.signals == sent)
        assert inbox.gaps == 0


async def test_every_process_gets_every_signal_once(redis_url: str) -> None:
    async with process(redis_url) as (one, inbox_one), process(redis_url) as (two, inbox_two):
        sent = [signal({"n": i}) for i in range(200)]
        for i, s in enumerate(sent):
            await (one if i % 2 else two).publish([s])
        await until(lambda: len(inbox_one.signals) >= 200 and len(inbox_two.signals) >= 200)
        end = [signal()]
        await one.publish(end)
        await until(lambda: end[0] in inbox_one.signals and end[0] in inbox_two.signals)
        for inbox in (inbox_one, inbox_two):
            assert len(inbox.signals) == 201
            for half in (sent[::2], sent[1::2]):
                assert [s for s in inbox.signals if s in half] == half, "in the order of their sender"


async def test_own_signals_need_no_redis(redis_server: RedisServer) -> None:
    async with process(redis_server.url) as (port, inbox):
        redis_server.kill()
        sent = [signal()]
        await port.publish(sent)
        await until(lambda: inbox.signals == sent)


async def test_start_and_publish_while_redis_is_away(redis_server: RedisServer) -> None:
    """A process starts without its Redis, and finds it when it comes."""
    redis_server.kill()
    inbox = Inbox()
    port = BroadcastSignals(redis_server.url)
    await port.start(inbox.deliver)
    try:
        async with asyncio.timeout(PATIENCE):
            for _ in range(100):
                await port.publish([signal()])
        redis_server.start()
        await until(lambda: inbox.gaps)
        async with process(redis_server.url) as (other, _):
            sent = signal()
            await other.publish([sent])
            await until(lambda: sent in inbox.signals)
    finally:
        await port.close()


async def test_publisher_only(redis_url: str) -> None:
    """A worker process publishes and listens to nothing."""
    worker = BroadcastSignals(redis_url)
    await worker.start()
    async with process(redis_url) as (_, inbox):
        sent = signal()
        await worker.publish([sent])
        await until(lambda: inbox.signals == [sent])
    await worker.close()
    await worker.publish([sent])  # too late, and nobody minds


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_restart_of_redis(redis_server: RedisServer, how: str) -> None:
    async with process(redis_server.url) as (one, inbox_one), process(redis_server.url) as (two, inbox_two):
        for _ in range(2):
            gaps = inbox_one.gaps, inbox_two.gaps
            (redis_server.kill if how == "kill" else redis_server.stop)()
            await one.publish([signal()])
            redis_server.start()
            await until(lambda: inbox_one.gaps > gaps[0] and inbox_two.gaps > gaps[1])  # noqa: B023
            for port, inbox in ((one, inbox_two), (two, inbox_one)):
                sent = signal()
                await port.publish([sent])
                await until(lambda: sent in inbox.signals)  # noqa: B023


@pytest.mark.parametrize("kind", ["pubsub", "normal"])
async def test_client_kill(redis_server: RedisServer, kind: str) -> None:
    async with process(redis_server.url) as (one, inbox_one), process(redis_server.url) as (two, inbox_two):
        await one.publish([signal()])
        await until(lambda: inbox_two.signals)
        admin = redis.asyncio.from_url(redis_server.url)
        gaps = inbox_one.gaps
        assert await admin.client_kill_filter(_type=kind, skipme=True) >= 1
        if kind == "pubsub":
            await until(lambda: inbox_one.gaps > gaps)
            await subscribed(redis_server.url, 2)
        for port, inbox in ((one, inbox_two), (two, inbox_one)):
            sent = signal()
            await port.publish([sent])
            await until(lambda: sent in inbox.signals)  # noqa: B023
        await admin.aclose()


async def test_frozen_redis_is_given_up(redis_server: RedisServer) -> None:
    """A connection on which nothing answers any more is replaced; no writer waits for it meanwhile."""
    import os
    import signal as unix

    inbox = Inbox()
    backend = RedisBackend(redis_server.url, idle=0.2)
    port = BroadcastSignals(backend=backend)
    await port.start(inbox.deliver)
    pid = redis_server._process.pid  # type: ignore[union-attr]
    try:
        await until(lambda: inbox.gaps and backend._pubsub is not None)
        os.kill(pid, unix.SIGSTOP)
        try:
            gaps, before = inbox.gaps, backend._pubsub
            await until(lambda: backend._pubsub is not before)
            publishing = asyncio.create_task(port.publish([signal()]))
            for _ in range(10):
                await asyncio.sleep(0)
            assert publishing.done(), "it waits for nothing"
            await until(lambda: inbox.signals)
        finally:
            os.kill(pid, unix.SIGCONT)
        await until(lambda: inbox.gaps > gaps)
    finally:
        await port.close()


async def test_errors_that_are_not_redis_end_nothing(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop raises RuntimeError on a connection that has ended unnoticed."""
    async with process(redis_url) as (one, inbox_one), process(redis_url) as (two, inbox_two):
        for method, owner in (("get_message", PubSub), ("execute", Pipeline)):
            works, broken = getattr(owner, method), [True]

            async def fails(
                self: Any, *args: Any, _works: Any = works, _broken: list[bool] = broken, **named: Any
            ) -> Any:
                if _broken:
                    _broken.pop()
                    raise RuntimeError(
                        "unable to perform operation on <TCPTransport closed=True>; the handler is closed"
                    )
                return await _works(self, *args, **named)

            monkeypatch.setattr(owner, method, fails)
            await one.publish([signal()])
            await until(lambda: not broken)  # noqa: B023
            sent: list[Signal] = []

            async def arrives(_sent: list[Signal] = sent) -> None:
                while not inbox_two.feeds.intersection(s.feed for s in _sent):
                    _sent.append(signal())
                    await one.publish(_sent[-1:])
                    await asyncio.sleep(0.01)

            await asyncio.wait_for(arrives(), PATIENCE)
        await two.publish([last := signal()])
        await until(lambda: last.feed in inbox_one.feeds)


@asynccontextmanager
async def publishing(port: BroadcastSignals) -> AsyncIterator[list[Signal]]:
    """Signals without pause; the list grows."""
    sent: list[Signal] = []

    async def publish() -> None:
        while True:
            sent.append(signal())
            await port.publish([sent[-1]])
            await asyncio.sleep(0.001)

    task = asyncio.create_task(publish())
    try:
        yield sent
    finally:
        task.cancel()


@pytest.mark.parametrize("trouble", ["client kill", "restart", "outage", "black hole"])
async def test_trouble_under_load(redis_server: RedisServer, trouble: str) -> None:
    """What is lost is told as a gap, after which everything arrives again; the metrics say how it is."""
    async with proxied(redis_server.port) as proxy:
        backend = RedisBackend(f"redis://127.0.0.1:{proxy.port}/0", idle=0.2)
        inbox = Inbox()
        port = BroadcastSignals(backend=backend)
        await port.start(inbox.deliver)
        try:
            await until(lambda: inbox.gaps)
            made = CONNECTIONS._value.get()
            async with process(redis_server.url) as (other, _), publishing(other) as sent:
                await until(lambda: len(inbox.signals) > 100)
                # A round of trouble, over and over: none of them may be the last.
                for _ in range(2):
                    await until(lambda: CONNECTED._value.get() == 1)
                    gaps = inbox.gaps
                    match trouble:
                        case "client kill":
                            admin = redis.asyncio.from_url(redis_server.url)
                            await admin.client_kill_filter(_type="pubsub", skipme=True)
                            await admin.aclose()
                        case "restart":
                            redis_server.kill()
                            redis_server.start()
                        case "outage":
                            redis_server.stop()
                            await until(lambda: CONNECTED._value.get() == 0)
                            redis_server.start()
                        case "black hole":
                            proxy.swallow(True)
                            await until(lambda: CONNECTED._value.get() == 0)
                            proxy.swallow(False)
                    await until(lambda: inbox.gaps > gaps)  # noqa: B023
                    mark = len(sent)
                    await until(lambda: not inbox.feeds.isdisjoint(s.feed for s in sent[mark:]))  # noqa: B023
            assert CONNECTIONS._value.get() >= made + 2
            positions = {s.feed: i for i, s in enumerate(sent)}
            told = [positions[s.feed] for s in inbox.signals]
            assert told == sorted(set(told)), "each once, in the order of their sender"
        finally:
            await port.close()


async def test_lag_and_lost_signals_are_measured(database_url: str) -> None:
    def observed() -> float:
        return sum(bucket.get() for bucket in LAG.labels("order")._buckets)

    feed = new_feed()
    async with open_tails(database_url, timedelta(milliseconds=20)) as (database, tails):
        updates = tails.follow(feed, None, reader(database, feed))
        await take(updates)
        found, events = UNTOLD._value.get(), observed()
        for _ in range(2):
            await append(database, feed)  # and nobody tells
            await take(updates)
        await until(lambda: UNTOLD._value.get() > found)
        assert observed() == events + 2
        await updates.aclose()


async def test_more_than_fits_becomes_a_gap(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals_module, "_QUEUE", 10)
    async with process(redis_url) as (port, inbox):
        gaps = inbox.gaps
        for _ in range(50):
            await port.publish([signal()])
        await until(lambda: inbox.gaps > gaps)
        assert 10 <= len(inbox.signals) < 50


async def test_unreadable_messages_harm_nobody(redis_url: str) -> None:
    client = redis.asyncio.from_url(redis_url)
    async with process(redis_url) as (port, inbox):
        gaps = inbox.gaps
        junk = (b"\xff\xfe", b"", b"x not-json", b"x {}", b"x [1]", b"x [[1]]", b"x 5")
        for message in junk:
            await client.publish(CHANNEL, message)
        await until(lambda: inbox.gaps == gaps + len(junk))  # whatever they were to tell is looked for
        sent = [signal()]
        async with process(redis_url) as (other, _):
            await other.publish(sent)
            await until(lambda: inbox.signals == sent)
        assert port is not None
    await client.aclose()


async def test_tails_of_two_processes_over_a_redis_that_restarts(
    database_url: str, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost: what was published while Redis was away is found when it is back, without a timer."""
    feed = new_feed()
    async with open_tails(database_url) as (database, tails):
        gaps: list[None] = []

        def deliver(signals: Sequence[Signal] | None) -> None:
            if signals is None:
                gaps.append(None)
            tails.deliver(signals)

        listening = BroadcastSignals(redis_server.url)
        await listening.start(deliver)
        writing = BroadcastSignals(redis_server.url)
        await writing.start()
        updates = tails.follow(feed, None, reader(database, feed))
        await take(updates)
        await until(lambda: gaps)
        await writing.publish(await append(database, feed))
        assert (await take(updates))[0].value.offset == 1
        redis_server.kill()
        await writing.publish(await append(database, feed, count=3))
        redis_server.start()
        assert [u.value.offset for u in await take(updates, 3)] == [2, 3, 4]
        await updates.aclose()
        await listening.close()
        await writing.close()


def test_type_of_port() -> None:
    from services.runtime import Signals

    port: Callable[..., Signals] = BroadcastSignals
    assert port
