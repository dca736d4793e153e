"""How a change of an order is written: locked, versioned, logged, all in one transaction.

Lock order everywhere: order row, delivery row, rider row, SKU rows, the store's day, feed heads.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from auth.principals import Principal
from models.ordering import OrderAction, OrderState
from services.errors import NotFound
from services.ordering.machine import Actor, actor_of, require
from services.ordering.records import (
    DELIVERY_COLUMNS,
    ORDER_COLUMNS,
    ORDER_SELECT,
    OrderRecord,
    order_from_row,
    order_to_json,
)
from services.unit import Unit
from subscriptions.feeds import CITY, ORDER, RIDER_TASKS, STORE_ORDERS

_MUTABLE: Final = tuple(
    c for c in ORDER_COLUMNS
    if c.endswith("_at") or c in ("state", "version", "pickup_number", "refunded", "accept_by", "eta", "close_reason")
)  # fmt: skip
_UPDATE_ORDER: Final = (
    f'UPDATE "order" SET {", ".join(f"{c} = ${i}" for i, c in enumerate(_MUTABLE, 2))} '
    f"WHERE id = $1 AND version = ${len(_MUTABLE) + 2}"
)
_UPSERT_DELIVERY: Final = (
    f"INSERT INTO delivery ({', '.join(DELIVERY_COLUMNS)}, declined_by) "
    f"VALUES ({', '.join(f'${i}' for i in range(1, len(DELIVERY_COLUMNS) + 1))}, '[]') "
    "ON CONFLICT (id) DO UPDATE SET state = excluded.state, rider_id = excluded.rider_id, "
    "offer_expires_at = excluded.offer_expires_at, pickup_eta = excluded.pickup_eta, eta = excluded.eta"
)


async def lock(unit: Unit, order_id: UUID) -> OrderRecord:
    """The order as it is now, locked until the end of the transaction. Raises NotFound."""
    # The row lock comes first: a single joined statement would show the delivery as it was before the wait.
    if await unit.sql.fetchval('SELECT 1 FROM "order" WHERE id = $1 FOR UPDATE', order_id) is None:
        raise NotFound(resource="Order")
    row = await unit.sql.fetchrow(f"{ORDER_SELECT} WHERE o.id = $1", order_id)
    assert row is not None
    return order_from_row(row)


async def lock_for(unit: Unit, principal: Principal, order_id: UUID) -> tuple[OrderRecord, Actor]:
    """Lock the order for one of its parties. Raises NotFound when the principal is none."""
    order = await lock(unit, order_id)
    actor = actor_of(order, principal)
    if actor is None:
        raise NotFound(resource="Order")
    return order, actor


async def apply(unit: Unit, order: OrderRecord, action: OrderAction, actor: Actor, **changes: Any) -> OrderState:
    """Make the transition in memory, with further column ``changes``; the state it came from.

    Raises OrderActionNotAllowed. Follow with :func:`save` in the same transaction.
    """
    before = order.state
    order.state = require(order, action, actor).to
    for column, value in changes.items():
        setattr(order, column, value)
    return before


async def save(
    unit: Unit, order: OrderRecord, type: str, actor: Actor, *, former_rider: UUID | None = None
) -> OrderRecord:
    """Write the locked, changed order and its delivery as the next version, and tell every feed that shows it.

    ``former_rider``: a rider who had the job or its offer until now and must learn that it is gone.
    """
    order.version += 1
    touched = await unit.sql.execute(_UPDATE_ORDER, order.id, *[getattr(order, c) for c in _MUTABLE], order.version - 1)
    if touched != 1:
        raise RuntimeError(f"order {order.id} was changed without its lock")
    if order.delivery is not None:
        await _save_delivery(unit, order)
    emit(unit, order, type, actor, former_rider)
    return order


async def _save_delivery(unit: Unit, order: OrderRecord) -> None:
    await unit.sql.execute(_UPSERT_DELIVERY, *[getattr(order.delivery, c) for c in DELIVERY_COLUMNS])


def emit(unit: Unit, order: OrderRecord, type: str, actor: Actor, former_rider: UUID | None = None) -> None:
    """Log the event to the order's feed and to those of the store (from payment on) and the riders involved."""
    names = [ORDER.of(order.id)]
    if order.paid_at is not None:
        names.append(STORE_ORDERS.of(order.store_id))
    riders = {former_rider, order.delivery.rider_id if order.delivery is not None else None} - {None}
    names.extend(RIDER_TASKS.of(rider) for rider in riders if rider is not None)
    unit.emit(tuple(names), type, {"order": order_to_json(order), "actor": actor})
    unit.signal(CITY.of(order.city_id))
