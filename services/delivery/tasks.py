"""What riders do with deliveries. The table says what may follow what; everything else is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final
from uuid import UUID

from auth.principals import Principal
from models.delivery import DeliveryState
from models.ordering import OrderAction
from services.delivery import dispatch, travel
from services.delivery.reading import RiderRecord, rider_from_row, rider_of
from services.errors import (
    DeliveryActionNotAllowed,
    DeliveryTaken,
    NotFound,
    OfferExpired,
    RiderBusy,
    RiderOffline,
)
from services.ordering import changes
from services.ordering.machine import Actor
from services.ordering.records import DeliveryRecord, OrderRecord
from services.runtime import Runtime
from services.unit import Unit, transaction


class DeliveryAction(StrEnum):
    ACCEPT_OFFER = "ACCEPT_OFFER"
    DECLINE_OFFER = "DECLINE_OFFER"
    GRAB = "GRAB"
    ARRIVE = "ARRIVE"
    PICK_UP = "PICK_UP"
    COMPLETE = "COMPLETE"


S, Act = DeliveryState, DeliveryAction

TRANSITIONS: Final[dict[tuple[DeliveryState, DeliveryAction], DeliveryState]] = {
    (S.OFFERED, Act.ACCEPT_OFFER): S.ASSIGNED,
    (S.OFFERED, Act.DECLINE_OFFER): S.SEARCHING,
    (S.SEARCHING, Act.GRAB): S.ASSIGNED,
    (S.ASSIGNED, Act.ARRIVE): S.AT_STORE,
    (S.AT_STORE, Act.PICK_UP): S.PICKED_UP,
    (S.PICKED_UP, Act.COMPLETE): S.DELIVERED,
}
"""(state, action) → next state. DELIVERED and CANCELLED are final; cancelling is the order's business."""


def next_state(delivery: DeliveryRecord, action: DeliveryAction) -> DeliveryState:
    """Raises DeliveryActionNotAllowed."""
    following = TRANSITIONS.get((delivery.state, action))
    if following is None:
        raise DeliveryActionNotAllowed(delivery=delivery.id, state=delivery.state, action=action)
    return following


async def _lock(unit: Unit, delivery_id: UUID) -> tuple[OrderRecord, DeliveryRecord]:
    order_id = await unit.sql.fetchval("SELECT order_id FROM delivery WHERE id = $1", delivery_id)
    if order_id is None:
        raise NotFound(resource="Delivery")
    order = await changes.lock(unit, order_id)
    assert order.delivery is not None
    return order, order.delivery


async def _lock_mine(unit: Unit, principal: Principal, delivery_id: UUID) -> tuple[OrderRecord, DeliveryRecord]:
    """The delivery, locked, if it is offered to or carried out by this rider. Raises NotFound."""
    order, delivery = await _lock(unit, delivery_id)
    if principal.rider_id is None or delivery.rider_id != principal.rider_id:
        raise NotFound(resource="Delivery")
    return order, delivery


Step = Callable[[Unit, OrderRecord, DeliveryRecord], Awaitable[None]]


async def _step(
    runtime: Runtime, principal: Principal, delivery_id: UUID, action: DeliveryAction, type: str, step: Step
) -> OrderRecord:
    """One transition by the rider of the delivery, with what it entails."""
    async with transaction(runtime) as unit:
        order, delivery = await _lock_mine(unit, principal, delivery_id)
        following = next_state(delivery, action)
        await step(unit, order, delivery)
        delivery.state = following
        return await changes.save(unit, order, type, Actor.RIDER)


async def accept_offer(runtime: Runtime, principal: Principal, delivery_id: UUID) -> OrderRecord:
    """Take the job. Raises NotFound (never or no longer offered to this rider), OfferExpired,
    DeliveryActionNotAllowed."""

    async def step(unit: Unit, order: OrderRecord, delivery: DeliveryRecord) -> None:
        if delivery.offer_expires_at is not None and unit.now > delivery.offer_expires_at:
            raise OfferExpired(expired_at=delivery.offer_expires_at)
        delivery.offer_expires_at = None

    return await _step(runtime, principal, delivery_id, Act.ACCEPT_OFFER, "delivery.assigned", step)


async def decline_offer(runtime: Runtime, principal: Principal, delivery_id: UUID) -> OrderRecord:
    """Leave the job to others. Raises NotFound, DeliveryActionNotAllowed."""
    async with transaction(runtime) as unit:
        order, delivery = await _lock_mine(unit, principal, delivery_id)
        next_state(delivery, Act.DECLINE_OFFER)
        await dispatch.withdraw(unit, order, "delivery.declined", Actor.RIDER)
    return await dispatch.after(runtime, order)


async def decline_if_offered(runtime: Runtime, principal: Principal, delivery_id: UUID) -> bool:
    """Decline what the rider has not accepted yet; False when the rider is already on the job."""
    try:
        await decline_offer(runtime, principal, delivery_id)
    except DeliveryActionNotAllowed:
        return False
    except NotFound:
        return True
    return True


async def grab(runtime: Runtime, principal: Principal, delivery_id: UUID) -> OrderRecord:
    """Take a delivery that still looks for a rider. Raises NotFound, RiderOffline, RiderBusy, DeliveryTaken."""
    rider = await rider_of(runtime, principal)
    async with transaction(runtime) as unit:
        order, delivery = await _lock(unit, delivery_id)
        if delivery.city_id != rider.city_id:
            raise NotFound(resource="Delivery")
        if delivery.state is not DeliveryState.SEARCHING:
            raise DeliveryTaken(delivery=delivery.id)
        if not await dispatch.take_rider(unit, rider.id, delivery.id):
            raise await _why_not_free(unit, rider.id)
        delivery.state = next_state(delivery, Act.GRAB)
        delivery.rider_id = rider.id
        if rider.location is not None:
            delivery.pickup_eta = travel.pickup_eta(runtime.settings, delivery, rider.location, unit.now)
        dispatch.refresh_eta(unit, order, delivery)
        return await changes.save(unit, order, "delivery.assigned", Actor.RIDER)


async def _why_not_free(unit: Unit, rider_id: UUID) -> RiderOffline | RiderBusy:
    row = await unit.sql.fetchrow("SELECT * FROM rider WHERE id = $1", rider_id)
    rider: RiderRecord = rider_from_row(row)
    if rider.active_delivery_id is not None:
        return RiderBusy(delivery=rider.active_delivery_id)
    return RiderOffline()


async def arrive(runtime: Runtime, principal: Principal, delivery_id: UUID) -> OrderRecord:
    """The rider is at the store. Raises NotFound, DeliveryActionNotAllowed."""

    async def step(unit: Unit, order: OrderRecord, delivery: DeliveryRecord) -> None:
        delivery.pickup_eta = unit.now
        dispatch.refresh_eta(unit, order, delivery)

    return await _step(runtime, principal, delivery_id, Act.ARRIVE, "delivery.at_store", step)


async def pick_up(runtime: Runtime, principal: Principal, delivery_id: UUID) -> OrderRecord:
    """The rider has the finished food. Raises NotFound, DeliveryActionNotAllowed, OrderActionNotAllowed (not ready)."""

    async def step(unit: Unit, order: OrderRecord, delivery: DeliveryRecord) -> None:
        await changes.apply(unit, order, OrderAction.PICK_UP, Actor.RIDER, picked_up_at=unit.now)
        settings = unit.runtime.settings
        delivery.eta = order.eta = unit.now + travel.ride(settings, delivery.distance_m) + travel.handling(settings)

    return await _step(runtime, principal, delivery_id, Act.PICK_UP, "order.picked_up", step)


async def complete(runtime: Runtime, principal: Principal, delivery_id: UUID) -> OrderRecord:
    """The consumer has it; the rider is free for the next job. Raises NotFound, DeliveryActionNotAllowed."""

    async def step(unit: Unit, order: OrderRecord, delivery: DeliveryRecord) -> None:
        await changes.apply(unit, order, OrderAction.DELIVER, Actor.RIDER, delivered_at=unit.now)
        delivery.eta = order.eta = unit.now
        assert delivery.rider_id is not None
        await dispatch.free_rider(unit, delivery.rider_id, delivery.id)
        unit.enqueue("order_complete", {"order": order.id}, at=unit.now + unit.runtime.settings.complete_after)

    order = await _step(runtime, principal, delivery_id, Act.COMPLETE, "order.delivered", step)
    await dispatch.run(runtime, order.city_id)
    return order
