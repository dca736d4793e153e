"""What was sent to endpoints: looking at it, sending it again, and trying an endpoint out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from auth.principals import Principal, View
from core import ids
from models.webhooks import WebhookDeliveryState, WebhookEndpointState
from services.errors import InvalidInput, NotFound, WebhookEndpointDisabled
from services.pages import of_each
from services.runtime import Runtime
from services.unit import Unit, transaction
from services.webhooks import endpoints, messages, records
from services.webhooks.messages import PING
from services.webhooks.records import ATTEMPT, DELIVERY, SHARED, Attempt, Delivery, Endpoint
from services.webhooks.relaying import add, of_events
from subscriptions.feeds import Event

MOST_REPLAYED: Final = 100_000
"""Deliveries that one replay sends again."""
MOST_TAKEN: Final = 10_000
"""Events that one replay takes from the log."""
_TAKEN_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Replay:
    """``scheduled`` deliveries are sent again, or for the first time."""

    endpoint: Endpoint
    scheduled: int


# reading


async def of_endpoints(
    runtime: Runtime,
    endpoint_ids: Sequence[UUID],
    state: WebhookDeliveryState | None,
    limit: int,
    before: int | None,
    *,
    shared: bool = False,
) -> dict[UUID, list[Delivery]]:
    """Deliveries of each endpoint, the newest first, below the sequence ``before``, without any check of who asks.

    ``shared``: only those that the partner may still see.
    """
    page = f"""SELECT {DELIVERY} FROM webhook_delivery d WHERE endpoint_id = k.key
        AND ($2::text IS NULL OR state = $2) AND ($3::bigint IS NULL OR sequence < $3)
        {f"AND {SHARED}" if shared else ""} ORDER BY sequence DESC LIMIT $4"""
    found = await of_each(runtime, endpoint_ids, "uuid", page, "page.sequence DESC", state, before, limit)
    return {key: [records.delivery(row) for row in rows] for key, rows in found.items()}


async def attempts_of(runtime: Runtime, delivery_ids: Sequence[UUID]) -> dict[UUID, list[Attempt]]:
    """All attempts of each delivery, the oldest first, without any check of who asks."""
    rows = await runtime.database.fetch(
        f"SELECT {ATTEMPT} FROM webhook_attempt WHERE delivery_id = ANY($1::uuid[]) ORDER BY at, id",
        list(delivery_ids),
    )
    found: dict[UUID, list[Attempt]] = {delivery_id: [] for delivery_id in delivery_ids}
    for row in rows:
        found[row["delivery_id"]].append(records.attempt(row))
    return found


async def get(runtime: Runtime, principal: Principal | None, delivery_id: UUID) -> Delivery:
    """A delivery for the admins of the partner's city, and for the partner while its store is shared with it.

    Raises NotFound.
    """
    row = await runtime.database.fetchrow(
        f"SELECT {DELIVERY}, {SHARED} AS shared FROM webhook_delivery d WHERE id = $1", delivery_id
    )
    if row is None or not (row["shared"] or principal is None or principal.view is View.ADMIN):
        raise NotFound(resource="WebhookDelivery")
    try:
        await endpoints.get(runtime, principal, row["endpoint_id"])
    except NotFound:
        raise NotFound(resource="WebhookDelivery") from None
    return records.delivery(row)


# sending


async def ping(runtime: Runtime, principal: Principal | None, endpoint_id: UUID) -> Delivery:
    """Send an event that means nothing. Raises NotFound, WebhookEndpointDisabled."""
    async with transaction(runtime) as unit:
        endpoint = await _hold_enabled(unit, principal, endpoint_id)
        sequence = await unit.sql.fetchval(
            "UPDATE webhook_endpoint SET sequence = sequence + 1 WHERE id = $1 RETURNING sequence", endpoint_id
        )
        epoch = await unit.sql.fetchval("SELECT epoch FROM feed_epoch")
        cursor = messages.cursor(epoch, endpoint_id, sequence)
        row = await unit.sql.fetchrow(
            f"""INSERT INTO webhook_delivery
                    (id, endpoint_id, sequence, type, at, body, state, attempts, created_at, queued_at, due_at)
                VALUES ($1, $2, $3, $4, $5, $6, 'PENDING', 0, $5, $5, $5) RETURNING {DELIVERY}""",
            runtime.new_id(),
            endpoint_id,
            sequence,
            PING,
            unit.now,
            messages.body(PING, unit.now, cursor, {"endpoint": ids.encode("WebhookEndpoint", endpoint.id)}),
        )
        assert row is not None
        unit.enqueue("webhook_send", {"endpoint": endpoint_id})
    return records.delivery(row)


async def resend(runtime: Runtime, principal: Principal | None, delivery_id: UUID) -> Delivery:
    """Send a delivery again, under the same id. Raises NotFound, WebhookEndpointDisabled."""
    found = await get(runtime, principal, delivery_id)
    async with transaction(runtime) as unit:
        endpoint = await _hold_enabled(unit, principal, found.endpoint_id)
        if not await _send_again(unit, endpoint, "d.id = $3", delivery_id):
            raise NotFound(resource="WebhookDelivery")
        unit.enqueue("webhook_send", {"endpoint": endpoint.id})
        row = await unit.sql.fetchrow(f"SELECT {DELIVERY} FROM webhook_delivery WHERE id = $1", delivery_id)
    assert row is not None
    return records.delivery(row)


async def replay(
    runtime: Runtime,
    principal: Principal | None,
    endpoint_id: UUID,
    after: str | None = None,
    starting: datetime | None = None,
) -> Replay:
    """Send again what came after a cursor, or what happened since an instant; with both, what fulfils both.

    Deliveries keep their ids. With ``starting`` also what the event log still has and the endpoint was never sent,
    because it is newer than the event or did not want it, but not what is older than the partner's right to the
    store. Raises NotFound, InvalidInput, WebhookEndpointDisabled.
    """
    if after is None and starting is None:
        raise InvalidInput(field="after", reason="or starting must be given")
    sequence = 0 if after is None else messages.sequence_of(after, endpoint_id)
    if sequence is None:
        raise InvalidInput(field="after", reason="is no cursor of this endpoint")
    async with transaction(runtime) as unit:
        endpoint = await _hold_enabled(unit, principal, endpoint_id)
        added = 0 if starting is None else await _take_from_log(unit, endpoint, starting)
        again = await _send_again(
            unit,
            endpoint,
            """d.sequence > $3 AND ($4::timestamptz IS NULL OR d.at >= $4)
               AND (d.state <> 'PENDING' OR d.attempts > 0)""",
            sequence,
            starting,
        )
        if added or again:
            unit.enqueue("webhook_send", {"endpoint": endpoint_id})
    return Replay(endpoint, added + again)


async def _hold_enabled(unit: Unit, principal: Principal | None, endpoint_id: UUID) -> Endpoint:
    endpoint = await endpoints.hold(unit, principal, endpoint_id, own=True)
    if endpoint.state is not WebhookEndpointState.ENABLED:
        assert endpoint.disabled_reason is not None
        raise WebhookEndpointDisabled(endpoint=endpoint.id, reason=endpoint.disabled_reason)
    return endpoint


async def _send_again(unit: Unit, endpoint: Endpoint, which: str, *args: object) -> int:
    """Begin another round for the deliveries that the partner may still see; how many. Raises InvalidInput."""
    again = await unit.sql.execute(
        f"""UPDATE webhook_delivery d
            SET state = 'PENDING', attempts = 0, queued_at = $2, due_at = $2, settled_at = NULL
            WHERE d.endpoint_id = $1 AND {which}
              AND {SHARED}""",
        endpoint.id,
        unit.now,
        *args,
    )
    if again > MOST_REPLAYED:
        raise InvalidInput(field="after", reason=f"must leave at most {MOST_REPLAYED} deliveries to be sent again")
    return again


async def _take_from_log(unit: Unit, endpoint: Endpoint, starting: datetime) -> int:
    """Make deliveries of events before the endpoint's positions that have none; how many. Raises InvalidInput."""
    taken = 0
    while True:
        rows = await unit.sql.fetch(
            """SELECT p.store_id, e.feed, e."offset", e.type, e.at, coalesce(e.payload, o.payload) AS payload
               FROM webhook_position p
               JOIN partner_store s ON s.client_id = $2 AND s.store_id = p.store_id AND s.revoked_at IS NULL
               JOIN feed_event e ON e.feed = p.feed AND e.at >= $3
                 AND e."offset" > s.from_offset AND e."offset" <= p."offset"
               LEFT JOIN feed_event o ON o.feed = e.ref_feed AND o."offset" = e.ref_offset
               WHERE p.endpoint_id = $1 AND ($4::text[] IS NULL OR e.type = ANY($4))
                 AND coalesce(e.payload, o.payload) IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM webhook_delivery d
                                 WHERE d.endpoint_id = $1 AND d.feed = e.feed AND d."offset" = e."offset")
               ORDER BY e.at, e.feed, e."offset" LIMIT $5""",
            endpoint.id,
            endpoint.partner_id,
            starting,
            endpoint.event_types,
            _TAKEN_AT_ONCE,
        )
        new = [made for row in rows for made in of_events([Event(*row[1:])], row["store_id"], None)]
        await add(unit, endpoint, new)
        taken += len(new)
        if taken > MOST_TAKEN:
            raise InvalidInput(field="starting", reason=f"must leave at most {MOST_TAKEN} events to be sent")
        if len(rows) < _TAKEN_AT_ONCE:
            return taken
