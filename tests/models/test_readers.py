"""Connections of single statements: shared, bounded, and never left in a state that the next statement meets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from models.database import UNAVAILABLE, Database
from tests.patience import PATIENCE


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, 6)
    await database.open()
    yield database
    await database.close()


async def backends(database: Database) -> list[int]:
    return [row["pid"] for row in await asyncio.gather(*(pid(database) for _ in range(12)))]


async def pid(database: Database) -> asyncpg.Record:
    (row,) = await database.fetch("SELECT pg_backend_pid() AS pid, pg_sleep(0.01)")
    return row


async def test_statements_at_once_share_few_connections(database: Database) -> None:
    found = await backends(database)
    assert len(found) == 12 and len(set(found)) == 3


async def test_statements_one_after_the_other_use_one(database: Database) -> None:
    assert len({(await pid(database))["pid"] for _ in range(5)}) == 1


async def test_a_statement_that_fails_leaves_its_connection_usable(database: Database) -> None:
    for sql in ("SELECT 1/0", "SELECT nothing_like_it", "SELECT $1::int"):
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await database.fetch(sql)
    assert await database.fetchval("SELECT 1") == 1


async def test_a_cancelled_statement_is_given_up_by_the_server_too(database: Database) -> None:
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(3%' AND state = 'active'"

    async def count() -> int:
        return await database.fetchval(running)

    tasks = [asyncio.create_task(database.fetch("SELECT pg_sleep(3000)")) for _ in range(2)]
    async with asyncio.timeout(PATIENCE):
        while await count() < 2:
            pass
        for task in tasks:
            task.cancel()
        assert all(isinstance(r, asyncio.CancelledError) for r in await asyncio.gather(*tasks, return_exceptions=True))
        while await count():
            pass
    assert len(set(await backends(database))) == 3, "as many connections as before"


async def test_a_statement_whose_cancellation_got_lost_is_given_up_when_its_connection_is_gone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(_connection: object, waiter: asyncio.Future[None], _done: object = None) -> None:
        waiter.set_result(None)

    monkeypatch.setattr(asyncpg.Connection, "_cancel", lost)
    monkeypatch.setattr("models.readers._FAREWELL", 0.05)
    task = asyncio.create_task(database.fetch("SELECT pg_sleep(3000) AS lost"))
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%AS lost' AND wait_event = 'PgSleep'"
    async with asyncio.timeout(PATIENCE):
        while not await database.fetchval(running):
            pass
        task.cancel()
        await asyncio.wait([task])
        while await database.fetchval(running):
            pass


async def test_those_who_wait_can_be_cancelled_and_the_others_get_their_turn(database: Database) -> None:
    blocked = [asyncio.create_task(database.fetch("SELECT pg_sleep(0.2)")) for _ in range(3)]
    waiting = [asyncio.create_task(database.fetchval("SELECT 1")) for _ in range(6)]
    await asyncio.sleep(0)
    for task in waiting[::2]:
        task.cancel()
    assert [await task for task in waiting[1::2]] == [1, 1, 1]
    await asyncio.gather(*blocked)


async def test_connections_that_the_server_ended_are_replaced(database: Database, database_url: str) -> None:
    found = set(await backends(database))
    other = await asyncpg.connect(database_url)
    for backend in found:
        await other.execute("SELECT pg_terminate_backend($1)", backend)
    await other.close()
    fresh: set[int] = set()

    async def answered() -> None:
        while len(fresh) < 3:
            try:
                fresh.update(await backends(database))
            except UNAVAILABLE:
                continue

    await asyncio.wait_for(answered(), PATIENCE)
    assert fresh.isdisjoint(found)


async def test_nothing_stays_open(database_url: str) -> None:
    database = Database(database_url, 6)
    await database.open()
    await backends(database)
    await database.close()
    other = await asyncpg.connect(database_url)
    try:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        while await other.fetchval(sql):
            pass
    finally:
        await other.close()
