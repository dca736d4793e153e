"""Registering devices, pairing them with hardware, and cutting them off.

A code that the merchant reads to the device is exchanged for a client's credentials, once. The hardware that had
them before is cut off in the same transaction: one device is one piece of hardware.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

import orjson

from auth.clients import TooManyAttempts
from auth.principals import Principal, View
from auth.tokens import hash_secret
from core.clock import wall_now
from models.devices import DeviceCapability, DeviceStation
from services import access
from services.devices import commands
from services.devices.reading import find, require_manager, require_staff
from services.devices.records import DeviceRecord
from services.errors import InvalidInput, PermissionDenied
from services.limits import Exhausted, guarded, limit, network, seconds_until
from services.merchants.checks import text
from services.runtime import Runtime
from services.unit import Unit, transaction
from subscriptions.feeds import STORE_DEVICES

MAX_DEVICES: Final = 100
"""Of one store."""
CODE_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without what can be mistaken for something else on a receipt or through a phone."""
CODE_LENGTH: Final = 10
"""Some 49 bits: beyond guessing within the life of a code."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """The code is told here and nowhere else; it works once, until ``expires_at`` (wall time)."""

    device: DeviceRecord
    code: str
    expires_at: datetime


def _new_code() -> str:
    letters = "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
    return f"{letters[:5]}-{letters[5:]}"


def _code_hash(runtime: Runtime, code: str) -> str:
    """As people type it: case, spaces and hyphens do not matter."""
    plain = "".join(char for char in code.upper() if char.isalnum())
    return hmac.new(runtime.keys.derive("pairing codes"), plain.encode(), hashlib.sha256).hexdigest()


def _capabilities(wanted: Sequence[DeviceCapability]) -> str:
    if not wanted:
        raise InvalidInput(field="capabilities", reason="must name at least one")
    return orjson.dumps([c for c in DeviceCapability if c in wanted]).decode()


async def register(
    runtime: Runtime,
    principal: Principal,
    store_id: UUID,
    name: str,
    station: DeviceStation,
    capabilities: Sequence[DeviceCapability],
) -> Pairing:
    """A new device of the store, with the code to pair its hardware by.

    Owners and managers of the store and admins of its city do it. Raises NotFound, PermissionDenied, InvalidInput.
    """
    name, able = text("name", name, 80), _capabilities(capabilities)
    await require_staff(runtime, principal, store_id)
    if principal.view is View.MERCHANT and not principal.works_at(store_id, managing=True):
        raise PermissionDenied(reason="only owners and managers register devices")
    device_id = runtime.new_id()
    async with transaction(runtime) as unit:
        # Locked, so that the count holds when two register at once.
        await unit.sql.execute("SELECT FROM store WHERE id = $1 FOR NO KEY UPDATE", store_id)
        if await unit.sql.fetchval("SELECT count(*) FROM device WHERE store_id = $1", store_id) >= MAX_DEVICES:
            raise InvalidInput(field="store", reason=f"has {MAX_DEVICES} devices already")
        await unit.sql.execute(
            """INSERT INTO device (id, store_id, name, station, capabilities, created_at)
               VALUES ($1, $2, $3, $4, $5, $6)""",
            device_id,
            store_id,
            name,
            station.value,
            able,
            unit.now,
        )
        return await _issue_code(unit, principal, device_id)


async def _issue_code(unit: Unit, principal: Principal, device_id: UUID) -> Pairing:
    code, expires_at = _new_code(), wall_now() + unit.runtime.settings.pairing_ttl
    await unit.sql.execute(
        "UPDATE device SET pairing_hash = $2, pairing_expires_at = $3 WHERE id = $1",
        device_id,
        _code_hash(unit.runtime, code),
        expires_at,
    )
    device = await find(unit.runtime, principal, device_id, unit.sql)
    unit.signal(STORE_DEVICES.of(device.store_id))
    return Pairing(device, code, expires_at)


async def pair(runtime: Runtime, principal: Principal, device_id: UUID) -> Pairing:
    """A code for other hardware in the same place; also what brings a disabled device back.

    The hardware that is paired now goes on until the code is used; an earlier code stops working at once. Raises
    NotFound, PermissionDenied.
    """
    async with transaction(runtime) as unit:
        await _lock(unit, principal, device_id)
        return await _issue_code(unit, principal, device_id)


async def _lock(unit: Unit, principal: Principal, device_id: UUID) -> DeviceRecord:
    """The device, locked, for somebody who manages its store. Raises NotFound, PermissionDenied."""
    await unit.sql.execute("SELECT FROM device WHERE id = $1 FOR NO KEY UPDATE", device_id)
    device = await find(unit.runtime, principal, device_id, unit.sql)
    require_manager(principal, device)
    return device


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client signs in with; only the hash of the secret is kept."""

    client_id: str
    secret: str
    name: str


async def claim(runtime: Runtime, code: str, address: str = "") -> Credentials | None:
    """Exchange a pairing code for new credentials; None when there is no such code, or no longer.

    Raises TooManyAttempts when ``address`` had too many wrong ones today.
    """
    most, subject = runtime.settings.pairing_failures_per_address, network(address)
    counted = [limit(runtime, "pairing", "ADDRESS", subject, most)] if subject and most else []
    try:
        return await guarded(runtime.database, counted, partial(_exchange, runtime, code), _UnknownCode)
    except _UnknownCode:
        return None
    except Exhausted as error:
        raise TooManyAttempts(seconds_until(error.ends_at)) from None


class _UnknownCode(Exception):
    """There is no such code, or no longer."""


async def _exchange(runtime: Runtime, code: str) -> Credentials:
    given = Credentials(f"device-{secrets.token_hex(8)}", secrets.token_urlsafe(32), "")
    async with transaction(runtime) as unit:
        device = await unit.sql.fetchrow(
            """SELECT d.id, d.name, d.store_id, d.client_id, s.city_id FROM device d JOIN store s ON s.id = d.store_id
               WHERE d.pairing_hash = $1 AND d.pairing_expires_at > $2 FOR UPDATE OF d""",
            _code_hash(runtime, code),
            wall_now(),
        )
        if device is None:
            raise _UnknownCode
        client_id = runtime.new_id()
        await unit.sql.execute(
            """INSERT INTO client (id, kind, name, client_id, secret_hash, store_id, city_id, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)""",
            client_id,
            View.DEVICE.value,
            device["name"],
            given.client_id,
            hash_secret(given.secret),
            device["store_id"],
            device["city_id"],
            unit.now,
        )
        await unit.sql.execute(
            """UPDATE device SET pairing_hash = NULL, pairing_expires_at = NULL, client_id = $2, paired_at = $3,
                   disabled_at = NULL, last_seen_at = NULL, left_at = NULL WHERE id = $1""",
            device["id"],
            client_id,
            unit.now,
        )
        await _revoke(unit, device["client_id"])
        unit.signal(STORE_DEVICES.of(device["store_id"]))
    await _told(runtime, device["client_id"])
    return replace(given, name=device["name"])


async def _revoke(unit: Unit, client_id: UUID | None) -> None:
    """End what the client has; :func:`_told` after the commit."""
    await unit.sql.execute(
        "UPDATE client SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL", client_id, wall_now()
    )


async def _told(runtime: Runtime, client_id: UUID | None) -> None:
    """Have every process look again at the client, whose open sockets then end."""
    if client_id is not None:
        await access.changed(runtime, client_id)


async def rename(runtime: Runtime, principal: Principal, device_id: UUID, name: str) -> DeviceRecord:
    """Raises NotFound, PermissionDenied, InvalidInput."""
    name = text("name", name, 80)
    async with transaction(runtime) as unit:
        device = await _lock(unit, principal, device_id)
        await unit.sql.execute("UPDATE device SET name = $2 WHERE id = $1", device_id, name)
        await unit.sql.execute("UPDATE client SET name = $2 WHERE id = $1", device.client_id, name)
        unit.signal(STORE_DEVICES.of(device.store_id))
    return replace(device, name=name)


async def assign(
    runtime: Runtime,
    principal: Principal,
    device_id: UUID,
    station: DeviceStation,
    capabilities: Sequence[DeviceCapability],
) -> DeviceRecord:
    """Say where the device stands and what it is for from now on; what it was sent before stays.

    Raises NotFound, PermissionDenied, InvalidInput.
    """
    able = _capabilities(capabilities)
    async with transaction(runtime) as unit:
        await _lock(unit, principal, device_id)
        await unit.sql.execute(
            "UPDATE device SET station = $2, capabilities = $3 WHERE id = $1", device_id, station.value, able
        )
        device = await find(runtime, principal, device_id, unit.sql)
        unit.signal(STORE_DEVICES.of(device.store_id))
    return device


async def disable(runtime: Runtime, principal: Principal, device_id: UUID) -> DeviceRecord:
    """Cut the device off: its credentials end, its pairing code too, and what it has not done is cancelled.

    Repeating it changes nothing. Raises NotFound, PermissionDenied.
    """
    async with transaction(runtime) as unit:
        device = await _lock(unit, principal, device_id)
        await unit.sql.execute(
            """UPDATE device SET disabled_at = coalesce(disabled_at, $2), pairing_hash = NULL,
                   pairing_expires_at = NULL WHERE id = $1""",
            device_id,
            unit.now,
        )
        await _revoke(unit, device.client_id)
        await commands.cancel_open(unit, "c.device_id = $1", device_id)
        device = await find(runtime, principal, device_id, unit.sql)
        unit.signal(STORE_DEVICES.of(device.store_id))
    await _told(runtime, device.client_id)
    return device
