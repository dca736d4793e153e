"""One process that is told to end: in order, in a hurry, and at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import asyncpg
import orjson
import pytest

from core import ids
from tests.engines import Reaper, temporary_folder
from tests.processes.installation import PATIENCE, Caller, Installation, installation, until

STATUS = """mutation ($store: ID!) { setStoreStatus(store: $store, status: CLOSED) {
    ... on Store { status } ... on UserError { code message } } }"""
BOARD = "subscription ($store: ID!) { storeBoard(store: $store) { cursor } }"


@pytest.fixture
async def slow(reaper: Reaper, database_url: str) -> AsyncIterator[tuple[Installation, Caller]]:
    """A process that would take minutes to drain."""
    settings = {"database_url": database_url, "drain_pause": "600", "drain_window": "600"}
    async with installation(reaper, temporary_folder(reaper), 1, **settings) as made:
        caller = Caller(made.url)
        yield made, caller
        await caller.close()


async def closed(ws: aiohttp.ClientWebSocketResponse) -> int | None:
    """The code that the server closed with; None when it did not say any."""
    async with asyncio.timeout(PATIENCE):
        while (message := await ws.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
    return message.data if message.type is aiohttp.WSMsgType.CLOSE else None


async def tokens(caller: Caller) -> dict[str, str]:
    return orjson.loads((await caller.get("/sandbox/tokens"))[1])


async def test_a_second_signal_hurries(slow: tuple[Installation, Caller]) -> None:
    made, caller = slow
    ws = await caller.socket()
    made.signal(signal.SIGTERM)

    async def not_ready() -> bool:
        return await caller.status("/readyz") == 503

    await until(not_ready)
    assert await caller.status("/healthz") == 200, "until load balancers have noticed, everything works"
    another = await caller.socket()
    made.signal(signal.SIGINT)
    assert await closed(ws) == 1012
    assert await closed(another) == 1012
    assert await made.ended() == 0


async def test_a_third_signal_does_not_wait_for_anything(slow: tuple[Installation, Caller], database_url: str) -> None:
    made, caller = slow
    known = await tokens(caller)
    locker = await asyncpg.connect(database_url)
    async with locker.transaction():
        await locker.execute("SELECT FROM store WHERE id = $1 FOR UPDATE", ids.decode("Store", known["store"]))
        asking = asyncio.create_task(caller.graphql(STATUS, known["merchant"], store=known["store"]))
        await until(lambda: waits_for_lock(locker))
        for _ in range(3):
            made.signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
        await made.ended()
        (answer,) = await asyncio.gather(asking, return_exceptions=True)
        if not isinstance(answer, Exception):  # there was just time to say so
            assert [error["extensions"]["code"] for error in answer["errors"]] == ["RESTARTING"]
    await locker.close()


async def test_what_runs_is_finished(reaper: Reaper, database_url: str) -> None:
    """A mutation that waits for the database is answered, after sockets and streams have ended and nobody new is let
    in."""
    settings = {"database_url": database_url, "shutdown_grace": "60"}
    async with installation(reaper, temporary_folder(reaper), 1, **settings) as made:
        caller = Caller(made.url)
        known = await tokens(caller)
        ws = await caller.socket()
        signed_in = {"authorization": f"Bearer {known['merchant']}", "accept": "text/event-stream"}
        asked = {"query": BOARD, "variables": {"store": known["store"]}}
        stream = await caller.http.post(f"{made.url}/graphql", json=asked, headers=signed_in)
        locker = await asyncpg.connect(database_url)
        lock = locker.transaction()
        await lock.start()
        await locker.execute("SELECT FROM store WHERE id = $1 FOR UPDATE", ids.decode("Store", known["store"]))
        asking = asyncio.create_task(caller.graphql(STATUS, known["merchant"], store=known["store"]))
        await until(lambda: waits_for_lock(locker))
        made.signal(signal.SIGTERM)
        assert await closed(ws) == 1012
        told = (await stream.content.read()).decode()
        assert "event: next" in told
        assert "event: complete" not in told, "who is told that it is complete does not come back"

        async def refuses() -> bool:
            return await caller.status("/healthz") is None

        await until(refuses)
        assert not asking.done()
        await lock.rollback()
        assert (await asking)["data"]["setStoreStatus"] == {"status": "CLOSED"}
        assert await made.ended() == 0
        await locker.close()
        await caller.close()


async def waits_for_lock(connection: Any) -> bool:
    """Whether somebody waits for what ``connection`` has locked."""
    return bool(
        await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
    )
