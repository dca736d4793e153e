"""Who is signed in, and cutting them off: refresh tokens, access tokens and open sockets, in all processes at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from auth.authenticate import PERSON_VIEWS
from auth.principals import Principal, View
from core.clock import wall_now
from models.identity import GrantRole
from services import access, audit
from services.errors import NotFound, PermissionDenied
from services.merchants.checks import text
from services.runtime import Runtime
from services.unit import Unit, transaction

MAX_REASON: Final = 200
MOST_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class OpenSession:
    """One sign-in that still holds. ``current``: the caller's own of this moment. Instants are wall time."""

    id: UUID
    device: str | None
    view: View
    created_at: datetime
    last_used_at: datetime
    """When its access token was last renewed."""
    expires_at: datetime
    current: bool


@dataclass(frozen=True, slots=True)
class SessionsRevoked:
    """``count`` of sign-ins that were ended; a machine has none and counts as one."""

    count: int
    at: datetime


async def open_sessions(runtime: Runtime, principal: Principal) -> list[OpenSession]:
    """The caller's sign-ins in all views, the newest first, MOST_SHOWN at most."""
    if principal.subject is None or principal.view not in PERSON_VIEWS:
        return []
    rows = await runtime.database.fetch(
        """SELECT id, device, view, created_at, coalesce(refreshed_at, created_at) AS last_used_at, expires_at
           FROM refresh_session WHERE person_id = $1 AND ended_at IS NULL AND expires_at > $2
           ORDER BY id DESC LIMIT $3""",
        principal.subject,
        wall_now(),
        MOST_SHOWN,
    )
    return [
        OpenSession(
            r["id"],
            r["device"],
            View(r["view"]),
            r["created_at"],
            r["last_used_at"],
            r["expires_at"],
            r["id"] == principal.session_id,
        )
        for r in rows
    ]


async def revoke_own(
    runtime: Runtime, principal: Principal, session_id: UUID | None, reason: str, *, keep_current: bool = False
) -> SessionsRevoked:
    """End one of the caller's sign-ins, or all of them, with ``keep_current`` all others.

    Raises NotFound (no such sign-in of the caller that still holds), PermissionDenied (nobody is signed in),
    InvalidInput.
    """
    if principal.subject is None or principal.session_id is None:
        raise PermissionDenied(reason="there is no session to end")
    reason = text("reason", reason, MAX_REASON)
    async with transaction(runtime) as unit:
        kept = principal.session_id if keep_current else None
        count = await _end_sessions(unit, principal.subject, session_id, kept)
        if session_id is not None and count == 0:
            raise NotFound(resource="Session")
        facts = {"session": session_id, "count": count, "reason": reason}
        await audit.note(unit, principal, "revoke_sessions", principal.subject, facts)
    await access.changed(runtime, principal.subject)
    return SessionsRevoked(count, wall_now())


async def revoke_of_person(runtime: Runtime, principal: Principal, person_id: UUID, reason: str) -> SessionsRevoked:
    """End all sign-ins of somebody who has a role or has ordered in a city that the caller administers.

    Raises NotFound, InvalidInput.
    """
    reason = text("reason", reason, MAX_REASON)
    async with transaction(runtime) as unit:
        known_in = await unit.sql.fetch(
            """SELECT coalesce(g.city_id, s.city_id) FROM "grant" g LEFT JOIN store s ON s.id = g.store_id
               WHERE g.person_id = $1 AND coalesce(g.city_id, s.city_id) = ANY($2::uuid[])
               UNION SELECT city_id FROM "order" WHERE consumer_id = $1 AND city_id = ANY($2::uuid[])""",
            person_id,
            _cities(principal),
        )
        if not known_in:
            raise NotFound(resource="Person")
        count = await _end_sessions(unit, person_id, None, None)
        facts = {"count": count, "reason": reason}
        for (city_id,) in known_in:  # the admins of each may know
            await audit.note(unit, principal, "revoke_sessions", person_id, facts, city_id)
    await access.changed(runtime, person_id)
    return SessionsRevoked(count, wall_now())


async def revoke_of_client(
    runtime: Runtime, principal: Principal, client_id: str, reason: str, *, disable: bool
) -> SessionsRevoked:
    """Make all access tokens of a partner or device void; with ``disable`` its secret too, for good.

    ``client_id`` is the name that it signs in with. For admins of its city, and for owners and managers of the store
    that a device stands in. Raises NotFound, InvalidInput.
    """
    reason = text("reason", reason, MAX_REASON)
    async with transaction(runtime) as unit:
        client = await unit.sql.fetchrow(
            "SELECT id, store_id, city_id FROM client WHERE client_id = $1 FOR UPDATE", client_id.replace("\0", "")
        )
        if client is None or not _may_cut_off(principal, client["store_id"], client["city_id"]):
            raise NotFound(resource="Client")
        await unit.sql.execute(
            """UPDATE client SET generation = generation + 1,
                   revoked_at = CASE WHEN $2 THEN coalesce(revoked_at, $3) ELSE revoked_at END WHERE id = $1""",
            client["id"],
            disable,
            wall_now(),
        )
        facts = {"client": client_id, "disabled": disable, "reason": reason}
        await audit.note(unit, principal, "revoke_sessions", client["id"], facts)
    await access.changed(runtime, client["id"])
    return SessionsRevoked(1, wall_now())


def _cities(principal: Principal) -> list[UUID]:
    held = principal.grants if principal.view is View.ADMIN else ()
    return [g.city_id for g in held if g.role is GrantRole.CITY_ADMIN and g.city_id is not None]


def _may_cut_off(principal: Principal, store_id: UUID | None, city_id: UUID | None) -> bool:
    if city_id is not None and principal.administers(city_id):
        return True
    return store_id is not None and principal.view is View.MERCHANT and principal.works_at(store_id, managing=True)


async def _end_sessions(unit: Unit, person_id: UUID, only: UUID | None, kept: UUID | None) -> int:
    return await unit.sql.execute(
        """UPDATE refresh_session SET ended_at = $2, end_reason = 'REVOKED'
           WHERE person_id = $1 AND ended_at IS NULL AND expires_at > $2
             AND ($3::uuid IS NULL OR id = $3) AND id IS DISTINCT FROM $4::uuid""",
        person_id,
        wall_now(),
        only,
        kept,
    )
