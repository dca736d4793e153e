"""From a basket to a placed order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from auth.principals import Principal
from core import geo
from core.geo import Point
from core.money import Money
from core.phones import normalise
from models.merchants import StoreStatus
from models.ordering import FulfilmentMode, OrderState
from services import idempotency, inventory, merchants, pricing
from services.access import signed_in
from services.errors import (
    BelowMinimumOrder,
    InvalidInput,
    ModeNotOffered,
    NotFound,
    QuoteAlreadyUsed,
    QuoteExpired,
    StoreClosed,
)
from services.merchants import StoreRecord
from services.merchants.checks import text
from services.ordering import changes
from services.ordering.machine import Actor
from services.ordering.records import ORDER_COLUMNS, OrderRecord, order_from_json, order_to_json
from services.pricing import RequestedLine
from services.runtime import Runtime
from services.unit import Unit, transaction

MAX_NOTE = 200


@dataclass(frozen=True, slots=True)
class QuoteLine:
    sku_id: UUID
    item_id: UUID
    item_name: str
    sku_name: str
    option_ids: list[UUID]
    options: list[str]
    quantity: int
    unit_price: int
    total: int
    currency: str


@dataclass(frozen=True, slots=True)
class QuoteRecord:
    """Prices that hold until ``expires_at``, in minor units."""

    id: UUID
    consumer_id: UUID
    store_id: UUID
    mode: FulfilmentMode
    lines: list[QuoteLine]
    currency: str
    subtotal: int
    delivery_fee: int
    total: int
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Address:
    """Where to deliver; ``location`` in any CRS."""

    contact: str
    phone: str
    text: str
    location: Point


async def quote(
    runtime: Runtime,
    principal: Principal,
    store_id: UUID,
    mode: FulfilmentMode,
    lines: Sequence[RequestedLine],
    location: Point | None,
) -> QuoteRecord:
    """Price a basket and hold the prices for a while. Nothing is reserved yet.

    Raises NotFound, InvalidInput, StoreClosed, ModeNotOffered, ItemUnavailable, InsufficientStock, and for
    deliveries OutOfDeliveryArea and BelowMinimumOrder; PermissionDenied when nobody is signed in.
    """
    consumer_id = signed_in(principal)
    store = await merchants.get_store(runtime, store_id)
    now = runtime.clock.now()
    _require_open(store, mode, now)
    if mode is FulfilmentMode.DELIVERY:
        if location is None:
            raise InvalidInput(field="location", reason="is needed for a delivery")
        pricing.delivery_check(store, _on_earth(location, "location"))
    priced = await pricing.quote_lines(runtime, store, lines)
    subtotal = sum(line.total for line in priced)
    delivery_fee = 0
    if mode is FulfilmentMode.DELIVERY:
        delivery_fee = store.delivery_fee
        if subtotal < store.minimum_order:
            raise BelowMinimumOrder(
                minimum=Money(store.minimum_order, store.currency), subtotal=Money(subtotal, store.currency)
            )
    if subtotal + delivery_fee <= 0:
        raise InvalidInput(field="lines", reason="must cost something")
    record = QuoteRecord(
        id=runtime.new_id(),
        consumer_id=consumer_id,
        store_id=store.id,
        mode=mode,
        lines=[
            QuoteLine(
                p.sku_id, p.item_id, p.item_name, p.sku_name, list(asked.option_ids), p.options, p.quantity,
                p.unit_price, p.total, store.currency,
            )
            for asked, p in zip(lines, priced, strict=True)
        ],
        currency=store.currency,
        subtotal=subtotal,
        delivery_fee=delivery_fee,
        total=subtotal + delivery_fee,
        created_at=now,
        expires_at=now + runtime.settings.quote_ttl,
    )  # fmt: skip
    await runtime.database.execute(
        """INSERT INTO quote (id, consumer_id, store_id, mode, lines, currency, subtotal, delivery_fee, total,
                              created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)""",
        record.id,
        record.consumer_id,
        record.store_id,
        record.mode,
        orjson.dumps(record.lines, default=str).decode(),
        record.currency,
        record.subtotal,
        record.delivery_fee,
        record.total,
        record.created_at,
        record.expires_at,
    )
    return record


def quote_line(data: dict[str, Any]) -> QuoteLine:
    """A line as :func:`quote` stored it."""
    return QuoteLine(
        sku_id=UUID(data["sku_id"]),
        item_id=UUID(data["item_id"]),
        item_name=data["item_name"],
        sku_name=data["sku_name"],
        option_ids=[UUID(option) for option in data["option_ids"]],
        options=data["options"],
        quantity=data["quantity"],
        unit_price=data["unit_price"],
        total=data["total"],
        currency=data["currency"],
    )


def _require_open(store: StoreRecord, mode: FulfilmentMode, now: datetime) -> None:
    if not pricing.is_open(store, now):
        opens_at = pricing.next_opening(store, now) if store.status is StoreStatus.OPEN else None
        raise StoreClosed(store=store.id, opens_at=opens_at)
    if mode not in store.services:
        raise ModeNotOffered(store=store.id, mode=mode)


def _on_earth(point: Point, field: str) -> Point:
    if not geo.is_on_earth(point.latitude, point.longitude):
        raise InvalidInput(field=field, reason="is not a place on earth")
    return geo.to_gcj02(point)


async def place(
    runtime: Runtime,
    principal: Principal,
    quote_id: UUID,
    address: Address | None,
    table_id: UUID | None,
    note: str,
    key: str,
) -> OrderRecord:
    """Turn a quote into an order that holds its stock and waits for payment.

    Raises NotFound, InvalidInput, QuoteExpired, QuoteAlreadyUsed, StoreClosed, ItemUnavailable, InsufficientStock,
    OutOfDeliveryArea, IdempotencyConflict, PermissionDenied when nobody is signed in.
    """
    consumer_id = signed_in(principal)
    address = _checked_address(address)
    note = text("note", note, MAX_NOTE, shortest=0, multiline=True)
    async with transaction(runtime) as unit:
        request = [quote_id, address, table_id, note]
        answer = await idempotency.recall(unit, principal, key, "placeOrder", request)
        if answer is not None:
            return order_from_json(answer)
        held = await _quote_of(unit, principal, quote_id)
        if held["expires_at"] <= unit.now:
            raise QuoteExpired(expired_at=held["expires_at"])
        store = await merchants.get_store(unit, held["store_id"])
        mode = FulfilmentMode(held["mode"])
        _require_open(store, mode, unit.now)
        place_at = await _destination(unit, store, mode, address, table_id)
        lines = [quote_line(line) for line in orjson.loads(held["lines"])]
        await pricing.quote_lines(
            unit, store, [RequestedLine(n.sku_id, n.quantity, tuple(n.option_ids)) for n in lines]
        )
        order = _new_order(unit, consumer_id, store, held, mode, address, place_at, table_id, note)
        await _insert(unit, order, lines)
        await inventory.hold(unit, _per_sku(lines))
        unit.enqueue("order_payment_deadline", {"order": order.id}, at=order.pay_by)
        changes.emit(unit, order, "order.placed", Actor.CONSUMER)
        await idempotency.remember(unit, principal, key, order_to_json(order))
    return order


def _checked_address(address: Address | None) -> Address | None:
    if address is None:
        return None
    phone = normalise(address.phone)
    if phone is None:
        raise InvalidInput(field="address.phone", reason="is not a phone number")
    return Address(
        text("address.contact", address.contact, 80),
        phone,
        text("address.text", address.text, 200, multiline=True),
        _on_earth(address.location, "address.location"),
    )


async def _quote_of(unit: Unit, principal: Principal, quote_id: UUID) -> Any:
    row = await unit.sql.fetchrow(
        """SELECT q.*, o.id AS order_id FROM quote q LEFT JOIN "order" o ON o.quote_id = q.id
           WHERE q.id = $1 AND q.consumer_id = $2 FOR UPDATE OF q""",
        quote_id,
        principal.subject,
    )
    if row is None:
        raise NotFound(resource="Quote")
    # Two taps with different keys: the row lock made this one wait, so look again.
    used = row["order_id"] or await unit.sql.fetchval('SELECT id FROM "order" WHERE quote_id = $1', quote_id)
    if used is not None:
        raise QuoteAlreadyUsed(order=used)
    return row


async def _destination(
    unit: Unit, store: StoreRecord, mode: FulfilmentMode, address: Address | None, table_id: UUID | None
) -> Point | None:
    """Check that the order can reach its consumer; the delivery's destination."""
    if mode is FulfilmentMode.DELIVERY:
        if address is None:
            raise InvalidInput(field="address", reason="is needed for a delivery")
        pricing.delivery_check(store, address.location)
        return address.location
    if mode is FulfilmentMode.DINE_IN:
        if table_id is None:
            raise InvalidInput(field="table", reason="is needed to dine in")
        found = await unit.sql.fetchval(
            "SELECT 1 FROM dining_table WHERE id = $1 AND store_id = $2", table_id, store.id
        )
        if found is None:
            raise NotFound(resource="DiningTable")
    return None


def _per_sku(lines: Sequence[QuoteLine]) -> dict[UUID, int]:
    quantities: dict[UUID, int] = {}
    for line in lines:
        quantities[line.sku_id] = quantities.get(line.sku_id, 0) + line.quantity
    return quantities


def _new_order(
    unit: Unit,
    consumer_id: UUID,
    store: StoreRecord,
    held: Any,
    mode: FulfilmentMode,
    address: Address | None,
    destination: Point | None,
    table_id: UUID | None,
    note: str,
) -> OrderRecord:
    order_id = unit.runtime.new_id()
    return OrderRecord(
        id=order_id,
        number=f"{unit.now:%y%m%d}-{order_id.int % 10**6:06d}",
        pickup_number=None,
        state=OrderState.PLACED,
        mode=mode,
        version=1,
        city_id=store.city_id,
        store_id=store.id,
        consumer_id=consumer_id,
        quote_id=held["id"],
        table_id=table_id if mode is FulfilmentMode.DINE_IN else None,
        contact=address.contact if address else None,
        contact_phone=address.phone if address else None,
        address=address.text if address else None,
        latitude=destination.latitude if destination else None,
        longitude=destination.longitude if destination else None,
        note=note,
        currency=held["currency"],
        subtotal=held["subtotal"],
        delivery_fee=held["delivery_fee"],
        total=held["total"],
        refunded=0,
        placed_at=unit.now,
        pay_by=unit.now + unit.runtime.settings.payment_ttl,
        paid_at=None,
        accept_by=None,
        accepted_at=None,
        promised_ready_at=None,
        ready_at=None,
        picked_up_at=None,
        delivered_at=None,
        completed_at=None,
        closed_at=None,
        eta=None,
        close_reason=None,
    )


_INSERT_ORDER = (
    f'INSERT INTO "order" ({", ".join(ORDER_COLUMNS)}) '
    f"VALUES ({', '.join(f'${i}' for i in range(1, len(ORDER_COLUMNS) + 1))})"
)


async def _insert(unit: Unit, order: OrderRecord, lines: Sequence[QuoteLine]) -> None:
    await unit.sql.execute(_INSERT_ORDER, *[getattr(order, c) for c in ORDER_COLUMNS])
    await unit.sql.executemany(
        """INSERT INTO order_line (id, order_id, sku_id, position, item_name, sku_name, options, quantity, unit_price,
                                   total) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)""",
        [
            (
                unit.runtime.new_id(), order.id, n.sku_id, position, n.item_name, n.sku_name,
                orjson.dumps(n.options).decode(), n.quantity, n.unit_price, n.total,
            )
            for position, n in enumerate(lines)
        ],
    )  # fmt: skip
