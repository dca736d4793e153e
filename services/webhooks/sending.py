"""Sending: one job at a time per endpoint, a bounded time each, so that none keeps the others waiting.

A delivery stays PENDING until the answer is written down. A process that dies between the two leaves it so, and when
its lease has ended another one sends it again, under the same id: at least once, never lost.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from prometheus_client import Counter, Histogram

from clients.webhooks import Answer
from core import ids, logs
from core.clock import wall_now
from models.database import Record
from models.webhooks import WebhookDeliveryState, WebhookDisabledReason
from services.runtime import Runtime
from services.unit import transaction
from services.webhooks import endpoints, records, schedule
from services.webhooks.messages import signature
from services.webhooks.records import DELIVERY, SHARED, Delivery, Secret

log = logs.get(__name__)

BATCH: Final = 32
PARALLEL: Final = 4
"""Requests to one endpoint at the same time. Those about one order follow each other."""
TURN: Final = 20.0
"""Seconds after which a job makes room for other endpoints' jobs."""
SOON: Final = timedelta(minutes=1)
"""Real time. What is due later is found by the sweep; a job for each would pile up in the queue."""
GONE: Final = 410
MAX_EXCERPT: Final = 500

ATTEMPTS: Final = Counter(
    "hutong_webhook_attempts_total", "Webhooks sent, by outcome: delivered, or why not.", ["outcome"], registry=None
)
SETTLED: Final = Counter(
    "hutong_webhook_deliveries_total", "Webhooks that were delivered, given up or cancelled.", ["state"], registry=None
)
LAG: Final = Histogram(
    "hutong_webhook_lag_seconds",
    "Real time from an event, or its replay, to its delivery.",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200, 43200, 172800, 345600),
    registry=None,
)
DISABLED: Final = Counter(
    "hutong_webhook_endpoints_disabled_total", "Endpoints that the program disabled.", ["reason"], registry=None
)

_RECORD: Final = """
WITH tried AS (
    INSERT INTO webhook_attempt (id, delivery_id, at, duration_ms, status, fault, excerpt)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
), settled AS (
    UPDATE webhook_delivery SET attempts = attempts + 1, state = $8, due_at = coalesce($9, due_at), settled_at = $10
    WHERE id = $2 AND state = 'PENDING' AND attempts = $11
)
UPDATE webhook_endpoint SET
    failures = CASE WHEN $12 THEN 0 ELSE failures + 1 END,
    failing_since = CASE WHEN $12 THEN NULL ELSE coalesce(failing_since, $3) END,
    last_success_at = CASE WHEN $12 THEN $3 ELSE last_success_at END,
    resume_at = CASE WHEN $12 THEN NULL ELSE resume_at END
WHERE id = $13 RETURNING failures
"""
_STILL_SHARED: Final = f"SELECT {SHARED} FROM webhook_delivery d WHERE d.id = $1"
_REST: Final = "UPDATE webhook_endpoint SET resume_at = $2 WHERE id = $1 AND failures > 0"
_DISABLE: Final = """
UPDATE webhook_endpoint SET state = 'DISABLED', disabled_reason = $2, disabled_at = $3
WHERE id = $1 AND state = 'ENABLED' AND ($4::timestamptz IS NULL OR last_success_at IS NULL OR last_success_at < $4)
RETURNING client_id
"""


@dataclass(slots=True)
class Turn:
    """The right to send to an endpoint, until it is given back or the lease ends."""

    runtime: Runtime
    endpoint_id: UUID
    url: str
    lease: UUID
    secrets: list[Secret]
    ends: float
    stopped: bool = False

    @property
    def over(self) -> bool:
        return self.stopped or time.monotonic() >= self.ends


async def send(runtime: Runtime, payload: dict[str, Any]) -> None:
    """Job: send what is due at an endpoint, for a while; then have the rest sent by another job."""
    turn = await _begin(runtime, UUID(payload["endpoint"]))
    if turn is None:
        return
    try:
        while not turn.over and (batch := await _due(turn)):
            await _send_batch(turn, batch)
    finally:
        await _end(turn)


async def _begin(runtime: Runtime, endpoint_id: UUID) -> Turn | None:
    """None: somebody else has it, it is resting or disabled, or its partner is."""
    now, lease = runtime.clock.now(), runtime.new_id()
    # A turn may begin a last request at its very end, and write down what came of it.
    length = timedelta(seconds=TURN) + 2 * runtime.settings.webhook_timeout + timedelta(seconds=10)
    row = await runtime.database.fetchrow(
        """UPDATE webhook_endpoint e SET lease = $2, leased_until = $3 FROM client c
           WHERE e.id = $1 AND e.state = 'ENABLED' AND c.id = e.client_id AND c.revoked_at IS NULL
             AND (e.leased_until IS NULL OR e.leased_until <= $4) AND (e.resume_at IS NULL OR e.resume_at <= $4)
           RETURNING e.url""",
        endpoint_id,
        lease,
        now + length * runtime.clock.speed,
        now,
    )
    if row is None:
        return None
    secrets = (await endpoints.secrets_of(runtime, [endpoint_id]))[endpoint_id]
    return Turn(runtime, endpoint_id, row["url"], lease, secrets, time.monotonic() + TURN)


async def _due(turn: Turn) -> list[Record]:
    return await turn.runtime.database.fetch(
        f"""SELECT {DELIVERY} FROM webhook_delivery d
            WHERE endpoint_id = $1 AND state = 'PENDING' AND due_at <= $2
              AND EXISTS (SELECT 1 FROM webhook_endpoint WHERE id = $1 AND lease = $3 AND state = 'ENABLED')
            ORDER BY due_at, sequence LIMIT $4""",
        turn.endpoint_id,
        turn.runtime.clock.now(),
        turn.lease,
        BATCH,
    )


async def _send_batch(turn: Turn, rows: list[Record]) -> None:
    """Send them, those about one order in turn. What is not begun when the turn is over stays due."""
    lines: dict[UUID, list[Delivery]] = {}
    for row in rows:
        delivery = records.delivery(row)
        lines.setdefault(delivery.order_id or delivery.id, []).append(delivery)
    places = asyncio.Semaphore(PARALLEL)

    async def follow(line: list[Delivery]) -> None:
        async with places:
            for delivery in line:
                if turn.over:
                    return
                # Asked for each: those before it may have taken long.
                if await turn.runtime.database.fetchval(_STILL_SHARED, delivery.id):
                    await _attempt(turn, delivery)
                else:
                    await _cancel(turn.runtime, delivery)

    async with asyncio.TaskGroup() as group:
        for line in lines.values():
            group.create_task(follow(line))


async def _cancel(runtime: Runtime, delivery: Delivery) -> None:
    await runtime.database.execute(
        "UPDATE webhook_delivery SET state = 'CANCELLED', settled_at = $2 WHERE id = $1 AND state = 'PENDING'",
        delivery.id,
        runtime.clock.now(),
    )
    SETTLED.labels(WebhookDeliveryState.CANCELLED).inc()


async def _attempt(turn: Turn, delivery: Delivery) -> None:
    now, content = wall_now(), delivery.body.encode()
    public_id, timestamp = ids.encode("WebhookDelivery", delivery.id), int(now.timestamp())
    live = [secret.id for secret in turn.secrets if secret.ends_at is None or secret.ends_at > now]
    headers = {
        "content-type": "application/json",
        "user-agent": "Hutong-Webhooks/1",
        "webhook-id": public_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(turn.runtime.keys, live, public_id, timestamp, content),
    }
    answer = await turn.runtime.webhooks.send(turn.url, headers, content)
    await _record(turn, delivery, answer)


async def _record(turn: Turn, delivery: Delivery, answer: Answer) -> None:
    runtime, now = turn.runtime, turn.runtime.clock.now()
    attempts = delivery.attempts + 1
    state, due_at = WebhookDeliveryState.PENDING, None
    if answer.fault is None:
        state = WebhookDeliveryState.DELIVERED
    elif answer.status == GONE or (pause := schedule.pause(attempts)) is None:
        state = WebhookDeliveryState.FAILED
    else:
        due_at = now + pause
    row = await runtime.database.fetchrow(
        _RECORD,
        runtime.new_id(),
        delivery.id,
        now,
        answer.duration_ms,
        answer.status,
        answer.fault,
        _printable(answer.excerpt),
        state,
        due_at,
        None if state is WebhookDeliveryState.PENDING else now,
        delivery.attempts,
        answer.fault is None,
        turn.endpoint_id,
    )
    assert row is not None
    outcome = "delivered" if answer.fault is None else answer.fault.lower()
    ATTEMPTS.labels(outcome).inc()
    log.info(
        "webhook.sent",
        delivery=ids.encode("WebhookDelivery", delivery.id),
        endpoint=ids.encode("WebhookEndpoint", turn.endpoint_id),
        type=delivery.type,
        attempt=attempts,
        outcome=outcome,
        status=answer.status,
        ms=answer.duration_ms,
    )
    if state is not WebhookDeliveryState.PENDING:
        SETTLED.labels(state).inc()
    if answer.fault is None:
        LAG.observe(max((now - delivery.queued_at).total_seconds() / runtime.clock.speed, 0))
    elif answer.status == GONE:
        await _disable(turn, WebhookDisabledReason.GONE, None)
    elif state is WebhookDeliveryState.FAILED:
        await _disable(turn, WebhookDisabledReason.EXHAUSTED, delivery.queued_at)
    elif (rest := schedule.rest(row["failures"], answer.retry_after)) is not None:
        turn.stopped = True
        await runtime.database.execute(_REST, turn.endpoint_id, now + rest)


def _printable(excerpt: bytes) -> str:
    return excerpt[:MAX_EXCERPT].decode(errors="replace").replace("\0", "\ufffd")


async def _disable(turn: Turn, reason: WebhookDisabledReason, unless_success_since: datetime | None) -> None:
    row = await turn.runtime.database.fetchrow(
        _DISABLE, turn.endpoint_id, reason, turn.runtime.clock.now(), unless_success_since
    )
    if row is None:
        return
    turn.stopped = True
    DISABLED.labels(reason).inc()
    log.warning("webhook.endpoint_disabled", endpoint=ids.encode("WebhookEndpoint", turn.endpoint_id), reason=reason)


async def _end(turn: Turn) -> None:
    """Give the endpoint back, and see to it that what is left is sent in time."""
    async with transaction(turn.runtime) as unit:
        row = await unit.sql.fetchrow(
            """UPDATE webhook_endpoint SET lease = NULL, leased_until = NULL WHERE id = $1 AND lease = $2
               RETURNING state, resume_at, wake_at""",
            turn.endpoint_id,
            turn.lease,
        )
        if row is None or row["state"] != "ENABLED":
            return
        due_at = await unit.sql.fetchval(
            "SELECT min(due_at) FROM webhook_delivery WHERE endpoint_id = $1 AND state = 'PENDING'", turn.endpoint_id
        )
        if due_at is None:
            return
        wake_at = max(due_at, row["resume_at"] or due_at, unit.now)
        comes_before = row["wake_at"] is not None and unit.now < row["wake_at"] <= wake_at
        if comes_before or turn.runtime.clock.real_delay(wake_at) > SOON:
            return
        await unit.sql.execute("UPDATE webhook_endpoint SET wake_at = $2 WHERE id = $1", turn.endpoint_id, wake_at)
        unit.enqueue("webhook_send", {"endpoint": turn.endpoint_id}, wake_at)
