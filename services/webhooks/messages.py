"""What is sent: bodies, and the signatures of the Standard Webhooks specification.

A body has the facts of an order that a partner may know: no person's name, phone, address or place, and no words of
theirs. https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from auth.keys import SigningKeys
from core import ids
from services.ordering.records import OrderRecord
from subscriptions.feeds import STORE_ORDERS, Cursor, Event

EVENT_TYPES: Final = tuple(sorted(STORE_ORDERS.events))
"""What an endpoint can choose from."""
PING: Final = "ping"
GAP: Final = "events.missing"
"""The event log did not reach back to where an endpoint was: so many events of a store were never told."""

_INSTANTS: Final = (
    "placed_at", "paid_at", "accepted_at", "promised_ready_at", "ready_at", "picked_up_at", "delivered_at",
    "completed_at", "closed_at", "eta",
)  # fmt: skip
_AMOUNTS: Final = ("subtotal", "delivery_fee", "total", "refunded")


def body(type: str, at: datetime, cursor: str, data: dict[str, Any]) -> str:
    """The text that is signed and sent, the same in every attempt."""
    content = {"type": type, "timestamp": at, "cursor": cursor, "data": data}
    return orjson.dumps(content, option=orjson.OPT_UTC_Z).decode()


def cursor(epoch: str, endpoint_id: UUID, sequence: int) -> str:
    """The position of a delivery among all of its endpoint, as opaque text."""
    return Cursor(epoch, sequence).encode(_name(endpoint_id))


def sequence_of(text: str, endpoint_id: UUID) -> int | None:
    """Inverse of :func:`cursor`; None for what is no cursor of this endpoint."""
    found = Cursor.decode(text, _name(endpoint_id))
    return None if found is None else found.offset


def _name(endpoint_id: UUID) -> str:
    return f"webhook:{endpoint_id}"


def order_data(event: Event, order: OrderRecord) -> dict[str, Any]:
    """``data`` of an event of an order: the order as it was then, and as whom somebody changed it."""
    shown: dict[str, Any] = {
        "id": ids.encode("Order", order.id),
        "number": order.number,
        "pickupNumber": order.pickup_number,
        "version": order.version,
        "state": order.state,
        "mode": order.mode,
        "store": ids.encode("Store", order.store_id),
    }
    shown |= {_camel(name): {"amount": getattr(order, name), "currency": order.currency} for name in _AMOUNTS}
    shown |= {_camel(name): getattr(order, name) for name in _INSTANTS}
    delivery = order.delivery
    shown["delivery"] = delivery and {
        "id": ids.encode("Delivery", delivery.id),
        "state": delivery.state,
        "pickupEta": delivery.pickup_eta,
        "eta": delivery.eta,
    }
    return {"order": shown, "actor": event.payload["actor"]}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _key(keys: SigningKeys, secret_id: UUID) -> bytes:
    """The 32 bytes of a secret: derived, so that no secret lies in the database."""
    return hmac.digest(keys.derive("webhook secrets"), secret_id.bytes, "sha256")


def secret_text(keys: SigningKeys, secret_id: UUID) -> str:
    """A secret as receivers know it."""
    return f"whsec_{base64.b64encode(_key(keys, secret_id)).decode()}"


def signature(keys: SigningKeys, secret_ids: Iterable[UUID], id: str, timestamp: int, content: bytes) -> str:
    """The header ``webhook-signature``: one signature by each secret."""
    signed = b"%b.%d.%b" % (id.encode(), timestamp, content)
    digests = (hmac.digest(_key(keys, secret_id), signed, "sha256") for secret_id in secret_ids)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
