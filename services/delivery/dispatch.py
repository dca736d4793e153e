"""Which rider is offered which delivery.

:func:`run` matches what waits in a city with who is free, in a transaction of its own after the change that made
a match possible has committed; :func:`sweep`, every minute, repeats it should the process have died in between.
Runs of one city are serialised by an advisory lock, so two of them never look past each other's half-made match.
The policy is :func:`choose`, which sees all free riders for one delivery: a better dispatcher goes there.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from core.geo import Point
from models.delivery import DeliveryState
from models.ordering import OrderState
from services.delivery import travel
from services.ordering import changes, records
from services.ordering.machine import Actor
from services.ordering.records import DeliveryRecord, OrderRecord
from services.runtime import Runtime
from services.unit import Unit, transaction

SEARCH_RADIUS_M = 20_000
"""Riders farther from the store than this are not offered a delivery."""

MAX_OFFERS_PER_RUN = 20

_LOCK_SPACE = 0x68747364  # any constant of our own: advisory locks share one number space


async def after(runtime: Runtime, order: OrderRecord) -> OrderRecord:
    """Dispatch in the city after a committed change of ``order``; the order as it is then."""
    if order.delivery is None:
        return order
    await run(runtime, order.city_id)
    row = await runtime.database.fetchrow(f"{records.ORDER_SELECT} WHERE o.id = $1", order.id)
    return order if row is None else records.order_from_row(row)


async def run(runtime: Runtime, city_id: UUID) -> int:
    """Offer waiting deliveries of the city, oldest first, to free riders; the number of offers made."""
    made = 0
    while made < MAX_OFFERS_PER_RUN and await _waiting(runtime, city_id) and await _offer_one(runtime, city_id):
        made += 1
    return made


async def _waiting(runtime: Runtime, city_id: UUID) -> bool:
    """Cheap look before locking: is there both a delivery and a rider to match?"""
    return await runtime.database.fetchval(
        """SELECT EXISTS (SELECT FROM delivery WHERE city_id = $1 AND state = 'SEARCHING')
              AND EXISTS (SELECT FROM rider WHERE city_id = $1 AND online AND active_delivery_id IS NULL)""",
        city_id,
    )


async def _offer_one(runtime: Runtime, city_id: UUID) -> bool:
    async with transaction(runtime) as unit:
        await unit.sql.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", _LOCK_SPACE, str(city_id))
        row = await unit.sql.fetchrow(
            """SELECT d.order_id, r.id AS rider_id, r.latitude, r.longitude
               FROM delivery d CROSS JOIN LATERAL (
                   SELECT id, latitude, longitude FROM rider
                   WHERE city_id = $1 AND online AND active_delivery_id IS NULL AND latitude IS NOT NULL
                     AND earth_box(ll_to_earth(d.pickup_latitude, d.pickup_longitude), $2)
                         @> ll_to_earth(latitude, longitude)
                     AND NOT d.declined_by ? rider.id::text
                   ORDER BY earth_distance(ll_to_earth(latitude, longitude),
                                           ll_to_earth(d.pickup_latitude, d.pickup_longitude)), id
                   LIMIT 1
               ) AS r
               WHERE d.city_id = $1 AND d.state = 'SEARCHING' ORDER BY d.created_at, d.id LIMIT 1""",
            city_id,
            SEARCH_RADIUS_M,
        )
        if row is None:
            return False
        order = await changes.lock(unit, row["order_id"])
        delivery = order.delivery
        if delivery is None or delivery.state is not DeliveryState.SEARCHING:
            return True  # changed while we waited for its lock: look again
        if not await take_rider(unit, row["rider_id"], delivery.id):
            return True
        offer(unit, order, delivery, row["rider_id"], Point(row["latitude"], row["longitude"]))
        await changes.save(unit, order, "delivery.offered", Actor.SYSTEM)
        return True


def offer(unit: Unit, order: OrderRecord, delivery: DeliveryRecord, rider_id: UUID, rider_at: Point) -> None:
    """Put the delivery before the rider for a while."""
    settings = unit.runtime.settings
    delivery.state = DeliveryState.OFFERED
    delivery.rider_id = rider_id
    delivery.offer_expires_at = unit.now + settings.offer_ttl
    delivery.pickup_eta = travel.pickup_eta(settings, delivery, rider_at, unit.now)
    refresh_eta(unit, order, delivery)
    unit.enqueue(
        "offer_deadline", {"order": order.id, "rider": rider_id, "until": delivery.offer_expires_at},
        at=delivery.offer_expires_at,
    )  # fmt: skip


def refresh_eta(unit: Unit, order: OrderRecord, delivery: DeliveryRecord) -> None:
    """Recompute when the order reaches the door from what is known now."""
    ready_at = order.ready_at or order.promised_ready_at or unit.now
    delivery.eta = order.eta = travel.delivery_eta(unit.runtime.settings, delivery, ready_at, unit.now)


async def take_rider(unit: Unit, rider_id: UUID, delivery_id: UUID) -> bool:
    """Bind a free online rider to the delivery; False when the rider is not free any more."""
    return (
        await unit.sql.execute(
            "UPDATE rider SET active_delivery_id = $2 WHERE id = $1 AND online AND active_delivery_id IS NULL",
            rider_id,
            delivery_id,
        )
        == 1
    )


async def free_rider(unit: Unit, rider_id: UUID, delivery_id: UUID) -> None:
    """The rider is done with the delivery, one way or the other."""
    await unit.sql.execute(
        "UPDATE rider SET active_delivery_id = NULL WHERE id = $1 AND active_delivery_id = $2", rider_id, delivery_id
    )


async def withdraw(unit: Unit, order: OrderRecord, type: str, actor: Actor) -> None:
    """Take the offer back from its rider, who is not asked again for this delivery, and go on searching."""
    delivery = order.delivery
    assert delivery is not None and delivery.rider_id is not None
    rider_id = delivery.rider_id
    await free_rider(unit, rider_id, delivery.id)
    delivery.state = DeliveryState.SEARCHING
    delivery.rider_id = delivery.offer_expires_at = delivery.pickup_eta = None
    refresh_eta(unit, order, delivery)
    await changes.save(unit, order, type, actor, former_rider=rider_id)
    await unit.sql.execute(
        "UPDATE delivery SET declined_by = declined_by || to_jsonb($2::text) WHERE id = $1", delivery.id, str(rider_id)
    )


# jobs


async def sweep(runtime: Runtime) -> None:
    """Dispatch wherever something waits: finds what a process that died right after a commit left undone."""
    for row in await runtime.database.fetch("SELECT DISTINCT city_id FROM delivery WHERE state = 'SEARCHING'"):
        await run(runtime, row["city_id"])


async def _offer_deadline(runtime: Runtime, payload: dict[str, Any]) -> None:
    async with transaction(runtime) as unit:
        order = await changes.lock(unit, UUID(payload["order"]))
        delivery = order.delivery
        if (
            delivery is None
            or order.state is OrderState.CANCELLED
            or delivery.state is not DeliveryState.OFFERED
            or delivery.rider_id != UUID(payload["rider"])
            or delivery.offer_expires_at is None
            or delivery.offer_expires_at.isoformat() != payload["until"]
        ):
            return
        await withdraw(unit, order, "delivery.offer_expired", Actor.SYSTEM)
    await run(runtime, order.city_id)


JOBS = {"offer_deadline": _offer_deadline}
