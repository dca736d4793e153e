"""Counts over processes: summed, renewed, and gone with the process that held them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from clients import presence as module
from clients.presence import Presence
from gateway.metrics import REGISTRY
from tests.api.city import City, running_city
from tests.engines import RedisServer
from tests.processes.installation import until

pytestmark = pytest.mark.usefixtures("patient_redis")


class Process:
    """One process's presence and what is connected to it."""

    def __init__(self, url: str | None) -> None:
        self.presence = Presence(url)
        self.connected: dict[str, int] = {}

    async def census(self) -> Mapping[str, int]:
        return dict(self.connected)

    async def has(self, **connected: int) -> None:
        """Count these from now on."""
        self.connected = connected
        await self.presence.refresh(self.census)

    async def sees(self, *names: str) -> list[int]:
        return await self.presence.counts(names)


@asynccontextmanager
async def processes(url: str | None, count: int) -> AsyncIterator[list[Process]]:
    async with AsyncExitStack() as stack:
        made = [Process(url) for _ in range(count)]
        for process in made:
            stack.push_async_callback(process.presence.close)
        yield made


async def test_counts_are_summed_over_processes(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, 3) as (one, two, three):
        await one.has(a=2, b=1)
        await two.has(a=3, c=1)
        for process in (one, two, three):
            assert await process.sees("a", "b", "c", "d") == [5, 1, 1, 0]
        await one.has(b=4)
        assert await two.sees("a", "b") == [3, 4], "what is gone does not count any more"
        await two.presence.close()
        assert await three.sees("a", "b", "c") == [0, 4, 0], "a process that ends takes its counts along"


async def test_a_killed_process_stops_counting(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = redis.asyncio.from_url(redis_server.url)
    async with processes(redis_server.url, 2) as (one, two):
        await two.has(a=1)
        monkeypatch.setattr(module, "KEPT", 0.1)
        await one.has(a=5)

        async def forgotten() -> bool:
            return await two.sees("a") == [1]

        await until(forgotten)
        await two.has(a=1)
        assert len(await client.smembers("hutong:presence")) == 1, "nor is it asked about any longer"
    await client.aclose()


async def test_redis_comes_back_empty(redis_server: RedisServer) -> None:
    async with processes(redis_server.url, 2) as (one, two):
        await one.has(a=5, b=1)
        redis_server.kill()
        await two.has(a=1)
        assert await two.sees("a", "b") == [1, 0], "alone, a process knows its own"
        redis_server.start()
        await one.has(a=5, b=1)
        await one.has(a=5, b=1)
        await two.has(a=1)
        assert await two.sees("a", "b") == [6, 1]


async def test_redis_is_emptied_between_two_counts(redis_server: RedisServer) -> None:
    client = redis.asyncio.from_url(redis_server.url)
    async with processes(redis_server.url, 2) as (one, two):
        await one.has(a=5, b=1)
        await client.flushall()
        await one.has(a=5, b=1)
        await one.has(a=5, b=1)
        assert await two.sees("a", "b") == [5, 1]
    await client.aclose()


async def test_one_process_needs_no_redis() -> None:
    async with processes(None, 1) as (one,):
        await one.has(a=2)
        assert await one.sees("a", "b") == [2, 0]


@pytest.fixture
async def city(database_url: str, tmp_path: Path) -> AsyncIterator[City]:
    async with running_city(database_url, tmp_path) as city:
        yield city


TERMINALS = "query ($store: ID!) { store(id: $store) { terminalsOnline } }"
RIDERS = """query ($city: ID!) { city(id: $city) { overview { riderConnections }
    riders(first: 10) { nodes { id connected } } } }"""
TASKS = "subscription { riderTasks { cursor } }"
QUEUE = "subscription ($store: ID!) { queueBoardUpdates(store: $store) { cursor } }"
BOARD = "subscription ($store: ID!) { storeBoard(store: $store) { cursor } }"


async def test_merchants_and_admins_see_who_is_connected(city: City) -> None:
    async def terminals(token: str) -> Any:
        await city.program.runtime.presence.refresh(city.program.sockets.census)  # type: ignore[attr-defined]
        return (await city.do(token, TERMINALS, store=city.store))["terminalsOnline"]

    owner, admin = city.tokens["merchant"], city.tokens["admin"]
    stranger, _, _ = await city.shop()
    rider, rider_id = await city.rider()
    assert await terminals(owner) == 0
    async with (
        city.follow(owner, BOARD, store=city.store) as board,
        city.follow(owner, BOARD, store=city.store) as second,
        city.follow(city.tokens["device"], QUEUE, store=city.store) as screen,
        city.follow(rider, TASKS) as tasks,
    ):
        for follower in (board, second, screen, tasks):
            await follower.count(1)
        assert await terminals(owner) == 3
        assert await terminals(admin) == 3
        assert await terminals(stranger) is None, "nobody else's business"
        seen = await city.do(admin, RIDERS, city=city.id)
        assert seen["overview"]["riderConnections"] == 1
        assert {r["id"]: r["connected"] for r in seen["riders"]["nodes"]}[rider_id] is True
        assert REGISTRY.get_sample_value("hutong_connections", {"view": "MERCHANT"}) == 2
        assert REGISTRY.get_sample_value("hutong_subscriptions", {"feed": "store", "view": "MERCHANT"}) == 2
        assert REGISTRY.get_sample_value("hutong_subscriptions", {"feed": "queue", "view": "DEVICE"}) == 1

    async def all_gone() -> bool:
        return await terminals(owner) == 0

    await until(all_gone)
    seen = await city.do(admin, RIDERS, city=city.id)
    assert seen["overview"]["riderConnections"] == 0
    assert not any(r["connected"] for r in seen["riders"]["nodes"])
