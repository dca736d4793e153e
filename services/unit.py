"""The unit of work: one transaction with its events, its jobs, and what must happen after the commit."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import orjson
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from models.database import Connection
from services.runtime import Runtime
from subscriptions import feeds


class Unit:
    """Open transaction of one service function.

    Events are appended and jobs enqueued as its last statements; signals go out after the commit.
    """

    def __init__(self, runtime: Runtime, connection: Connection) -> None:
        self.runtime = runtime
        self.sql = connection
        self.now = runtime.clock.now()
        self._events: list[feeds.NewEvent] = []
        self._signals: list[feeds.Signal] = []
        self._jobs: list[tuple[str, bytes, timedelta]] = []

    def emit(self, names: tuple[str, ...], type: str, payload: dict[str, Any]) -> None:
        """Append an event to the logged feeds ``names``; ``names[0]`` stores the payload.

        Raises ValueError when a feed is not declared to carry such events.
        """
        for name in names:
            if type not in feeds.kind_of(name).events:
                raise ValueError(f"the feed {name} is not declared to carry {type}")
        self._events.append(feeds.NewEvent(names, type, self.now, payload))

    def signal(self, feed: str, value: dict[str, Any] | None = None) -> None:
        """Wake subscribers of a feed that is not in the log, after the commit."""
        self._signals.append(feeds.Signal(feed, None, value))

    def enqueue(self, job: str, payload: dict[str, Any], at: datetime | None = None) -> None:
        """Have ``job`` run with ``payload`` at the domain instant ``at`` (default: at once), if this commits."""
        delay = self.runtime.clock.real_delay(at) if at is not None else timedelta(0)
        self._jobs.append((job, orjson.dumps(payload, default=str), delay))

    async def _finish(self) -> None:
        if self._jobs:
            names, payloads, delays = zip(*self._jobs, strict=True)
            await Queries(AsyncpgDriver(self.sql.raw)).enqueue(
                list(names), list(payloads), [0] * len(names), list(delays)
            )
        if self._events:
            self._signals[:0] = await feeds.append(self.sql, self._events)

    async def _publish(self) -> None:
        if self._signals:
            await self.runtime.signals.publish(self._signals)


@asynccontextmanager
async def transaction(runtime: Runtime) -> AsyncGenerator[Unit, None]:
    """Run a unit of work: commit at the end of the block, roll everything back when it raises."""
    async with runtime.database.transaction() as connection:
        unit = Unit(runtime, connection)
        yield unit
        await unit._finish()  # pyright: ignore[reportPrivateUsage]
    await unit._publish()  # pyright: ignore[reportPrivateUsage]
