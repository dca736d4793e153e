"""When a device was last seen: coarse, so that an idle one costs a row's change every HEARTBEAT."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID

from core import logs
from models.database import UNAVAILABLE
from services.devices.reading import HEARTBEAT
from services.runtime import Runtime
from subscriptions.feeds import STORE_DEVICES, Signal

log = logs.get(__name__)

_connections: Final[Counter[UUID]] = Counter()
"""Connections of each device to this process."""
_leaving: Final[set[asyncio.Task[None]]] = set()


async def seen(runtime: Runtime, device_id: UUID) -> None:
    """The device gave a sign of life."""
    now = runtime.clock.now()
    store_id = await runtime.database.fetchval(
        """UPDATE device SET last_seen_at = $2, left_at = NULL WHERE id = $1
           AND (last_seen_at IS NULL OR left_at IS NOT NULL OR last_seen_at < $3) RETURNING store_id""",
        device_id,
        now,
        now - HEARTBEAT * runtime.clock.speed / 2,
    )
    await _tell(runtime, store_id)


async def _left(runtime: Runtime, device_id: UUID) -> None:
    """Its last connection to this process is gone. One that it has to another process tells so at its next beat."""
    # A shutdown may have closed the database by now; the device then counts as absent a little later.
    with suppress(*UNAVAILABLE, RuntimeError):
        store_id = await runtime.database.fetchval(
            "UPDATE device SET left_at = $2 WHERE id = $1 RETURNING store_id", device_id, runtime.clock.now()
        )
        await _tell(runtime, store_id)


async def _tell(runtime: Runtime, store_id: UUID | None) -> None:
    if store_id is not None:
        await runtime.signals.publish([Signal(STORE_DEVICES.of(store_id))])


@asynccontextmanager
async def connected(runtime: Runtime, device_id: UUID) -> AsyncGenerator[None]:
    """The device is connected for as long as the block runs."""
    await seen(runtime, device_id)
    _connections[device_id] += 1
    beating = asyncio.create_task(_beat(runtime, device_id))
    try:
        yield
    finally:
        beating.cancel()
        _connections[device_id] -= 1
        if not _connections[device_id]:
            del _connections[device_id]
            # In a task of its own: what ends the connection may cancel this one again before it is written.
            leaving = asyncio.create_task(_left(runtime, device_id))
            _leaving.add(leaving)
            leaving.add_done_callback(_leaving.discard)
            await asyncio.shield(leaving)


async def _beat(runtime: Runtime, device_id: UUID) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT.total_seconds())
        try:
            await seen(runtime, device_id)
        except UNAVAILABLE as error:
            log.warning("device.not_noted", error=repr(error))
