"""Fields and actions of riders and deliveries: one service call each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from core import ids
from core.geo import Point
from core.phones import masked
from models.delivery import DeliveryState
from resolvers import ordering
from resolvers.base import Page, action, key, make_page, page_size
from resolvers.context import Context, Info, batched, by_arguments
from resolvers.feeds import admit, follow, poll
from services import presence
from services.delivery import nearby, reading, riders, tasks, tracks
from services.delivery.fixes import Fix, LocationReport, Position, instant_of, position_from_json, version_of
from services.delivery.nearby import NearbyRider, RiderSupply
from services.delivery.reading import RiderRecord
from services.delivery.tracks import TrackPoint
from services.errors import AccessEnded, EndReason, InvalidInput, NotFound
from services.feeds import RIDER_OF_ORDER, TASKS, TasksChange
from services.ordering import reading as orders
from services.ordering.records import DeliveryRecord, OrderRecord
from subscriptions.feeds import ORDER, RIDER_LOCATION
from subscriptions.gate import Gate, gated
from subscriptions.paging import FeedPage
from subscriptions.reader import patiently
from subscriptions.updates import Update, UpdateKind


@dataclass(frozen=True, slots=True)
class Offer:
    rider_id: UUID
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where the rider of an order is, and when the order is expected at the door."""

    position: Position
    eta: datetime | None


# fields


async def _load_riders(context: Context, keys: list[UUID]) -> list[RiderRecord | None]:
    found = await reading.riders_by_ids(context.runtime, keys, context.columns)
    return [found.get(k) for k in keys]


async def _load_visible_positions(context: Context, keys: list[UUID]) -> list[Position | None]:
    found = await reading.visible_positions(context.runtime, keys)
    return [found.get(k) for k in keys]


def _rider_on_the_job(delivery: DeliveryRecord) -> UUID | None:
    return None if delivery.state is DeliveryState.OFFERED else delivery.rider_id


rider_of = batched(_load_riders, _rider_on_the_job)
offered_rider = batched(_load_riders, attrgetter("rider_id"))
location_of = batched(_load_visible_positions, lambda delivery: delivery.id if delivery.is_live else None)
"""Only while the delivery is under way, whatever the record says: it may be of an earlier moment."""


def offer_of(root: DeliveryRecord) -> Offer | None:
    if root.state is not DeliveryState.OFFERED or root.rider_id is None or root.offer_expires_at is None:
        return None
    return Offer(root.rider_id, root.offer_expires_at)


def age_of(root: Position, info: Info) -> int:
    """A phone's clock may be ahead of ours."""
    return max(round((info.context.runtime.clock.now() - root.recorded_at).total_seconds()), 0)


def is_stale(root: Position, info: Info) -> bool:
    runtime = info.context.runtime
    return runtime.clock.now() - root.recorded_at > runtime.settings.location_stale_after


async def _tracks(
    context: Context, keys: list[UUID], window: tuple[int, datetime | None]
) -> dict[UUID, list[TrackPoint]]:
    return await tracks.tracks(context.runtime, keys, *window)


_load_tracks = by_arguments(_tracks)


async def track_of(root: DeliveryRecord, info: Info, first: int, after: str | None = None) -> Page[TrackPoint]:
    """The way of a delivery for its rider and the admins of the city. Raises NotFound."""
    principal = info.context.principal
    if not (principal.administers(root.city_id) or (root.rider_id is not None and principal.rider_id == root.rider_id)):
        raise NotFound(resource="Delivery")
    if after is not None and not (after.isdecimal() and len(after) <= 18):
        raise InvalidInput(field="after", reason="is not a cursor of this list")
    since = None if after is None else instant_of(int(after))
    points = await info.context.loader(_load_tracks).load((root.id, (page_size(first) + 1, since)))
    return make_page(points, first, lambda point: str(version_of(point.recorded_at)), after=after)


async def _load_supplies(context: Context, keys: list[UUID]) -> list[RiderSupply]:
    found = await nearby.supply_at_stores(context.runtime, keys)
    return [found[k] for k in keys]


rider_supply = batched(_load_supplies, attrgetter("id"))
"""Of anything with a store's key as ``id``."""


def phone_of(root: RiderRecord, info: Info) -> str:
    """In full for the rider and the platform; others see the middle digits hidden."""
    principal = info.context.principal
    if principal.rider_id == root.id or principal.administers(root.city_id):
        return root.phone
    return masked(root.phone)


def own_location(root: RiderRecord, info: Info) -> Point | None:
    position = own_position(root, info)
    return None if position is None else position.location


def own_position(root: RiderRecord, info: Info) -> Position | None:
    principal = info.context.principal
    return root.position if principal.rider_id == root.id or principal.administers(root.city_id) else None


async def _load_connected(context: Context, riders: list[tuple[UUID, UUID]]) -> list[bool | None]:
    return await presence.riders_connected(context.runtime, context.principal, riders)


is_connected = batched(_load_connected, attrgetter("id", "city_id"))


async def _load_tasks(context: Context, keys: list[tuple[UUID, UUID, UUID]]) -> list[DeliveryRecord | None]:
    """What a rider of a city is busy with, for the rider and the city's admins."""
    principal = context.principal
    seen = [task for rider, city, task in keys if principal.rider_id == rider or principal.administers(city)]
    found = await reading.by_ids(context.runtime, seen, context.columns) if seen else {}
    return [found.get(task) for _, _, task in keys]


current_task = batched(
    _load_tasks, lambda rider: rider.active_delivery_id and (rider.id, rider.city_id, rider.active_delivery_id)
)


# queries


async def viewer_rider(context: Context) -> RiderRecord | None:
    return await reading.rider_of(context.runtime, context.principal, context.columns)


async def my_tasks(context: Context) -> list[DeliveryRecord]:
    return await reading.tasks_now(context.runtime, context.principal, context.columns)


async def open_deliveries(context: Context, first: int) -> list[DeliveryRecord]:
    return await reading.open_deliveries(context.runtime, context.principal, page_size(first), context.columns)


async def _riders_of_cities(
    context: Context, keys: list[UUID], window: tuple[bool, int, UUID | None]
) -> dict[UUID, list[RiderRecord]]:
    return await reading.riders_of_cities(context.runtime, keys, *window, context.columns)


_load_riders_of_cities = by_arguments(_riders_of_cities)


async def city_riders(root: Any, info: Info, online_only: bool, first: int, after: str | None) -> Page[RiderRecord]:
    """Riders of a city for its admins. Raises NotFound."""
    if not info.context.principal.administers(root.id):
        raise NotFound(resource="City")
    after_key = None if after is None else key("Rider", after)
    window = online_only, page_size(first) + 1, after_key
    rows = await info.context.loader(_load_riders_of_cities).load((root.id, window))
    return make_page(rows, first, lambda row: ids.encode("Rider", row.id), after=after)


async def riders_near(
    root: Any, info: Info, location: Point, radius_metres: int, free_only: bool, first: int
) -> list[NearbyRider]:
    """Riders of a city around a place, for its admins. Raises NotFound, InvalidInput."""
    context = info.context
    return await nearby.riders_near(
        context.runtime,
        context.principal,
        root.id,
        location,
        radius_metres,
        free_only,
        page_size(first),
        context.columns,
    )


# actions


@action
async def go_online(context: Context, location: Point) -> RiderRecord:
    return await riders.go_online(context.runtime, context.principal, location)


@action
async def go_offline(context: Context) -> RiderRecord:
    return await riders.go_offline(context.runtime, context.principal)


@action
async def report_location(context: Context, fixes: list[Fix]) -> LocationReport:
    return await riders.report(context.runtime, context.principal, fixes)


Task = Callable[..., Awaitable[OrderRecord]]


@action
async def task(context: Context, service: Task, delivery: str) -> DeliveryRecord:
    """An action of one delivery by its rider: ``service(runtime, principal, delivery key)``."""
    order = await service(context.runtime, context.principal, key("Delivery", delivery))
    assert order.delivery is not None
    return order.delivery


async def accept_offer(context: Context, delivery: str) -> object:
    return await task(context, tasks.accept_offer, delivery)


async def decline_offer(context: Context, delivery: str) -> object:
    return await task(context, tasks.decline_offer, delivery)


async def grab_delivery(context: Context, delivery: str) -> object:
    return await task(context, tasks.grab, delivery)


async def arrive_at_store(context: Context, delivery: str) -> object:
    return await task(context, tasks.arrive, delivery)


async def pick_up_delivery(context: Context, delivery: str) -> object:
    return await task(context, tasks.pick_up, delivery)


async def complete_delivery(context: Context, delivery: str) -> object:
    return await task(context, tasks.complete, delivery)


# feeds


def rider_tasks(context: Context, after: str | None) -> AsyncIterator[Update[TasksChange]]:
    return follow(context, TASKS, _own_key(context), after)


async def rider_tasks_feed(context: Context, after: str | None, first: int) -> FeedPage[TasksChange]:
    return await poll(context, TASKS, _own_key(context), after, first)


def _own_key(context: Context) -> UUID:
    if context.principal.rider_id is None:
        raise NotFound(resource="Rider")
    return context.principal.rider_id


async def rider_location(context: Context, order: str, min_interval_ms: int) -> AsyncIterator[Update[Sighting]]:
    """Positions of the order's rider from assignment to the end of the delivery.

    Only the newest counts. Nothing is shown from the moment that the order is known to have changed until it has been
    read who rides now. Raises NotFound and InvalidInput at first, AccessEnded when the delivery ends.
    """
    if not 0 <= min_interval_ms <= 60_000:
        raise InvalidInput(field="minIntervalMs", reason="must be 0 to 60000")
    order_id = (await admit(context, RIDER_OF_ORDER, order)).key
    loop = asyncio.get_running_loop()
    read_order = patiently(lambda: orders.snapshot(context.runtime, order_id))
    rider: UUID | None = None
    eta: datetime | None = None
    shown: Position | None = None
    earliest = 0.0
    with gated(context.tails, RIDER_LOCATION.of(order_id), ORDER.of(order_id)) as gate:
        while True:
            await gate.wait(earliest)
            if gate.moved:
                gate.moved = False
                gate.position, found = await read_order()
                if found.closed_at or found.delivered_at or found.completed_at:
                    raise AccessEnded(reason=EndReason.DELIVERY_ENDED)
                delivery, eta = found.delivery, found.eta
                now = delivery.rider_id if delivery is not None and delivery.is_live else None
                if now != rider:
                    rider, shown, gate.suspect = now, None, True
                continue
            position = await _next_position(context, gate, rider)
            if position is None or (shown is not None and position.recorded_at <= shown.recorded_at):
                continue
            # The newest position is all there is: the cursor only tells two of them apart.
            cursor = f"at.{version_of(position.recorded_at):x}"
            kind = UpdateKind.SNAPSHOT if shown is None else UpdateKind.EVENT
            shown, earliest = position, loop.time() + min_interval_ms / 1000
            yield Update(cursor, kind, None, position.recorded_at, None, Sighting(position, eta))


async def _next_position(context: Context, gate: Gate, rider: UUID | None) -> Position | None:
    """The signalled position, if it is of that rider; the stored one when signals cannot be relied on."""
    value, gate.value = gate.value, None
    if rider is None:
        gate.suspect = False
        return None
    if not gate.suspect:
        return None if value is None or value["rider"] != str(rider) else position_from_json(value)
    gate.suspect = False
    riders_now = await patiently(lambda: reading.riders_by_ids(context.runtime, [rider]))()
    return riders_now[rider].position if rider in riders_now else None


async def load_rider(context: Context, rider_id: UUID) -> RiderRecord | None:
    """A rider for that rider and the admins of the city."""
    rider = await context.loader(_load_riders).load(rider_id)
    if rider is None:
        return None
    principal = context.principal
    return rider if principal.rider_id == rider.id or principal.administers(rider.city_id) else None


async def load_delivery(context: Context, delivery_id: UUID) -> DeliveryRecord | None:
    """A delivery for whoever may see its order, and for the rider it is offered to."""
    delivery = (await reading.by_ids(context.runtime, [delivery_id])).get(delivery_id)
    if delivery is None or await ordering.load_order(context, delivery.order_id) is None:
        return None
    return delivery


NODES: dict[str, Callable[[Context, UUID], Awaitable[object | None]]] = {
    "Rider": load_rider,
    "Delivery": load_delivery,
}
