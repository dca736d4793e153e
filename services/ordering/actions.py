"""What people and deadlines do to a placed order. Every function is one unit of work."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from auth.principals import Principal
from core.geo import Point
from models.delivery import DeliveryState
from models.ordering import FulfilmentMode, OrderAction, OrderState
from services import devices, idempotency, inventory, merchants, payments
from services.delivery import dispatch
from services.delivery.travel import delivery_eta, road_metres
from services.errors import InvalidInput
from services.merchants.checks import text
from services.ordering import changes
from services.ordering.machine import Actor
from services.ordering.records import DeliveryRecord, OrderRecord, order_from_json, order_to_json
from services.runtime import Runtime
from services.unit import Unit, transaction

MAX_PREP_MINUTES = 240
MAX_REASON = 200


async def accept(runtime: Runtime, principal: Principal, order_id: UUID, prep_minutes: int | None) -> OrderRecord:
    """Take a paid order; a delivery starts to look for its rider at once.

    ``prep_minutes`` until the food is ready, by default the store's. Raises NotFound, InvalidInput,
    OrderActionNotAllowed.
    """
    if prep_minutes is not None and not 0 <= prep_minutes <= MAX_PREP_MINUTES:
        raise InvalidInput(field="prepMinutes", reason=f"must be 0 to {MAX_PREP_MINUTES}")
    async with transaction(runtime) as unit:
        order, actor = await changes.lock_for(unit, principal, order_id)
        await changes.apply(unit, order, OrderAction.ACCEPT, actor)
        store = await merchants.get_store(unit, order.store_id)
        minutes = store.prep_minutes if prep_minutes is None else prep_minutes
        order.accepted_at = unit.now
        order.promised_ready_at = unit.now + timedelta(minutes=minutes)
        if order.mode is FulfilmentMode.DELIVERY:
            order.delivery = _new_delivery(unit, order, Point(store.latitude, store.longitude))
            order.eta = order.delivery.eta
        else:
            order.eta = order.promised_ready_at
        await changes.save(unit, order, "order.accepted", actor)
        await devices.order_accepted(unit, order.store_id, order.id)
    return await dispatch.after(runtime, order)


def _new_delivery(unit: Unit, order: OrderRecord, pickup: Point) -> DeliveryRecord:
    assert order.latitude is not None and order.longitude is not None and order.promised_ready_at is not None
    dropoff = Point(order.latitude, order.longitude)
    delivery = DeliveryRecord(
        id=unit.runtime.new_id(),
        order_id=order.id,
        city_id=order.city_id,
        store_id=order.store_id,
        state=DeliveryState.SEARCHING,
        rider_id=None,
        offer_expires_at=None,
        pickup_latitude=pickup.latitude,
        pickup_longitude=pickup.longitude,
        dropoff_latitude=dropoff.latitude,
        dropoff_longitude=dropoff.longitude,
        distance_m=round(road_metres(pickup, dropoff)),
        currency=order.currency,
        fee=order.delivery_fee,
        created_at=unit.now,
        pickup_eta=None,
        eta=None,
        order=order,
    )
    delivery.eta = delivery_eta(unit.runtime.settings, delivery, order.promised_ready_at, unit.now)
    return delivery


async def _advance(
    runtime: Runtime, principal: Principal, order_id: UUID, action: OrderAction, type: str, stamp: str | None
) -> OrderRecord:
    """One plain step by its actor; ``stamp`` is the column that keeps the time of it."""
    async with transaction(runtime) as unit:
        order, actor = await changes.lock_for(unit, principal, order_id)
        await changes.apply(unit, order, action, actor, **({stamp: unit.now} if stamp else {}))
        if order.state is OrderState.DELIVERED:
            _complete_later(unit, order)
        return await changes.save(unit, order, type, actor)


def _complete_later(unit: Unit, order: OrderRecord) -> None:
    unit.enqueue("order_complete", {"order": order.id}, at=unit.now + unit.runtime.settings.complete_after)


async def start_preparing(runtime: Runtime, principal: Principal, order_id: UUID) -> OrderRecord:
    """The kitchen began. Raises NotFound, OrderActionNotAllowed."""
    return await _advance(runtime, principal, order_id, OrderAction.START_PREPARING, "order.preparing", None)


async def mark_ready(runtime: Runtime, principal: Principal, order_id: UUID) -> OrderRecord:
    """The food can be fetched. Raises NotFound, OrderActionNotAllowed."""
    return await _advance(runtime, principal, order_id, OrderAction.MARK_READY, "order.ready", "ready_at")


async def hand_over(runtime: Runtime, principal: Principal, order_id: UUID) -> OrderRecord:
    """The consumer has it: pickup or dine-in. Raises NotFound, OrderActionNotAllowed."""
    return await _advance(runtime, principal, order_id, OrderAction.HAND_OVER, "order.handed_over", "delivered_at")


async def confirm_receipt(runtime: Runtime, principal: Principal, order_id: UUID, key: str) -> OrderRecord:
    """The consumer confirms; the money is split. Raises NotFound, InvalidInput, OrderActionNotAllowed,
    IdempotencyConflict."""
    async with transaction(runtime) as unit:
        answer = await idempotency.recall(unit, principal, key, "confirmReceipt", [order_id])
        if answer is not None:
            return order_from_json(answer)
        order, actor = await changes.lock_for(unit, principal, order_id)
        await _settle(unit, order, actor)
        await idempotency.remember(unit, principal, key, order_to_json(order))
        return order


async def _settle(unit: Unit, order: OrderRecord, actor: Actor) -> None:
    """Complete the delivered order and split its money."""
    await changes.apply(unit, order, OrderAction.COMPLETE, actor, completed_at=unit.now)
    await payments.settle(unit, order)
    await changes.save(unit, order, "order.completed", actor)


async def cancel(runtime: Runtime, principal: Principal, order_id: UUID, reason: str, key: str) -> OrderRecord:
    """Call the order off and give everything back. Raises NotFound, InvalidInput, OrderActionNotAllowed,
    IdempotencyConflict."""
    return await _call_off(
        runtime, principal, order_id, reason, key, OrderAction.CANCEL, "cancelOrder", "order.cancelled"
    )


async def reject(runtime: Runtime, principal: Principal, order_id: UUID, reason: str, key: str) -> OrderRecord:
    """The store does not take the paid order; the money goes back. Raises as :func:`cancel`."""
    return await _call_off(
        runtime, principal, order_id, reason, key, OrderAction.REJECT, "rejectOrder", "order.rejected"
    )


async def _call_off(
    runtime: Runtime,
    principal: Principal,
    order_id: UUID,
    reason: str,
    key: str,
    action: OrderAction,
    operation: str,
    type: str,
) -> OrderRecord:
    reason = text("reason", reason, MAX_REASON)
    async with transaction(runtime) as unit:
        answer = await idempotency.recall(unit, principal, key, operation, [order_id, reason])
        if answer is not None:
            return order_from_json(answer)
        order, actor = await changes.lock_for(unit, principal, order_id)
        await _close(unit, order, action, actor, reason, type)
        await idempotency.remember(unit, principal, key, order_to_json(order))
    return await dispatch.after(runtime, order)


async def _close(unit: Unit, order: OrderRecord, action: OrderAction, actor: Actor, reason: str, type: str) -> None:
    """End the order without its goods: stock, rider and money go back."""
    before = await changes.apply(unit, order, action, actor, closed_at=unit.now, close_reason=reason, eta=None)
    former_rider = None
    delivery = order.delivery
    if delivery is not None:
        former_rider = delivery.rider_id
        delivery.state = DeliveryState.CANCELLED
        delivery.offer_expires_at = None
        if former_rider is not None:
            await dispatch.free_rider(unit, former_rider, delivery.id)
            delivery.rider_id = None
    quantities = await payments.quantities(unit, order.id)
    if before is OrderState.PLACED:
        await inventory.release(unit, quantities)
    elif before in (OrderState.PAID, OrderState.ACCEPTED):
        # Later the food exists and cannot be sold again.
        await inventory.restock(unit, quantities)
    await payments.unwind(unit, order, reason)
    await changes.save(unit, order, type, actor, former_rider=former_rider)
    if order.accepted_at is not None:
        await devices.order_called_off(unit, order.store_id, order.id)


# deadlines


async def _expire(runtime: Runtime, order_id: UUID, state: OrderState, reason: str) -> None:
    """Expire the order if it is still in ``state``. Its deadline has passed: the job says so by running."""
    async with transaction(runtime) as unit:
        order = await changes.lock(unit, order_id)
        if order.state is state:
            await _close(unit, order, OrderAction.EXPIRE, Actor.SYSTEM, reason, "order.expired")


async def _payment_deadline(runtime: Runtime, payload: dict[str, Any]) -> None:
    await _expire(runtime, UUID(payload["order"]), OrderState.PLACED, "not paid in time")


async def _accept_deadline(runtime: Runtime, payload: dict[str, Any]) -> None:
    await _expire(runtime, UUID(payload["order"]), OrderState.PAID, "not accepted in time")


async def _complete(runtime: Runtime, payload: dict[str, Any]) -> None:
    async with transaction(runtime) as unit:
        order = await changes.lock(unit, UUID(payload["order"]))
        if order.state is OrderState.DELIVERED:
            await _settle(unit, order, Actor.SYSTEM)


JOBS = {
    "order_payment_deadline": _payment_deadline,
    "order_accept_deadline": _accept_deadline,
    "order_complete": _complete,
}
