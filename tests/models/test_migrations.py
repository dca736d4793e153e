"""The schema grows from an empty database, again and again, and matches the models."""

from __future__ import annotations

import asyncio

import asyncpg

from models.database import migrate
from tests.engines import PostgresServer


async def test_an_empty_database_is_migrated_and_repeating_it_changes_nothing(
    postgres_server: PostgresServer,
) -> None:
    url = await postgres_server.create(empty=True)
    try:
        await migrate(url)
        await migrate(url)
        connection = await asyncpg.connect(url)
        try:
            tables = {
                row["tablename"]
                for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            }
            assert {"order", "feed_event", "feed_head", "ledger_entry", "pgqueuer", "queue_ticket"} <= tables
            assert await connection.fetchval("SELECT count(*) FROM feed_epoch") == 1
        finally:
            await connection.close()
    finally:
        await postgres_server.drop(url)


async def test_two_databases_have_two_epochs(postgres_server: PostgresServer) -> None:
    urls = [await postgres_server.create(empty=True) for _ in range(2)]
    try:
        epochs: set[str] = set()
        for url in urls:
            await migrate(url)
            connection = await asyncpg.connect(url)
            epochs.add(await connection.fetchval("SELECT epoch FROM feed_epoch"))
            await connection.close()
        assert len(epochs) == 2
    finally:
        await asyncio.gather(*[postgres_server.drop(url) for url in urls])
