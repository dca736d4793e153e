"""Connections for single statements outside of transactions.

asyncpg's pool costs as much as a short statement: a proxy, a task and a shield for each use. Statements of one's own
transaction go through that pool; the many small reads of queries go through these connections, which need none of it:
a statement leaves nothing behind, and a connection on which one was broken off is not used again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg

from core import telemetry

_FAREWELL: Final = 5.0
"""Seconds for telling the server to give up the statement of a connection that is thrown away."""


class Readers:
    """At most ``size`` connections, opened when they are needed; the last one used is the next."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]], size: int) -> None:
        self._connect = connect
        self._size = size
        self._open = 0
        self._free: list[asyncpg.Connection] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._leaving: set[asyncio.Task[None]] = set()

    async def fetch(self, sql: str, args: tuple[object, ...]) -> list[asyncpg.Record]:
        """All rows of a statement."""
        return await self._run(asyncpg.Connection.fetch, sql, args)

    async def execute(self, sql: str, args: tuple[object, ...]) -> None:
        """Run a statement, or without ``args`` several."""
        await self._run(asyncpg.Connection.execute, sql, args)

    async def _run(self, method: Callable[..., Awaitable[Any]], sql: str, args: tuple[object, ...]) -> Any:
        connection = await self._take()
        began = time.perf_counter()
        try:
            result = await method(connection, sql, *args)
        except asyncpg.PostgresError:
            self._give(connection)  # the statement failed and is over
            raise
        except BaseException:
            self._throw_away(connection)
            raise
        self._give(connection)
        telemetry.ran(sql, began)
        return result

    async def close(self) -> None:
        """Close all connections; nobody may use them any more."""
        free, self._free = self._free, []
        await asyncio.gather(*(connection.close(timeout=_FAREWELL) for connection in free), return_exceptions=True)
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def _take(self) -> asyncpg.Connection:
        while True:
            while self._free:
                connection = self._free.pop()
                if not connection.is_closed():
                    return connection
                self._open -= 1
            if self._open < self._size:
                self._open += 1
                try:
                    return await self._connect()
                except BaseException:
                    self._open -= 1
                    self._wake()
                    raise
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # it was this one's turn
                raise

    def _give(self, connection: asyncpg.Connection) -> None:
        if connection.is_closed():
            self._open -= 1
        else:
            self._free.append(connection)
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _throw_away(self, connection: asyncpg.Connection) -> None:
        """Close it in the background; asyncpg first asks the server to give up what it is doing."""
        self._open -= 1
        self._wake()
        task = asyncio.ensure_future(_close(connection))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=_FAREWELL)
    except Exception:
        connection.terminate()
