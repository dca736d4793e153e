"""Endpoints of partners, and their secrets.

Where a principal is asked for, None is the operator at the command line of the installation.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import orjson

from auth.principals import Principal, View
from clients.webhooks import is_loopback, is_public
from core.clock import wall_now
from models.database import Record
from models.webhooks import WebhookDisabledReason, WebhookEndpointState
from services import audit
from services.errors import InvalidInput, NotFound, PermissionDenied, WebhookEndpointLimitReached
from services.merchants.checks import text
from services.runtime import Runtime
from services.unit import Unit, transaction
from services.webhooks import records
from services.webhooks.messages import EVENT_TYPES, secret_text
from services.webhooks.records import ENDPOINT, SECRET, Endpoint, NewEndpointSecret, Secret
from subscriptions.feeds import STORE_ORDERS

MOST_ENABLED: Final = 10
"""Endpoints of one partner that are enabled at the same time."""
OVERLAP: Final = timedelta(hours=24)
"""For how long a secret goes on signing beside the next one, unless something else is asked for."""
LONGEST_OVERLAP: Final = timedelta(days=90)
MAX_URL: Final = 500
MAX_DESCRIPTION: Final = 200
MAX_REASON: Final = 200


def checked_url(value: str, *, development: bool) -> str:
    """``value`` if webhooks may go there as far as its text tells. Raises InvalidInput.

    The name is resolved when something is sent, each time (:mod:`clients.webhooks`).
    """

    def wrong(reason: str) -> InvalidInput:
        return InvalidInput(field="url", reason=reason)

    url = value.strip()
    if len(url) > MAX_URL:
        raise wrong(f"must have at most {MAX_URL} characters")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise wrong("must be an ASCII URL without spaces")
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise wrong("is no URL") from None
    if parts.scheme not in ("https", "http") or not host:
        raise wrong("must begin with https:// and a host")
    if "@" in parts.netloc or parts.fragment:
        raise wrong("must have neither a user nor a fragment")
    at_home = development and _is_here(host)
    if parts.scheme == "http" and not at_home:
        raise wrong("must begin with https://")
    if not at_home and not _may_be_public(host):
        raise wrong("must be a public address")
    return url


def _is_here(host: str) -> bool:
    try:
        return is_loopback(host)
    except ValueError:
        return host == "localhost"


def _may_be_public(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        last = host.rstrip(".").rpartition(".")
        # Names without a dot are of one's own network; a last label of digits is an address in disguise.
        return bool(last[0]) and not last[2][:1].isdigit() and last[2] not in ("localhost", "local", "internal")
    return is_public(host)


def checked_types(chosen: Sequence[str] | None) -> list[str] | None:
    """The chosen types of events, each once. Raises InvalidInput."""
    if chosen is None:
        return None
    unknown = [name for name in chosen if name not in EVENT_TYPES]
    if unknown or not chosen:
        raise InvalidInput(field="eventTypes", reason=f"must be some of {', '.join(EVENT_TYPES)}")
    return sorted(set(chosen))


# who may


async def require_partner(unit: Unit, principal: Principal | None, partner_id: UUID) -> None:
    """Hold the partner for its city's admins. Raises NotFound, PermissionDenied (a disabled one)."""
    row = await unit.sql.fetchrow(
        """SELECT city_id, revoked_at FROM client WHERE id = $1 AND kind = 'PARTNER' AND city_id IS NOT NULL
           FOR UPDATE""",
        partner_id,
    )
    if row is None or not (principal is None or principal.administers(row["city_id"])):
        raise NotFound(resource="Partner")
    if row["revoked_at"] is not None:
        raise PermissionDenied(reason="the partner is disabled")


def may(principal: Principal | None, partner_id: UUID, city_id: UUID, *, own: bool) -> bool:
    """Whether the endpoints of a partner of the city are the principal's business; with ``own``, also its own."""
    if principal is None or principal.administers(city_id):
        return True
    return own and principal.view is View.PARTNER and principal.subject == partner_id


async def hold(unit: Unit, principal: Principal | None, endpoint_id: UUID, *, own: bool = False) -> Endpoint:
    """The endpoint, locked, for its city's admins; with ``own`` also for its partner. Raises NotFound."""
    return _for(principal, await unit.sql.fetchrow(f"{_ONE} FOR UPDATE", endpoint_id), own=own)


_ONE: Final = f"""
SELECT {ENDPOINT}, (SELECT c.city_id FROM client c WHERE c.id = webhook_endpoint.client_id) AS city_id
FROM webhook_endpoint WHERE id = $1
"""


def _for(principal: Principal | None, row: Record | None, *, own: bool) -> Endpoint:
    if row is None or not may(principal, row["partner_id"], row["city_id"], own=own):
        raise NotFound(resource="WebhookEndpoint")
    return records.endpoint(row)


# reading


async def get(runtime: Runtime, principal: Principal | None, endpoint_id: UUID) -> Endpoint:
    """An endpoint for its partner and the admins of its city. Raises NotFound."""
    return _for(principal, await runtime.database.fetchrow(_ONE, endpoint_id), own=True)


async def of_partners(runtime: Runtime, partner_ids: Sequence[UUID]) -> dict[UUID, list[Endpoint]]:
    """All endpoints of each partner, the oldest first, without any check of who asks."""
    rows = await runtime.database.fetch(
        f"SELECT {ENDPOINT} FROM webhook_endpoint WHERE client_id = ANY($1::uuid[]) ORDER BY id", list(partner_ids)
    )
    found: dict[UUID, list[Endpoint]] = {partner_id: [] for partner_id in partner_ids}
    for row in rows:
        found[row["partner_id"]].append(records.endpoint(row))
    return found


async def secrets_of(runtime: Runtime, endpoint_ids: Sequence[UUID]) -> dict[UUID, list[Secret]]:
    """The secrets of each endpoint that sign now, the newest first, without any check of who asks."""
    rows = await runtime.database.fetch(
        f"""SELECT {SECRET} FROM webhook_secret WHERE endpoint_id = ANY($1::uuid[])
            AND (ends_at IS NULL OR ends_at > $2) ORDER BY created_at DESC, id DESC""",
        list(endpoint_ids),
        wall_now(),
    )
    found: dict[UUID, list[Secret]] = {endpoint_id: [] for endpoint_id in endpoint_ids}
    for row in rows:
        found[row["endpoint_id"]].append(records.secret(row))
    return found


# changing


async def create(
    runtime: Runtime,
    principal: Principal | None,
    partner_id: UUID,
    url: str,
    event_types: Sequence[str] | None = None,
    description: str = "",
) -> NewEndpointSecret:
    """An endpoint of the partner, which is told of what happens from now on, with its first secret.

    Raises NotFound, InvalidInput, PermissionDenied (a disabled partner), WebhookEndpointLimitReached.
    """
    url = checked_url(url, development=runtime.settings.sandbox)
    types = checked_types(event_types)
    description = text("description", description, MAX_DESCRIPTION, 0)
    async with transaction(runtime) as unit:
        await require_partner(unit, principal, partner_id)
        await _require_room(unit, partner_id)
        row = await unit.sql.fetchrow(
            f"""INSERT INTO webhook_endpoint
                    (id, client_id, url, description, event_types, state, created_at, sequence, failures)
                VALUES ($1, $2, $3, $4, $5, 'ENABLED', $6, 0, 0) RETURNING {ENDPOINT}""",
            runtime.new_id(),
            partner_id,
            url,
            description,
            None if types is None else orjson.dumps(types).decode(),
            unit.now,
        )
        assert row is not None
        made = records.endpoint(row)
        secret_id = await _add_secret(unit, made.id)
        await place(unit, partner_id)
        await audit.note(unit, principal, "create_webhook_endpoint", partner_id, {"endpoint": made.id, "url": url})
    return NewEndpointSecret(made, secret_text(runtime.keys, secret_id))


async def update(
    runtime: Runtime,
    principal: Principal | None,
    endpoint_id: UUID,
    url: str,
    event_types: Sequence[str] | None,
    description: str,
) -> Endpoint:
    """Tell the partner elsewhere, or of other events, from now on. Raises NotFound, InvalidInput."""
    url = checked_url(url, development=runtime.settings.sandbox)
    types = checked_types(event_types)
    description = text("description", description, MAX_DESCRIPTION, 0)
    async with transaction(runtime) as unit:
        before = await hold(unit, principal, endpoint_id)
        updated = await _change(
            unit,
            endpoint_id,
            "url = $2, event_types = $3, description = $4",
            url,
            None if types is None else orjson.dumps(types).decode(),
            description,
        )
        facts = {"endpoint": endpoint_id, "url": url, "event_types": types}
        await audit.note(unit, principal, "update_webhook_endpoint", before.partner_id, facts)
    return updated


async def rotate_secret(
    runtime: Runtime, principal: Principal | None, endpoint_id: UUID, previous_ends_at: datetime | None = None
) -> NewEndpointSecret:
    """Another secret. The one before signs too until ``previous_ends_at`` (default: for 24 hours); older ones end now.

    Raises NotFound, InvalidInput.
    """
    now = wall_now()
    ends_at = now + OVERLAP if previous_ends_at is None else previous_ends_at
    # What was "now" when it was sent has passed when it arrives.
    if not now - timedelta(minutes=5) <= ends_at <= now + LONGEST_OVERLAP:
        raise InvalidInput(field="previousEndsAt", reason=f"must be within {LONGEST_OVERLAP.days} days from now")
    async with transaction(runtime) as unit:
        endpoint = await hold(unit, principal, endpoint_id)
        await unit.sql.execute(
            """UPDATE webhook_secret s SET ends_at = least(s.ends_at, CASE WHEN s.id = (
                   SELECT id FROM webhook_secret WHERE endpoint_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1
               ) THEN $2::timestamptz ELSE $3::timestamptz END) WHERE s.endpoint_id = $1""",
            endpoint_id,
            ends_at,
            now,
        )
        secret_id = await _add_secret(unit, endpoint_id)
        facts = {"endpoint": endpoint_id, "previous_ends_at": ends_at}
        await audit.note(unit, principal, "rotate_webhook_secret", endpoint.partner_id, facts)
    return NewEndpointSecret(endpoint, secret_text(runtime.keys, secret_id))


async def enable(runtime: Runtime, principal: Principal | None, endpoint_id: UUID) -> Endpoint:
    """Go on where the endpoint was left, at once, as far as the event log reaches back. Repeatable.

    Raises NotFound, WebhookEndpointLimitReached.
    """
    async with transaction(runtime) as unit:
        endpoint = await hold(unit, principal, endpoint_id)
        if endpoint.state is WebhookEndpointState.ENABLED:
            return endpoint
        await _require_room(unit, endpoint.partner_id)
        await unit.sql.execute(
            "UPDATE webhook_delivery SET due_at = $2, attempts = 0 WHERE endpoint_id = $1 AND state = 'PENDING'",
            endpoint_id,
            unit.now,
        )
        enabled = await _change(
            unit,
            endpoint_id,
            "state = 'ENABLED', disabled_reason = NULL, disabled_at = NULL, failures = 0, failing_since = NULL, "
            "resume_at = NULL",
        )
        unit.enqueue("webhook_send", {"endpoint": endpoint_id})
        await audit.note(unit, principal, "enable_webhook_endpoint", endpoint.partner_id, {"endpoint": endpoint_id})
    return enabled


async def disable(runtime: Runtime, principal: Principal | None, endpoint_id: UUID, reason: str) -> Endpoint:
    """Send nothing more until it is enabled again. Repeatable. Raises NotFound, InvalidInput."""
    reason = text("reason", reason, MAX_REASON)
    async with transaction(runtime) as unit:
        endpoint = await hold(unit, principal, endpoint_id)
        if endpoint.state is WebhookEndpointState.DISABLED:
            return endpoint
        disabled = await _change(
            unit,
            endpoint_id,
            "state = 'DISABLED', disabled_reason = $2, disabled_at = $3",
            WebhookDisabledReason.REQUESTED,
            unit.now,
        )
        facts = {"endpoint": endpoint_id, "reason": reason}
        await audit.note(unit, principal, "disable_webhook_endpoint", endpoint.partner_id, facts)
    return disabled


async def _change(unit: Unit, endpoint_id: UUID, changes: str, *values: Any) -> Endpoint:
    row = await unit.sql.fetchrow(
        f"UPDATE webhook_endpoint SET {changes} WHERE id = $1 RETURNING {ENDPOINT}", endpoint_id, *values
    )
    assert row is not None
    return records.endpoint(row)


async def place(unit: Unit, partner_id: UUID) -> None:
    """Let the partner's endpoints begin at the present end of the feeds in which they have no position yet."""
    await unit.sql.execute(
        """INSERT INTO webhook_position (endpoint_id, store_id, feed, "offset")
           SELECT e.id, s.store_id, f.feed, coalesce(h.top, s.from_offset)
           FROM webhook_endpoint e
           JOIN partner_store s ON s.client_id = e.client_id AND s.revoked_at IS NULL
           CROSS JOIN LATERAL (SELECT $2 || ':' || s.store_id AS feed) f
           LEFT JOIN feed_head h ON h.feed = f.feed
           WHERE e.client_id = $1
           ON CONFLICT DO NOTHING""",
        partner_id,
        STORE_ORDERS.name,
    )


async def _add_secret(unit: Unit, endpoint_id: UUID) -> UUID:
    secret_id = unit.runtime.new_id()
    await unit.sql.execute(
        "INSERT INTO webhook_secret (id, endpoint_id, created_at) VALUES ($1, $2, $3)",
        secret_id,
        endpoint_id,
        wall_now(),
    )
    return secret_id


async def _require_room(unit: Unit, partner_id: UUID) -> None:
    enabled = await unit.sql.fetchval(
        "SELECT count(*) FROM webhook_endpoint WHERE client_id = $1 AND state = 'ENABLED'", partner_id
    )
    if enabled >= MOST_ENABLED:
        raise WebhookEndpointLimitReached(maximum=MOST_ENABLED)
