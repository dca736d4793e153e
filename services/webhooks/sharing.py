"""Whose orders a partner is told of: the stores that are shared with it, and what their owners refuse.

An admin of the city (or None, the operator at the command line) shares stores as long as the owner does not object.
An owner's end of a sharing is a refusal, and stands until an owner of the store shares it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from auth.principals import Principal
from models.webhooks import SharingParty, SharingState
from services import audit
from services.errors import NotFound, PermissionDenied, SharingRefused
from services.pages import of_each
from services.runtime import Runtime
from services.unit import Unit, transaction
from services.webhooks.endpoints import place
from subscriptions.feeds import STORE_ORDERS


@dataclass(frozen=True, slots=True)
class Sharing:
    """What was decided about a partner and a store, last: ``by`` whom, and ``since`` when (domain time) it holds."""

    partner_id: UUID
    state: SharingState
    by: SharingParty
    since: datetime


# reading


async def stores_of(
    runtime: Runtime, partner_ids: Sequence[UUID], limit: int, after: UUID | None
) -> dict[UUID, list[UUID]]:
    """Keys of the stores whose orders each partner is told of, without any check of who asks."""
    page = """SELECT store_id FROM partner_store WHERE client_id = k.key AND revoked_at IS NULL
        AND ($2::uuid IS NULL OR store_id > $2) ORDER BY store_id LIMIT $3"""
    found = await of_each(runtime, partner_ids, "uuid", page, "page.store_id", after, limit)
    return {key: [row["store_id"] for row in rows] for key, rows in found.items()}


async def of_stores(
    runtime: Runtime, store_ids: Sequence[UUID], limit: int, after: UUID | None
) -> dict[UUID, list[Sharing]]:
    """Partners that each store is shared with or whom its owner refused, by key, without any check of who asks."""
    page = """(SELECT client_id, 'SHARED' AS state, shared_by, created_at FROM partner_store
         WHERE store_id = k.key AND revoked_at IS NULL AND ($2::uuid IS NULL OR client_id > $2))
        UNION ALL
        (SELECT client_id, 'REFUSED', 'OWNER', refused_at FROM partner_refusal
         WHERE store_id = k.key AND ($2::uuid IS NULL OR client_id > $2))
        ORDER BY client_id LIMIT $3"""
    found = await of_each(runtime, store_ids, "uuid", page, "page.client_id", after, limit)
    return {
        key: [Sharing(row[0], SharingState(row[1]), SharingParty(row[2]), row[3]) for row in rows]
        for key, rows in found.items()
    }


# changing


async def share_store(runtime: Runtime, principal: Principal | None, partner_id: UUID, store_id: UUID) -> None:
    """Tell the partner of the orders of a store of its city, from now on. Repeatable.

    Raises NotFound, PermissionDenied (a disabled partner; staff who are no owners), SharingRefused.
    """
    async with transaction(runtime) as unit:
        party, disabled = await _hold(unit, principal, partner_id, store_id)
        if disabled:
            raise PermissionDenied(reason="the partner is disabled")
        refused_at = await unit.sql.fetchval(
            "SELECT refused_at FROM partner_refusal WHERE client_id = $1 AND store_id = $2", partner_id, store_id
        )
        if refused_at is not None:
            if party is not SharingParty.OWNER:
                raise SharingRefused(partner=partner_id, store=store_id, since=refused_at)
            await unit.sql.execute(
                "DELETE FROM partner_refusal WHERE client_id = $1 AND store_id = $2", partner_id, store_id
            )
        added = await unit.sql.execute(
            """INSERT INTO partner_store (id, client_id, store_id, created_at, from_offset, shared_by)
               SELECT $1, $2, $3, $4, coalesce((SELECT top FROM feed_head WHERE feed = $5), 0), $6
               ON CONFLICT (client_id, store_id) WHERE revoked_at IS NULL DO NOTHING""",
            runtime.new_id(),
            partner_id,
            store_id,
            unit.now,
            STORE_ORDERS.of(store_id),
            party,
        )
        if added:
            await place(unit, partner_id)
            await audit.note(unit, principal, "share_store", partner_id, {"store": store_id})


async def unshare_store(runtime: Runtime, principal: Principal | None, partner_id: UUID, store_id: UUID) -> None:
    """Tell the partner of nothing more of the store, also not of what waits to be sent. Repeatable.

    An owner thereby refuses: only an owner shares the store with that partner again.
    Raises NotFound, PermissionDenied (staff who are no owners).
    """
    async with transaction(runtime) as unit:
        party, _ = await _hold(unit, principal, partner_id, store_id)
        ended = await unit.sql.execute(
            "UPDATE partner_store SET revoked_at = $3 WHERE client_id = $1 AND store_id = $2 AND revoked_at IS NULL",
            partner_id,
            store_id,
            unit.now,
        )
        refused = party is SharingParty.OWNER and await unit.sql.execute(
            """INSERT INTO partner_refusal (client_id, store_id, refused_at) VALUES ($1, $2, $3)
               ON CONFLICT DO NOTHING""",
            partner_id,
            store_id,
            unit.now,
        )
        if ended:
            await unit.sql.execute(
                """DELETE FROM webhook_position p USING webhook_endpoint e
                   WHERE e.id = p.endpoint_id AND e.client_id = $1 AND p.store_id = $2""",
                partner_id,
                store_id,
            )
        if ended or refused:
            await audit.note(unit, principal, "unshare_store", partner_id, {"store": store_id})


async def _hold(unit: Unit, principal: Principal | None, partner_id: UUID, store_id: UUID) -> tuple[SharingParty, bool]:
    """As whom the principal decides about the two, and whether the partner is disabled. Decisions wait for each other.

    Raises NotFound, PermissionDenied.
    """
    row = await unit.sql.fetchrow(
        """SELECT c.city_id, c.revoked_at, EXISTS (SELECT 1 FROM store s WHERE s.id = $2 AND s.city_id = c.city_id)
           FROM client c WHERE c.id = $1 AND c.kind = 'PARTNER' AND c.city_id IS NOT NULL FOR UPDATE""",
        partner_id,
        store_id,
    )
    if principal is None:
        party = SharingParty.OPERATOR
    elif principal.owns(store_id):
        party = SharingParty.OWNER
    elif principal.works_at(store_id):
        raise PermissionDenied(reason="only the owner decides with whom the store is shared")
    elif row is not None and principal.administers(row[0]):
        party = SharingParty.ADMIN
    else:
        raise NotFound(resource="Partner")
    if row is None:
        raise NotFound(resource="Partner")
    _, revoked_at, in_city = row
    if not in_city:
        # An owner's store exists: it is the partner that is none of its city.
        raise NotFound(resource="Partner" if party is SharingParty.OWNER else "Store")
    return party, revoked_at is not None
