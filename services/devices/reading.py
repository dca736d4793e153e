"""Devices and commands as they stand, for those who may look; and what a device is handed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from auth.principals import Principal, View
from models.database import Connection, Database, Record
from services.devices.machine import OPEN_SQL
from services.devices.records import (
    COMMAND_SELECT,
    CommandRecord,
    DeviceRecord,
    command_from_row,
    device_from_row,
)
from services.errors import NotFound, PermissionDenied
from services.merchants import get_store
from services.pages import of_each
from services.runtime import Runtime
from subscriptions.feeds import DEVICE_COMMANDS, STORE_DEVICES, Signal

HEARTBEAT: Final = timedelta(seconds=30)
"""Real time after which a connected device is noted as seen again."""
ABSENT_AFTER: Final = timedelta(seconds=90)
"""Real time without a sign of life after which a device counts as offline."""

DEVICE_SELECT: Final = f"""
    SELECT d.id, d.store_id, s.city_id, d.name, d.station, d.capabilities, d.client_id, d.paired_at,
           d.disabled_at, d.last_seen_at, d.left_at, q.pending, q.waiting_since, said.failure AS problem
    FROM device d
    JOIN store s ON s.id = d.store_id
    LEFT JOIN LATERAL (
        SELECT count(*) AS pending, min(c.created_at) AS waiting_since FROM device_command c
        WHERE c.device_id = d.id AND c.state IN {OPEN_SQL} AND c.expires_at > $1
    ) q ON true
    LEFT JOIN LATERAL (
        SELECT c.failure FROM device_command c WHERE c.device_id = d.id AND c.reported_at IS NOT NULL
        ORDER BY c.reported_at DESC LIMIT 1
    ) said ON true
"""


def _may_see(principal: Principal, device: DeviceRecord) -> bool:
    if principal.view is View.DEVICE:
        return device.client_id is not None and device.client_id == principal.subject
    return principal.works_at(device.store_id) or principal.administers(device.city_id)


async def require_staff(runtime: Runtime, principal: Principal, store_id: UUID) -> None:
    """Raises NotFound unless the caller works at the store or administers its city."""
    if principal.view is View.MERCHANT and principal.works_at(store_id):
        return
    store = await get_store(runtime, store_id)
    if not principal.administers(store.city_id):
        raise NotFound(resource="Store")


def require_manager(principal: Principal, device: DeviceRecord) -> None:
    """Raises PermissionDenied unless the caller is owner or manager of the device's store, or an admin of its city."""
    staff = principal.view is View.MERCHANT and principal.works_at(device.store_id, managing=True)
    if not staff and not principal.administers(device.city_id):
        raise PermissionDenied(reason="only owners and managers do this")


def _device(runtime: Runtime, row: Record) -> DeviceRecord:
    seen, now = row["last_seen_at"], runtime.clock.now()
    fresh = seen is not None and (now - seen) / runtime.clock.speed < ABSENT_AFTER
    return device_from_row(row, online=fresh and row["left_at"] is None and row["disabled_at"] is None)


async def find(
    runtime: Runtime, principal: Principal, device_id: UUID, source: Database | Connection | None = None
) -> DeviceRecord:
    """The device for its store's staff, its city's admins, and itself. Raises NotFound."""
    database = runtime.database if source is None else source
    row = await database.fetchrow(f"{DEVICE_SELECT} WHERE d.id = $2", runtime.clock.now(), device_id)
    device = None if row is None else _device(runtime, row)
    if device is None or not _may_see(principal, device):
        raise NotFound(resource="Device")
    return device


async def own(runtime: Runtime, principal: Principal) -> DeviceRecord:
    """The device that is calling. Raises NotFound."""
    if principal.view is View.DEVICE and principal.subject is not None:
        row = await runtime.database.fetchrow(
            f"{DEVICE_SELECT} WHERE d.client_id = $2 AND d.disabled_at IS NULL", runtime.clock.now(), principal.subject
        )
        if row is not None:
            return _device(runtime, row)
    raise NotFound(resource="Device")


async def of_stores(runtime: Runtime, store_ids: Sequence[UUID]) -> dict[UUID, list[DeviceRecord]]:
    """The devices of each store, oldest first, without any check of who asks."""
    found: dict[UUID, list[DeviceRecord]] = {store_id: [] for store_id in store_ids}
    for row in await runtime.database.fetch(
        f"{DEVICE_SELECT} WHERE d.store_id = ANY($2::uuid[]) ORDER BY d.id", runtime.clock.now(), list(store_ids)
    ):
        found[row["store_id"]].append(_device(runtime, row))
    return found


async def by_ids(runtime: Runtime, ids: Sequence[UUID]) -> dict[UUID, DeviceRecord]:
    """Devices by key, without any check of who asks."""
    rows = await runtime.database.fetch(f"{DEVICE_SELECT} WHERE d.id = ANY($2::uuid[])", runtime.clock.now(), list(ids))
    return {row["id"]: _device(runtime, row) for row in rows}


async def find_command(runtime: Runtime, principal: Principal, command_id: UUID) -> tuple[CommandRecord, DeviceRecord]:
    """The command as it stands, for those who may see its device. Raises NotFound."""
    row = await runtime.database.fetchrow(f"{COMMAND_SELECT} WHERE c.id = $1", command_id)
    if row is None:
        raise NotFound(resource="DeviceCommand")
    try:
        device = await find(runtime, principal, row["device_id"])
    except NotFound:
        raise NotFound(resource="DeviceCommand") from None
    return command_from_row(row).at(runtime.clock.now()), device


async def history(
    runtime: Runtime, device_ids: Sequence[UUID], limit: int, before: UUID | None
) -> dict[UUID, list[CommandRecord]]:
    """Commands of each device, newest first, at most ``limit``, older than ``before``."""
    page = f"""{COMMAND_SELECT} WHERE c.device_id = k.key AND ($2::uuid IS NULL OR c.id < $2)
        ORDER BY c.id DESC LIMIT $3"""
    found = await of_each(runtime, device_ids, "uuid", page, "page.id DESC", before, limit)
    now = runtime.clock.now()
    return {key: [command_from_row(row).at(now) for row in rows] for key, rows in found.items()}


# what a device is handed


async def hand_over(runtime: Runtime, device: DeviceRecord, ids: Sequence[UUID]) -> list[CommandRecord]:
    """Commands of the device as they stand now, in order; those QUEUED become DELIVERED.

    A device acts on what it is told, so it is never told of an order that has been taken back since: what it gets is
    the state of now, whenever the event was. Raises NotFound when the device's credentials are no longer its own.
    """
    now = runtime.clock.now()
    handed = await runtime.database.fetch(
        """WITH waiting AS (
                SELECT c.id FROM device_command c JOIN device d ON d.id = c.device_id
                WHERE d.id = $1 AND d.client_id = $2 AND d.disabled_at IS NULL
                  AND c.id = ANY($4::uuid[]) AND c.state = 'QUEUED' AND c.expires_at > $3 ORDER BY c.id FOR UPDATE OF c
            )
            UPDATE device_command c SET state = 'DELIVERED', delivered_at = $3
            FROM waiting w WHERE c.id = w.id RETURNING c.id""",
        device.id,
        device.client_id,
        now,
        list(ids),
    )
    if handed:
        await runtime.signals.publish([Signal(STORE_DEVICES.of(device.store_id))])
    rows = await runtime.database.fetch(
        f"""{COMMAND_SELECT} JOIN device d ON d.id = c.device_id
            WHERE d.id = $1 AND d.client_id = $2 AND d.disabled_at IS NULL AND c.id = ANY($3::uuid[]) ORDER BY c.id""",
        device.id,
        device.client_id,
        list(ids),
    )
    if len(rows) != len(set(ids)):
        raise NotFound(resource="Device")
    return [command_from_row(row).at(now) for row in rows]


async def snapshot(runtime: Runtime, device: DeviceRecord) -> tuple[int, list[CommandRecord]]:
    """Everything that the device still has to do, in order, with its feed's offset. Raises NotFound.

    What is over by the time it is handed over is left out; an event above the offset says so too.
    """
    row = await runtime.database.fetchrow(
        f"""SELECT coalesce((SELECT top FROM feed_head WHERE feed = $2), 0) AS top, array(
                SELECT c.id FROM device_command c WHERE c.device_id = $1 AND c.state IN {OPEN_SQL} ORDER BY c.id
            ) AS open""",
        device.id,
        DEVICE_COMMANDS.of(device.id),
    )
    assert row is not None
    commands = await hand_over(runtime, device, row["open"])
    return row["top"], [command for command in commands if command.open]


async def pending(runtime: Runtime, device: DeviceRecord, limit: int) -> list[CommandRecord]:
    """The first ``limit`` commands that the device still has to do, for one that polls. Raises NotFound."""
    rows = await runtime.database.fetch(
        f"""SELECT c.id FROM device_command c WHERE c.device_id = $1 AND c.state IN {OPEN_SQL} AND c.expires_at > $2
            ORDER BY c.id LIMIT $3""",
        device.id,
        runtime.clock.now(),
        limit,
    )
    return [command for command in await hand_over(runtime, device, [r["id"] for r in rows]) if command.open]
