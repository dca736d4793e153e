"""What is kept for a while and then dropped, every night: one rule a table.

The event log has a rule of its own (:func:`subscriptions.feeds.forget_before`). Money, orders, the audit and consents
are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from core.clock import wall_now
from core.settings import Settings
from services.runtime import Runtime

BATCH: Final = 5_000
"""Rows that one transaction drops."""
PAUSE: Final = 0.05
"""Seconds between two, for the others who use the disk."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows of ``table`` for which the SQL condition ``over`` holds are dropped; ``$1`` is the end of what is past.

    ``kept`` is how long after its end a row stays. ``wall``: the times of the table are of the wall clock, not of the
    domain's.
    """

    table: str
    over: str
    kept: Callable[[Settings], timedelta] = lambda settings: timedelta(days=1)
    wall: bool = False


RULES: Final = (
    # A track tells where a person was: no longer than disputes about a delivery last (PIPL art. 19, 28).
    Rule("track_point", "recorded_at < $1", lambda s: s.track_retention),
    Rule("idempotency_record", "created_at < $1", lambda s: s.idempotency_retention),
    Rule("quote", """expires_at < $1 AND NOT EXISTS (SELECT FROM "order" o WHERE o.quote_id = quote.id)"""),
    Rule("store_day", "business_date < $1::timestamptz::date", lambda settings: timedelta(days=3)),
    Rule("device_command", "closed_at < $1", lambda s: s.device_command_retention),
    # With their attempts. What waits at a disabled endpoint is not kept for ever. What is in the event log still keeps
    # its delivery: a replay would otherwise send it under another id.
    Rule(
        "webhook_delivery",
        """created_at < $1 AND queued_at < $1 AND (state <> 'PENDING' OR EXISTS (
               SELECT FROM webhook_endpoint e WHERE e.id = webhook_delivery.endpoint_id AND e.state = 'DISABLED'))""",
        lambda s: max(s.webhook_retention, s.feed_retention),
    ),
    Rule("rate_limit", "ends_at < $1", lambda s: timedelta(0), wall=True),
    Rule("one_time_code", "expires_at < $1", wall=True),
    Rule("used_assertion", "expires_at < $1", wall=True),
    Rule("refresh_session", "least(expires_at, ended_at) < $1", lambda s: s.session_retention, wall=True),
    Rule("pgqueuer_log", "created < $1", lambda s: timedelta(days=7), wall=True),
)


async def forget(runtime: Runtime, *, batch: int = BATCH, pause: float = PAUSE) -> dict[str, int]:
    """Drop what is over; how many rows, by table. May run at the same time as itself, and be broken off."""
    dropped: dict[str, int] = {}
    for rule in RULES:
        now = wall_now() if rule.wall else runtime.clock.now()
        dropped[rule.table] = await _forget(runtime, rule, now - rule.kept(runtime.settings), batch, pause)
    return dropped


async def _forget(runtime: Runtime, rule: Rule, cutoff: datetime, batch: int, pause: float) -> int:
    total = 0
    while True:
        async with runtime.database.transaction() as sql:
            count = await sql.execute(
                f"""DELETE FROM "{rule.table}" WHERE ctid IN (
                        SELECT ctid FROM "{rule.table}" WHERE {rule.over} LIMIT $2 FOR UPDATE SKIP LOCKED)""",
                cutoff,
                batch,
            )
        total += count
        if count < batch:
            return total
        await asyncio.sleep(pause)
