"""What the operator does before anybody can sign in: cities and their admins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from core.geo import Point
from models.identity import GrantRole
from services import access, audit
from services.errors import InvalidInput, NotFound
from services.identity import checked_name, checked_phone, ensure_person
from services.identity.roles import grant_role
from services.merchants.checks import place, text
from services.runtime import Runtime
from services.unit import transaction

MAX_NAME: Final = 80


@dataclass(frozen=True, slots=True)
class AdminRecord:
    """Somebody who administers a city."""

    city: str
    name: str | None
    phone: str


async def create_city(runtime: Runtime, slug: str, name: str, center: Point, timezone: str, currency: str) -> UUID:
    """A city; ``slug`` is its name in addresses. Raises InvalidInput, also when the slug is taken."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{1,39}", slug):
        raise InvalidInput(field="slug", reason="must be 2 to 40 small letters, digits and hyphens")
    if not re.fullmatch(r"[A-Z]{3}", currency):
        raise InvalidInput(field="currency", reason="must be an ISO 4217 code")
    try:
        ZoneInfo(timezone)
    except (ValueError, OSError, LookupError):
        raise InvalidInput(field="timezone", reason="is not in the IANA database") from None
    name, center = text("name", name, MAX_NAME), place("center", center)
    async with transaction(runtime) as unit:
        city_id = await unit.sql.fetchval(
            """INSERT INTO city (id, slug, name, latitude, longitude, timezone, currency)
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (slug) DO NOTHING RETURNING id""",
            runtime.new_id(),
            slug,
            name,
            center.latitude,
            center.longitude,
            timezone,
            currency,
        )
        if city_id is None:
            raise InvalidInput(field="slug", reason="is taken")
        await audit.note(unit, None, "create_city", city_id, {"slug": slug}, city_id)
    return city_id


async def city_called(runtime: Runtime, slug: str) -> UUID:
    """The city with that slug. Raises NotFound."""
    city_id = await runtime.database.fetchval("SELECT id FROM city WHERE slug = $1", slug)
    if city_id is None:
        raise NotFound(resource="City")
    return city_id


async def appoint_admin(runtime: Runtime, city_id: UUID, phone: str, name: str) -> UUID:
    """Let the person with the phone administer the city; repeating it changes nothing. Raises InvalidInput."""
    phone, name = checked_phone(phone), checked_name(name)
    async with transaction(runtime) as unit:
        person_id = await ensure_person(unit, phone, name)
        await grant_role(unit, person_id, GrantRole.CITY_ADMIN, None, city_id)
        await audit.note(unit, None, "appoint_admin", person_id, {"city": city_id}, city_id)
    await access.changed(runtime, person_id)
    return person_id


async def dismiss_admin(runtime: Runtime, city_id: UUID, phone: str) -> None:
    """End somebody's administration of the city. Raises NotFound."""
    async with transaction(runtime) as unit:
        person_id = await unit.sql.fetchval(
            """UPDATE "grant" g SET revoked_at = $3 FROM person p
               WHERE p.id = g.person_id AND p.phone = $2 AND g.city_id = $1 AND g.role = 'CITY_ADMIN'
                 AND g.revoked_at IS NULL RETURNING p.id""",
            city_id,
            checked_phone(phone),
            unit.now,
        )
        if person_id is None:
            raise NotFound(resource="Grant")
        await audit.note(unit, None, "dismiss_admin", person_id, {"city": city_id}, city_id)
    await access.changed(runtime, person_id)


async def admins(runtime: Runtime) -> list[AdminRecord]:
    """The admins of all cities."""
    rows = await runtime.database.fetch(
        """SELECT c.slug, p.name, p.phone FROM "grant" g JOIN person p ON p.id = g.person_id
           JOIN city c ON c.id = g.city_id WHERE g.role = 'CITY_ADMIN' AND g.revoked_at IS NULL
           ORDER BY c.slug, g.created_at"""
    )
    return [AdminRecord(row["slug"], row["name"], row["phone"]) for row in rows]


async def partner_called(runtime: Runtime, client_id: str) -> UUID:
    """The partner with that client id. Raises NotFound."""
    found = await runtime.database.fetchval(
        "SELECT id FROM client WHERE client_id = $1 AND kind = 'PARTNER' AND city_id IS NOT NULL", client_id
    )
    if found is None:
        raise NotFound(resource="Partner")
    return found


async def partners(runtime: Runtime) -> list[tuple[UUID, str, str, str, bool]]:
    """Every partner: key, city, client id, name, whether it is disabled."""
    rows = await runtime.database.fetch(
        """SELECT k.id, c.slug, k.client_id, k.name, k.revoked_at IS NOT NULL AS disabled FROM client k
           JOIN city c ON c.id = k.city_id WHERE k.kind = 'PARTNER' ORDER BY c.slug, k.client_id"""
    )
    return [(row["id"], row["slug"], row["client_id"], row["name"], row["disabled"]) for row in rows]
