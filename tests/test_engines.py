"""The test engines themselves."""

from __future__ import annotations

import asyncpg
import redis.asyncio

from tests.engines import PostgresServer, RedisServer


async def test_every_database_is_fresh_and_migrated(postgres_server: PostgresServer, database_url: str) -> None:
    other = await postgres_server.create()
    first, second = await asyncpg.connect(database_url), await asyncpg.connect(other)
    await first.execute("CREATE TABLE only_here (a int)")
    assert await second.fetchval("SELECT to_regclass('only_here')") is None
    assert await second.fetchval('SELECT count(*) FROM "order"') == 0
    await first.close()
    await postgres_server.drop(other)  # with a connection still open
    assert await _exists(database_url)
    assert not await _exists(other)


async def _exists(url: str) -> bool:
    try:
        await (await asyncpg.connect(url)).close()
    except asyncpg.InvalidCatalogNameError:
        return False
    return True


async def test_redis_keeps_its_port_over_crashes(redis_url: str, redis_server: RedisServer) -> None:
    assert redis_url != redis_server.url
    assert await _set_and_return_old(redis_server.url) is None
    assert await _set_and_return_old(redis_server.url) == b"set"
    redis_server.kill()
    redis_server.start()
    assert await _set_and_return_old(redis_server.url) is None
    redis_server.restart()
    assert await _set_and_return_old(redis_server.url) is None


async def _set_and_return_old(url: str) -> bytes | None:
    async with redis.asyncio.from_url(url) as client:
        return await client.getset("a", "set")
