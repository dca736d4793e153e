"""What webhooks are made of, as services hand it out. Instants are domain time but for those of secrets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from models.database import Record
from models.webhooks import WebhookDeliveryState, WebhookDisabledReason, WebhookEndpointState, WebhookFault


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a partner is told, of which events (None: of all), and how that goes."""

    id: UUID
    partner_id: UUID
    url: str
    description: str
    event_types: list[str] | None
    state: WebhookEndpointState
    disabled_reason: WebhookDisabledReason | None
    disabled_at: datetime | None
    created_at: datetime
    failures: int
    failing_since: datetime | None
    last_success_at: datetime | None
    resume_at: datetime | None


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that signs, without it. Wall time."""

    id: UUID
    endpoint_id: UUID
    created_at: datetime
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewEndpointSecret:
    """A secret that was just made; it is not shown again."""

    endpoint: Endpoint
    secret: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event for an endpoint, or a ping. ``attempts`` of the present round."""

    id: UUID
    endpoint_id: UUID
    sequence: int
    type: str
    at: datetime
    store_id: UUID | None
    order_id: UUID | None
    body: str
    state: WebhookDeliveryState
    attempts: int
    queued_at: datetime
    due_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of sending a delivery once."""

    id: UUID
    delivery_id: UUID
    at: datetime
    duration_ms: int
    status: int | None
    fault: WebhookFault | None
    excerpt: str


def _columns(record: type[Any], **other: str) -> str:
    return ", ".join(other.get(name, f'"{name}"') for name in record.__slots__)


ENDPOINT: Final = _columns(Endpoint, partner_id="client_id AS partner_id")
SECRET: Final = _columns(Secret)
DELIVERY: Final = _columns(Delivery)
ATTEMPT: Final = _columns(Attempt)

SHARED: Final = """(d.store_id IS NULL OR EXISTS (
    SELECT 1 FROM webhook_endpoint e JOIN partner_store s ON s.client_id = e.client_id
    WHERE e.id = d.endpoint_id AND s.store_id = d.store_id AND s.revoked_at IS NULL))"""
"""Whether the partner may (still) see the row ``d`` of ``webhook_delivery``."""


def endpoint(row: Record) -> Endpoint:
    values: dict[str, Any] = {name: row[name] for name in Endpoint.__slots__}
    values["event_types"] = None if row["event_types"] is None else orjson.loads(row["event_types"])
    values["state"] = WebhookEndpointState(row["state"])
    if row["disabled_reason"] is not None:
        values["disabled_reason"] = WebhookDisabledReason(row["disabled_reason"])
    return Endpoint(**values)


def secret(row: Record) -> Secret:
    return Secret(*[row[name] for name in Secret.__slots__])


def delivery(row: Record) -> Delivery:
    values: dict[str, Any] = {name: row[name] for name in Delivery.__slots__}
    values["state"] = WebhookDeliveryState(row["state"])
    return Delivery(**values)


def attempt(row: Record) -> Attempt:
    values: dict[str, Any] = {name: row[name] for name in Attempt.__slots__}
    if row["fault"] is not None:
        values["fault"] = WebhookFault(row["fault"])
    return Attempt(**values)
