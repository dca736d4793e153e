"""The schema grows from an empty database, again and again, and matches the models."""

from __future__ import annotations

import asyncio

import asyncpg
from tortoise import Tortoise
from tortoise.migrations.api import migrate as run_migrations

from core.ids import uuid7
from models.database import migrate, tortoise_config
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


async def test_sharings_of_before_know_who_shared_them(postgres_server: PostgresServer) -> None:
    url = await postgres_server.create(empty=True)
    try:
        try:
            await run_migrations(config=tortoise_config(url, 2), target="models.0012_webhooks")
        finally:
            await Tortoise.close_connections()
        connection = await asyncpg.connect(url)
        try:
            city, merchant, owner, by_admin, by_operator, store = (uuid7() for _ in range(6))
            await connection.execute(
                "INSERT INTO city VALUES ($1, 'c', 'C', 39.9, 116.4, 'Asia/Shanghai', 'CNY')", city
            )
            await connection.execute("INSERT INTO person (id, phone, created_at) VALUES ($1, '+86', now())", owner)
            await connection.execute("INSERT INTO merchant VALUES ($1, $2, 'M', $3, now())", merchant, city, owner)
            await connection.execute(
                """INSERT INTO store (id, merchant_id, city_id, name, address, phone, latitude, longitude, timezone,
                       currency, status, hours, services, tag_ids, delivery_radius_m, minimum_order, delivery_fee,
                       prep_minutes, queue_open, search_text, search_grams, created_at)
                   VALUES ($1, $2, $3, 'S', '', '', 39.9, 116.4, 'Asia/Shanghai', 'CNY', 'OPEN', '[]', '[]', '[]',
                       5000, 0, 0, 15, true, '', '{}', now())""",
                store, merchant, city,
            )  # fmt: skip
            for client, view in ((by_admin, "ADMIN"), (by_operator, "OPERATOR")):
                await connection.execute(
                    """INSERT INTO client (id, kind, name, client_id, city_id, created_at)
                       VALUES ($1, 'PARTNER', 'P', $2, $3, now())""",
                    client, view, city,
                )  # fmt: skip
                await connection.execute(
                    """INSERT INTO partner_store (id, client_id, store_id, created_at, from_offset)
                       VALUES ($1, $2, $3, now(), 0)""",
                    uuid7(), client, store,
                )  # fmt: skip
                await connection.execute(
                    """INSERT INTO audit_entry (id, at, view, actor_id, action, target_id, facts)
                       VALUES ($1, now(), $2, $3, 'share_store', $4, $5)""",
                    uuid7(), view, owner, client, f'{{"store": "{store}"}}',
                )  # fmt: skip
            await migrate(url)
            rows = await connection.fetch("SELECT client_id, shared_by FROM partner_store")
            assert {row[0]: row[1] for row in rows} == {by_admin: "ADMIN", by_operator: "OPERATOR"}
        finally:
            await connection.close()
    finally:
        await postgres_server.drop(url)
