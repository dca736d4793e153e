"""Who may do what: grants of roles at stores and in cities."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from auth.authenticate import PERSON_VIEWS
from auth.principals import Principal
from models.identity import STORE_ROLES, Grant, GrantRole
from services import access, audit
from services.delivery.reading import RiderRecord, riders_by_ids
from services.errors import InvalidInput, NotFound, PermissionDenied
from services.identity.people import checked_name, checked_phone, ensure_person
from services.merchants import get_store
from services.runtime import Runtime
from services.unit import Unit, transaction
from subscriptions.feeds import CITY


async def register_rider(runtime: Runtime, principal: Principal, city_id: UUID, phone: str, name: str) -> RiderRecord:
    """Make somebody a rider of the city; repeating it changes nothing. Raises NotFound (city), InvalidInput."""
    if not principal.administers(city_id):
        raise NotFound(resource="City")
    phone, name = checked_phone(phone), checked_name(name)
    async with transaction(runtime) as unit:
        person_id = await ensure_person(unit, phone, name)
        await _give(unit, principal, person_id, GrantRole.RIDER, None, city_id)
        rider_id = await unit.sql.fetchval(
            """INSERT INTO rider (id, person_id, city_id, name, phone, online, created_at)
               VALUES ($1, $2, $3, $4, $5, false, $6)
               ON CONFLICT (person_id, city_id) DO UPDATE SET name = excluded.name RETURNING id""",
            runtime.new_id(),
            person_id,
            city_id,
            name,
            phone,
            unit.now,
        )
        unit.signal(CITY.of(city_id))
    await access.changed(runtime, person_id)
    return (await riders_by_ids(runtime, [rider_id]))[rider_id]


async def grant_role(unit: Unit, person_id: UUID, role: GrantRole, store_id: UUID | None, city_id: UUID | None) -> UUID:
    """A live grant of the role: the one there is, or a new one."""
    place = "city_id" if store_id is None else "store_id"
    # The update changes nothing, but holds the row: a revocation comes before it or waits.
    return await unit.sql.fetchval(
        f"""INSERT INTO "grant" (id, person_id, role, store_id, city_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (person_id, role, {place}) WHERE revoked_at IS NULL AND {place} IS NOT NULL
            DO UPDATE SET role = excluded.role RETURNING id""",
        unit.runtime.new_id(),
        person_id,
        role,
        store_id,
        city_id,
        unit.now,
    )


async def grant_store_role(
    runtime: Runtime, principal: Principal, store_id: UUID, phone: str, role: GrantRole
) -> Grant:
    """Let somebody work at a store; its owner or an admin of its city decides.

    Raises NotFound, PermissionDenied, InvalidInput.
    """
    await _require_owner(runtime, principal, store_id)
    if role not in STORE_ROLES:
        raise InvalidInput(field="role", reason="must be a store role")
    phone = checked_phone(phone)
    async with transaction(runtime) as unit:
        person_id = await ensure_person(unit, phone, None)
        grant_id = await _give(unit, principal, person_id, role, store_id, None)
    await access.changed(runtime, person_id)
    return await Grant.get(id=grant_id)


async def _give(
    unit: Unit, principal: Principal, person_id: UUID, role: GrantRole, store_id: UUID | None, city_id: UUID | None
) -> UUID:
    """:func:`grant_role`; the audit log is told when it is a new one."""
    held = await unit.sql.fetchval(
        """SELECT id FROM "grant" WHERE person_id = $1 AND role = $2 AND revoked_at IS NULL
           AND coalesce(store_id, city_id) = coalesce($3::uuid, $4::uuid)""",
        person_id,
        role,
        store_id,
        city_id,
    )
    grant_id = await grant_role(unit, person_id, role, store_id, city_id)
    if grant_id != held:
        await _note(unit, principal, "grant_role", person_id, role, store_id, city_id)
    return grant_id


async def _note(
    unit: Unit, principal: Principal, action: str, person_id: UUID, role: GrantRole, store_id: UUID | None,
    city_id: UUID | None,
) -> None:  # fmt: skip
    """Say in the audit log of the city that somebody was given a role, or holds it no more."""
    if city_id is None:
        city_id = await unit.sql.fetchval("SELECT city_id FROM store WHERE id = $1", store_id)
    await audit.note(unit, principal, action, person_id, {"role": role, "store": store_id}, city_id)


async def _require_owner(runtime: Runtime, principal: Principal, store_id: UUID) -> None:
    if principal.owns(store_id):
        return
    store = await get_store(runtime, store_id)
    if principal.administers(store.city_id):
        return
    if principal.works_at(store_id):
        raise PermissionDenied(reason="only the owner decides who works here")
    raise NotFound(resource="Store")


async def revoke_grant(runtime: Runtime, principal: Principal, grant_id: UUID) -> Grant:
    """End a grant; repeating it changes nothing. Admins end any of their city, owners those of their store.

    A rider whose grant ends is offered nothing more. Raises NotFound, PermissionDenied (also for one's own
    CITY_ADMIN grant: a city must not lose its last admin by mistake).
    """
    grant = await Grant.get_or_none(id=grant_id)
    if grant is None:
        raise NotFound(resource="Grant")
    if grant.store_id is not None:
        await _require_owner(runtime, principal, grant.store_id)
    elif grant.city_id is None or not principal.administers(grant.city_id):
        raise NotFound(resource="Grant")
    elif grant.role is GrantRole.CITY_ADMIN and await Grant.exists(id=grant_id, person_id=principal.subject):
        raise PermissionDenied(reason="another admin of the city must end your own grant")
    async with transaction(runtime) as unit:
        person_id = await unit.sql.fetchval(
            'UPDATE "grant" SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING person_id',
            grant_id,
            unit.now,
        )
        if person_id is not None:
            await _note(unit, principal, "revoke_grant", person_id, grant.role, grant.store_id, grant.city_id)
        if person_id is not None and grant.role is GrantRole.RIDER and grant.city_id is not None:
            await unit.sql.execute(
                """UPDATE rider r SET online = false FROM "grant" g
                   WHERE g.id = $1 AND r.person_id = g.person_id AND r.city_id = g.city_id""",
                grant_id,
            )
            unit.signal(CITY.of(grant.city_id))
    if person_id is not None:
        await access.changed(runtime, person_id)
    return await Grant.get(id=grant_id)


async def grants_of_person(runtime: Runtime, principal: Principal) -> list[Grant]:
    """The caller's own live grants."""
    if principal.subject is None or principal.view not in PERSON_VIEWS:
        return []
    return await Grant.filter(person_id=principal.subject, revoked_at=None).order_by("created_at", "id")


async def staff(runtime: Runtime, store_ids: Sequence[UUID]) -> dict[UUID, list[Grant]]:
    """Live grants at each store."""
    found: dict[UUID, list[Grant]] = {store_id: [] for store_id in store_ids}
    for grant in await Grant.filter(store_id__in=list(store_ids), revoked_at=None).order_by("created_at", "id"):
        if grant.store_id is not None:
            found[grant.store_id].append(grant)
    return found
