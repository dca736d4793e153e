"""One PostgreSQL for everything: connection pool, transactions, raw SQL for hot paths, migrations.

Tortoise gives tables, migrations and ordinary queries. Hydrating its objects costs more than the SQL on hot paths
(20 orders with two prefetches: 2 ms), so those use the same pool and the same transaction through plain SQL and
build slotted records themselves.

Tortoise's own migrations are used rather than Aerich, which its authors now call the legacy way: the built-in ones
need no extra table format, autodetect constraints and indexes, and run from Python, so the program can migrate
itself at start.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import asyncpg.pgproto.pgproto
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from tortoise import Tortoise
from tortoise.backends.asyncpg.client import AsyncpgDBClient
from tortoise.migrations.api import migrate as run_migrations
from tortoise.transactions import in_transaction

from core import telemetry
from models.readers import Readers

MODULES: Final = [
    "models.identity",
    "models.merchants",
    "models.catalog",
    "models.ordering",
    "models.payments",
    "models.ledger",
    "models.delivery",
    "models.queueing",
    "models.devices",
    "models.files",
    "models.platform",
    "models.webhooks",
]

Record = asyncpg.Record

FastUUID: Final = cast("type[UUID]", asyncpg.pgproto.pgproto.UUID)
"""The ``UUID`` that rows come with: equal to Python's own, made of text eight times as fast."""

UNAVAILABLE: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # A statement on a connection that the server has said farewell on and not closed yet.
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
"""What a query raises while the database cannot be reached or does not take it: trying again later may help."""

_MIGRATION_LOCK: Final = 7_205_759_403


SESSION: Final = {"application_name": "hutong", "client_connection_check_interval": "2s"}
"""Of every connection. By the second setting the server gives up a statement for which nobody waits any more: a
cancellation that overtakes its statement is lost, and a process that is killed asks for none."""


class _PooledConnection(asyncpg.Connection):
    """Saves the statement that resets a connection each time it goes back to the pool.

    Nothing here leaves state behind: settings and advisory locks are those of a transaction, nobody listens.
    """

    def get_reset_query(self) -> str:
        return ""


def tortoise_config(url: str, pool_size: int = 12) -> dict[str, Any]:
    """Tortoise's configuration for the PostgreSQL at ``url``."""
    parts = urlsplit(url)
    credentials: dict[str, Any] = {
        "host": parts.hostname or "127.0.0.1",
        "port": parts.port or 5432,
        "user": parts.username or "postgres",
        "password": parts.password or "",
        "database": parts.path.lstrip("/") or "postgres",
        "minsize": min(2, pool_size),
        "maxsize": pool_size,
        "server_settings": SESSION,
        "connection_class": _PooledConnection,
    }
    return {
        "connections": {"default": {"engine": "tortoise.backends.asyncpg", "credentials": credentials}},
        "apps": {
            "models": {"models": MODULES, "migrations": "models.migrations", "default_connection": "default"},
        },
        "use_tz": True,
        "timezone": "UTC",
    }


class Connection:
    """Plain SQL on one connection; inside :meth:`Database.transaction` it is the transaction's own."""

    __slots__ = ("_raw",)

    def __init__(self, raw: asyncpg.Connection) -> None:
        self._raw = raw

    @property
    def raw(self) -> asyncpg.Connection:
        """The asyncpg connection, for libraries that want it."""
        return self._raw

    async def fetch(self, sql: str, *args: object) -> list[Record]:
        began = time.perf_counter()
        found = await self._raw.fetch(sql, *args)
        telemetry.ran(sql, began)
        return found

    async def fetchrow(self, sql: str, *args: object) -> Record | None:
        began = time.perf_counter()
        found = await self._raw.fetchrow(sql, *args)
        telemetry.ran(sql, began)
        return found

    async def fetchval(self, sql: str, *args: object) -> Any:
        began = time.perf_counter()
        found = await self._raw.fetchval(sql, *args)
        telemetry.ran(sql, began)
        return found

    async def execute(self, sql: str, *args: object) -> int:
        """Run a statement; the number of rows it touched."""
        began = time.perf_counter()
        status = await self._raw.execute(sql, *args)
        telemetry.ran(sql, began)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def executemany(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        began = time.perf_counter()
        await self._raw.executemany(sql, rows)
        telemetry.ran(sql, began)


class Database:
    """The process's pool. ``open`` first, ``close`` last; both are called by the composition root."""

    def __init__(self, url: str, pool_size: int = 12) -> None:
        self.url = url
        self._pool_size = pool_size
        self._readers: Readers | None = None
        self._client: AsyncpgDBClient | None = None

    async def open(self) -> None:
        # The global fallback lets requests, which run in other tasks than start-up, find the connections.
        readers = self._pool_size // 2
        config = tortoise_config(self.url, self._pool_size - readers)
        await Tortoise.init(config=config, _enable_global_fallback=True)
        # Kept here because inside a transaction Tortoise answers with the transaction's own connection.
        self._client = cast(AsyncpgDBClient, Tortoise.get_connection("default"))
        await self._client.create_connection(with_db=True)
        self._readers = Readers(self._connect, readers)

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.url, connection_class=_PooledConnection, server_settings=SESSION)

    async def close(self) -> None:
        if self._readers is not None:
            await self._readers.close()
            self._readers = None
        await Tortoise.close_connections()
        self._client = None

    @property
    def pool(self) -> asyncpg.Pool:
        """The asyncpg pool behind Tortoise's connection."""
        pool = None if self._client is None else self._client._pool  # pyright: ignore[reportPrivateUsage]
        if pool is None:
            raise RuntimeError("the database is not open")
        return pool

    # These take a connection of their own: inside a transaction use its Connection.

    @property
    def readers(self) -> Readers:
        """The connections of single statements."""
        if self._readers is None:
            raise RuntimeError("the database is not open")
        return self._readers

    async def fetch(self, sql: str, *args: object) -> list[Record]:
        return await self.readers.fetch(sql, args)

    async def fetchrow(self, sql: str, *args: object) -> Record | None:
        rows = await self.readers.fetch(sql, args)
        return rows[0] if rows else None

    async def fetchval(self, sql: str, *args: object) -> Any:
        rows = await self.readers.fetch(sql, args)
        return rows[0][0] if rows else None

    async def execute(self, sql: str, *args: object) -> None:
        await self.readers.execute(sql, args)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection, None]:
        """A transaction; Tortoise queries made inside it join it."""
        async with in_transaction() as client:
            yield Connection(cast(Any, client)._connection)


async def migrate(url: str) -> None:
    """Bring the database at ``url`` to the newest schema. Safe to repeat."""
    try:
        await run_migrations(config=tortoise_config(url, 2))
    finally:
        await Tortoise.close_connections()
    connection = await asyncpg.connect(url)
    try:
        # PgQueuer owns its tables and upgrades them itself; the lock lets several processes start at once.
        await connection.execute("SELECT pg_advisory_lock($1)", _MIGRATION_LOCK)
        queries = Queries(AsyncpgDriver(connection))
        if await queries.schema_is_installed():
            await queries.upgrade()
        else:
            await queries.install()
    finally:
        await connection.close()
