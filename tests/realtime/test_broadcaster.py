"""What is wrong with broadcaster 0.3.1, which is why ``subscriptions.signals`` looks as it does.

When one of these fails, broadcaster has mended something: then look whether our own part is still needed.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio
from broadcaster import Broadcast, BroadcastBackend, Event

from core.ids import uuid7
from tests.engines import RedisServer
from tests.realtime.log import PATIENCE, until

SILENCE = 0.3


async def next_message(subscriber: Any, within: float = SILENCE) -> str | None:
    """The next message, None when none comes."""
    try:
        return (await asyncio.wait_for(subscriber.get(), within)).message
    except TimeoutError:
        return None


async def receivers(url: str, channel: str) -> int:
    client = redis.asyncio.from_url(url)
    try:
        return await client.publish(channel, "x")
    finally:
        await client.aclose()


async def test_its_redis_backend_delivers_nothing(redis_url: str) -> None:
    channel = str(uuid7())
    broadcast = Broadcast(redis_url)
    await broadcast.connect()
    try:
        async with broadcast.subscribe(channel) as subscriber:
            await broadcast.publish(channel, "lost")
            assert await next_message(subscriber) is None
    finally:
        # Its listener has ended with an error that nobody was told of, and comes up only here.
        await asyncio.gather(broadcast.disconnect(), return_exceptions=True)


async def test_its_redis_listener_ends_silently_when_the_connection_drops(redis_server: RedisServer) -> None:
    channel = str(uuid7())
    broadcast = Broadcast(redis_server.url)
    backend: Any = broadcast._backend
    # Mend the first defect: subscribe before the listener looks.
    await backend._pubsub.subscribe(channel)
    await broadcast.connect()
    try:
        async with broadcast.subscribe(channel) as subscriber:
            await broadcast.publish(channel, "one")
            assert await next_message(subscriber, PATIENCE) == "one"
            redis_server.kill()
            await until(lambda: backend._listener.done())
            redis_server.start()
            assert await receivers(redis_server.url, channel) == 0
            assert await next_message(subscriber) is None
            assert not broadcast._listener_task.done(), "nobody is told"
    finally:
        await asyncio.gather(broadcast.disconnect(), return_exceptions=True)


async def test_two_first_subscribers_overwrite_each_other() -> None:
    class SlowBackend(BroadcastBackend):
        """A backend whose subscribe takes a moment, as every one on a network does."""

        def __init__(self) -> None:
            self.events: asyncio.Queue[Event] = asyncio.Queue()

        async def connect(self) -> None: ...

        async def disconnect(self) -> None: ...

        async def subscribe(self, group: str) -> None:
            await asyncio.sleep(0)

        async def unsubscribe(self, group: str) -> None: ...

        async def publish(self, channel: str, message: Any) -> None:
            await self.events.put(Event(channel, message))

        async def next_published(self) -> Event:
            return await self.events.get()

    broadcast = Broadcast(backend=SlowBackend())
    await broadcast.connect()
    first, second = broadcast.subscribe("c"), broadcast.subscribe("c")
    subscribers = await asyncio.gather(first.__aenter__(), second.__aenter__())
    await broadcast.publish("c", "hello")
    waiting = [asyncio.create_task(s.get()) for s in subscribers]
    done, left = await asyncio.wait(waiting, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result().message for task in done] == ["hello"]
    [silent] = left
    assert await asyncio.wait(left, timeout=SILENCE) == (set(), {silent})
    silent.cancel()
    await second.__aexit__(None, None, None)
    with pytest.raises(KeyError):
        await first.__aexit__(None, None, None)
    await broadcast.disconnect()


async def test_its_queues_are_unbounded() -> None:
    broadcast = Broadcast("memory://")
    await broadcast.connect()
    async with broadcast.subscribe("c") as subscriber:
        for i in range(20_000):
            await broadcast.publish("c", i)
        await until(lambda: subscriber._queue.qsize() == 20_000)
    await broadcast.disconnect()


async def test_it_replays_nothing() -> None:
    broadcast = Broadcast("memory://")
    await broadcast.connect()
    await broadcast.publish("c", "before")
    async with broadcast.subscribe("c") as subscriber:
        await broadcast.publish("c", "after")
        # The in-memory queue may still hold it for an instant; what has been taken out is gone for ever.
        while (message := await next_message(subscriber, PATIENCE)) != "after":
            assert message == "before"
    async with broadcast.subscribe("c") as subscriber:
        assert await next_message(subscriber) is None
    await broadcast.disconnect()
