"""Fields and actions of riders and deliveries: one service call each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

from core import ids
from core.geo import Point
from core.phones import masked
from models.delivery import LIVE_WITH_RIDER, DeliveryState
from resolvers import ordering
from resolvers.base import Page, action, key, make_page, page_size
from resolvers.context import Context, Info, batched
from resolvers.feeds import admit, follow, poll
from services.delivery import reading, riders, tasks
from services.delivery.reading import Position, RiderRecord
from services.delivery.riders import Fix, LocationReport
from services.errors import AccessEnded, EndReason, InvalidInput, NotFound
from services.feeds import RIDER_OF_ORDER, TASKS, order_in
from services.ordering import reading as orders
from services.ordering.records import DeliveryRecord, OrderRecord
from subscriptions.feeds import ORDER, RIDER_LOCATION, Event
from subscriptions.paging import FeedPage
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
    found = await reading.riders_by_ids(context.runtime, keys)
    return [found.get(k) for k in keys]


async def _load_positions(context: Context, keys: list[UUID]) -> list[Position | Exception | None]:
    riders = await context.loader(_load_riders).load_many(keys)
    return [rider.position if isinstance(rider, RiderRecord) else rider for rider in riders]


def _rider_on_the_job(delivery: DeliveryRecord) -> UUID | None:
    return None if delivery.state is DeliveryState.OFFERED else delivery.rider_id


rider_of = batched(_load_riders, _rider_on_the_job)
offered_rider = batched(_load_riders, attrgetter("rider_id"))
location_of = batched(_load_positions, lambda delivery: delivery.rider_id if delivery.is_live else None)
"""Only while the delivery is live: before and after, where a rider is concerns nobody."""


def offer_of(root: DeliveryRecord) -> Offer | None:
    if root.state is not DeliveryState.OFFERED or root.rider_id is None or root.offer_expires_at is None:
        return None
    return Offer(root.rider_id, root.offer_expires_at)


def phone_of(root: RiderRecord, info: Info) -> str:
    """In full for the rider and the platform; others see the middle digits hidden."""
    principal = info.context.principal
    if principal.rider_id == root.id or principal.administers(root.city_id):
        return root.phone
    return masked(root.phone)


def own_location(root: RiderRecord, info: Info) -> Point | None:
    principal = info.context.principal
    return root.location if principal.rider_id == root.id or principal.administers(root.city_id) else None


async def _load_tasks(context: Context, keys: list[tuple[UUID, UUID, UUID]]) -> list[DeliveryRecord | Exception | None]:
    """What a rider of a city is busy with, for the rider and the city's admins."""
    principal = context.principal
    seen = [task for rider, city, task in keys if principal.rider_id == rider or principal.administers(city)]
    found = dict(zip(seen, await context.loader(_load_deliveries).load_many(seen), strict=True))
    orders = [found.get(task) for _, _, task in keys]
    return [order.delivery if isinstance(order, OrderRecord) else order for order in orders]


async def _load_deliveries(context: Context, keys: list[UUID]) -> list[OrderRecord | None]:
    found = await reading.orders_of_deliveries(context.runtime, keys)
    return [found.get(k) for k in keys]


current_task = batched(
    _load_tasks, lambda rider: rider.active_delivery_id and (rider.id, rider.city_id, rider.active_delivery_id)
)


# queries


async def viewer_rider(context: Context) -> RiderRecord | None:
    return await reading.rider_of(context.runtime, context.principal)


async def my_tasks(context: Context) -> list[DeliveryRecord]:
    rider = await reading.rider_of(context.runtime, context.principal)
    return (await reading.tasks(context.runtime, rider.id))[1]


async def open_deliveries(context: Context, first: int) -> list[DeliveryRecord]:
    return await reading.open_deliveries(context.runtime, context.principal, page_size(first))


async def city_riders(root: Any, info: Info, online_only: bool, first: int, after: str | None) -> Page[RiderRecord]:
    """Riders of a city for its admins. Raises NotFound."""
    if not info.context.principal.administers(root.id):
        raise NotFound(resource="City")
    after_key = None if after is None else key("Rider", after)
    rows = await reading.riders_of_city(info.context.runtime, root.id, online_only, page_size(first) + 1, after_key)
    return make_page(rows, first, lambda row: ids.encode("Rider", row.id), after=after)


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


def rider_tasks(context: Context, after: str | None) -> AsyncIterator[Update[list[DeliveryRecord]]]:
    return follow(context, TASKS, _own_key(context), after)


async def rider_tasks_feed(context: Context, after: str | None, first: int) -> FeedPage[list[DeliveryRecord]]:
    return await poll(context, TASKS, _own_key(context), after, first)


def _own_key(context: Context) -> UUID:
    if context.principal.rider_id is None:
        raise NotFound(resource="Rider")
    return context.principal.rider_id


async def rider_location(context: Context, order: str, min_interval_ms: int) -> AsyncIterator[Update[Sighting]]:
    """Positions of the order's rider from assignment to the end of the delivery.

    Raises NotFound and InvalidInput at first, AccessEnded when the delivery ends.
    """
    if not 0 <= min_interval_ms <= 60_000:
        raise InvalidInput(field="minIntervalMs", reason="must be 0 to 60000")
    admission = await admit(context, RIDER_OF_ORDER, order)
    found = await orders.get(context.runtime, context.principal, admission.key)
    live = _LiveLocation(context, found, timedelta(milliseconds=min_interval_ms))
    try:
        async for update in live.updates():
            yield update
    finally:
        await live.stop()


class _LiveLocation:
    """Merges an order's feed (who rides, until when) with the positions of its rider."""

    def __init__(self, context: Context, order: OrderRecord, min_interval: timedelta) -> None:
        self._context = context
        self._order = order
        self._min_interval = min_interval
        self._latest: asyncio.Queue[Update[Sighting] | BaseException] = asyncio.Queue(maxsize=1)
        self._rider_id: UUID | None = None
        self._positions: asyncio.Task[None] | None = None
        self._orders = asyncio.create_task(self._guarded(self._follow_order()))

    async def updates(self) -> AsyncIterator[Update[Sighting]]:
        while True:
            update = await self._latest.get()
            if isinstance(update, BaseException):
                raise update
            yield update

    async def stop(self) -> None:
        running = [task for task in (self._orders, self._positions) if task is not None]
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            self._replace(error)

    def _replace(self, update: Update[Sighting] | BaseException) -> None:
        """Latest wins: what the reader has not taken yet is replaced."""
        if self._latest.full():
            self._latest.get_nowait()
        self._latest.put_nowait(update)

    async def _follow_order(self) -> None:
        async def snapshot() -> tuple[int, OrderRecord]:
            return await orders.snapshot(self._context.runtime, self._order.id)

        async for update in self._context.tails.follow(ORDER.of(self._order.id), None, snapshot):
            value = update.value
            self._order = order_in(value) if isinstance(value, Event) else value
            delivery = self._order.delivery
            if self._order.closed_at or self._order.delivered_at or self._order.completed_at:
                raise AccessEnded(reason=EndReason.DELIVERY_ENDED)
            rider_id = delivery.rider_id if delivery is not None and delivery.state in LIVE_WITH_RIDER else None
            if rider_id != self._rider_id:
                await self._switch(rider_id)

    async def _switch(self, rider_id: UUID | None) -> None:
        self._rider_id = rider_id
        if self._positions is not None:
            self._positions.cancel()
            self._positions = None
        if rider_id is not None:
            self._positions = asyncio.create_task(self._guarded(self._follow_rider(rider_id)))

    async def _follow_rider(self, rider_id: UUID) -> None:
        # Attached before the row is read: a position reported in between is not missed.
        values = self._context.tails.follow_values(RIDER_LOCATION.of(rider_id), self._min_interval)
        rider = (await reading.riders_by_ids(self._context.runtime, [rider_id])).get(rider_id)
        if rider is not None and rider.position is not None:
            self._replace(self._update(rider.position, UpdateKind.SNAPSHOT))
        async for value in values:
            self._replace(self._update(riders.position_from_json(value), UpdateKind.EVENT))

    def _update(self, position: Position, kind: UpdateKind) -> Update[Sighting]:
        # The newest position is all there is: the cursor only tells two of them apart.
        cursor = f"at.{round(position.recorded_at.timestamp() * 1000):x}"
        return Update(cursor, kind, None, position.recorded_at, None, Sighting(position, self._order.eta))


async def load_rider(context: Context, rider_id: UUID) -> RiderRecord | None:
    """A rider for that rider and the admins of the city."""
    rider = await context.loader(_load_riders).load(rider_id)
    if rider is None:
        return None
    principal = context.principal
    return rider if principal.rider_id == rider.id or principal.administers(rider.city_id) else None


async def load_delivery(context: Context, delivery_id: UUID) -> DeliveryRecord | None:
    """A delivery for whoever may see its order, and for the rider it is offered to."""
    order = await context.loader(_load_deliveries).load(delivery_id)
    if order is None or await ordering.load_order(context, order.id) is None:
        return None
    return order.delivery


NODES: dict[str, Callable[[Context, UUID], Awaitable[object | None]]] = {
    "Rider": load_rider,
    "Delivery": load_delivery,
}
