"""From the event log to deliveries: each endpoint has a position in the feed of each store that its partner may see.

Nothing of this is in the transaction of an order. A position moves on in the transaction that writes the deliveries,
so an event is delivered by every endpoint that wants it, and once, whatever process ends in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from prometheus_client import Counter, Gauge

from core import ids, logs
from models.database import Record
from services.feeds import order_in
from services.runtime import Runtime
from services.unit import Unit, transaction
from services.webhooks import messages
from services.webhooks.messages import GAP
from services.webhooks.records import Endpoint, endpoint
from subscriptions import feeds
from subscriptions.feeds import Event

log = logs.get(__name__)

FEEDS: Final = 10
EVENTS: Final = 25
"""At most so many feeds, and so many events of each, are taken over in one transaction."""
OVERDUE: Final = timedelta(seconds=10)
"""What is due for this long, without anybody being at it, has lost its job."""

# The gateway's registry exports them.
MISSING: Final = Counter(
    "hutong_webhook_events_missing_total", "Events that left the log before an endpoint was told.", registry=None
)
OLDEST: Final = Gauge(
    "hutong_webhook_oldest_due_seconds", "For how long the oldest due delivery of an enabled endpoint waits.",
    registry=None,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Position:
    store_id: UUID
    feed: str
    offset: int


@dataclass(frozen=True, slots=True)
class Message:
    """An event that becomes a delivery."""

    feed: str
    offset: int
    type: str
    at: datetime
    store_id: UUID
    order_id: UUID | None
    data: dict[str, Any]


async def relay(runtime: Runtime) -> int:
    """Make deliveries of all events that are new; how many."""
    rows = await runtime.database.fetch(
        """SELECT DISTINCT p.endpoint_id FROM webhook_position p
           JOIN webhook_endpoint e ON e.id = p.endpoint_id AND e.state = 'ENABLED'
           JOIN client c ON c.id = e.client_id AND c.revoked_at IS NULL
           JOIN feed_head h ON h.feed = p.feed AND h.top > p."offset\""""
    )
    made = 0
    for row in rows:
        while (added := await _advance(runtime, row["endpoint_id"])) is not None:
            made += added
    return made


async def _advance(runtime: Runtime, endpoint_id: UUID) -> int | None:
    """Take over a page of each feed that has news; how many deliveries that made. None: nothing to do any more."""
    async with transaction(runtime) as unit:
        row = await unit.sql.fetchrow(
            """SELECT e.*, e.client_id AS partner_id FROM webhook_endpoint e JOIN client c ON c.id = e.client_id
               WHERE e.id = $1 AND e.state = 'ENABLED' AND c.revoked_at IS NULL FOR UPDATE OF e SKIP LOCKED""",
            endpoint_id,
        )
        if row is None:
            return None
        positions = [
            Position(*found)
            for found in await unit.sql.fetch(
                """SELECT p.store_id, p.feed, p."offset" FROM webhook_position p
                   JOIN feed_head h ON h.feed = p.feed AND h.top > p."offset"
                   WHERE p.endpoint_id = $1 ORDER BY p.feed LIMIT $2""",
                endpoint_id,
                FEEDS,
            )
        ]
        if not positions:
            return None
        target = endpoint(row)
        pages = await feeds.read_pages(runtime.database, [(p.feed, p.offset) for p in positions], EVENTS)
        new: list[Message] = []
        for position in positions:
            page = pages[position.feed, position.offset]
            reached = page.events[-1].offset if page.events else page.top
            moved = await unit.sql.execute(
                'UPDATE webhook_position SET "offset" = $4 WHERE endpoint_id = $1 AND store_id = $2 AND "offset" = $3',
                endpoint_id,
                position.store_id,
                position.offset,
                reached,
            )
            if not moved:  # the store is not shared any more, or again and from elsewhere on
                continue
            missing = reached - position.offset - len(page.events)
            if missing:
                new.append(_gap(unit, target, position, missing))
            new.extend(of_events(page.events, position.store_id, target.event_types))
        await add(unit, target, new)
        if new and is_free(row, unit.now):
            unit.enqueue("webhook_send", {"endpoint": endpoint_id})
    return len(new)


def _gap(unit: Unit, target: Endpoint, position: Position, missing: int) -> Message:
    MISSING.inc(missing)
    log.warning("webhook.events_missing", endpoint=str(target.id), feed=position.feed, missing=missing)
    data = {"store": ids.encode("Store", position.store_id), "count": missing}
    # Under the offset of the first that is missing, which no event will have any more.
    return Message(position.feed, position.offset + 1, GAP, unit.now, position.store_id, None, data)


def of_events(events: Sequence[Event], store_id: UUID, types: Sequence[str] | None) -> list[Message]:
    """Messages of those events that an endpoint wants."""
    wanted = [event for event in events if types is None or event.type in types]
    orders = [order_in(event) for event in wanted]
    return [
        Message(
            event.feed, event.offset, event.type, event.at, store_id, order.id, messages.order_data(event, order)
        )
        for event, order in zip(wanted, orders, strict=True)
    ]  # fmt: skip


async def add(unit: Unit, target: Endpoint, new: Sequence[Message]) -> None:
    """Write deliveries of ``new``, in the order of their instants; the endpoint is locked."""
    if not new:
        return
    ordered = sorted(new, key=lambda message: (message.at, message.feed, message.offset))
    last = await unit.sql.fetchval(
        "UPDATE webhook_endpoint SET sequence = sequence + $2 WHERE id = $1 RETURNING sequence", target.id, len(new)
    )
    epoch = await unit.sql.fetchval("SELECT epoch FROM feed_epoch")
    numbered = list(enumerate(ordered, last - len(new) + 1))
    await unit.sql.execute(
        """INSERT INTO webhook_delivery (id, endpoint_id, sequence, type, at, store_id, order_id, feed, "offset", body,
                                         state, attempts, created_at, queued_at, due_at)
           SELECT n.id, $1, n.sequence, n.type, n.at, n.store_id, n.order_id, n.feed, n."offset", n.body,
                  'PENDING', 0, $2, n.at, $2
           FROM unnest($3::uuid[], $4::bigint[], $5::text[], $6::timestamptz[], $7::uuid[], $8::uuid[], $9::text[],
                       $10::bigint[], $11::text[])
               AS n(id, sequence, type, at, store_id, order_id, feed, "offset", body)
           ON CONFLICT DO NOTHING""",
        target.id,
        unit.now,
        [unit.runtime.new_id() for _ in ordered],
        [sequence for sequence, _ in numbered],
        [m.type for m in ordered],
        [m.at for m in ordered],
        [m.store_id for m in ordered],
        [m.order_id for m in ordered],
        [m.feed for m in ordered],
        [m.offset for m in ordered],
        [messages.body(m.type, m.at, messages.cursor(epoch, target.id, n), m.data) for n, m in numbered],
    )


def is_free(row: Record, now: datetime) -> bool:
    """Whether nobody sends to the endpoint, and nothing keeps it from being sent to."""
    leased, resting = row["leased_until"], row["resume_at"]
    return (leased is None or leased <= now) and (resting is None or resting <= now)


async def sweep(runtime: Runtime) -> int:
    """Enqueue jobs for endpoints that have overdue deliveries and nobody who sends them; how many."""
    now = runtime.clock.now()
    async with transaction(runtime) as unit:
        rows = await unit.sql.fetch(
            """SELECT e.id, d.due_at FROM webhook_endpoint e
               JOIN client c ON c.id = e.client_id AND c.revoked_at IS NULL
               CROSS JOIN LATERAL (
                   SELECT due_at FROM webhook_delivery WHERE endpoint_id = e.id AND state = 'PENDING'
                   ORDER BY due_at LIMIT 1
               ) d
               WHERE e.state = 'ENABLED' AND d.due_at <= $1 AND (e.leased_until IS NULL OR e.leased_until <= $1)
                 AND (e.resume_at IS NULL OR e.resume_at <= $1)""",
            now,
        )
        waits = {row["id"]: (now - row["due_at"]) / runtime.clock.speed for row in rows}
        OLDEST.set(max((wait.total_seconds() for wait in waits.values()), default=0))
        overdue = [endpoint_id for endpoint_id, wait in waits.items() if wait >= OVERDUE]
        for endpoint_id in overdue:
            unit.enqueue("webhook_send", {"endpoint": endpoint_id})
    return len(overdue)
