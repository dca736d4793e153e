"""Riders and deliveries as they are now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from auth.principals import Principal
from core.geo import Point
from models.delivery import LIVE_WITH_RIDER, DeliveryState
from services.columns import ALL, Chosen, Columns, Shape
from services.delivery.fixes import Position
from services.errors import NotFound
from services.ordering.records import DeliveryRecord, deliveries
from services.pages import of_each
from services.runtime import Runtime
from subscriptions.feeds import RIDER_TASKS


@dataclass(slots=True)
class RiderRecord:
    """One row of ``rider``."""

    id: UUID
    person_id: UUID
    city_id: UUID
    name: str
    phone: str
    online: bool
    active_delivery_id: UUID | None
    latitude: float | None
    longitude: float | None
    accuracy_m: float | None
    heading: float | None
    speed: float | None
    located_at: datetime | None

    @property
    def location(self) -> Point | None:
        if self.latitude is None or self.longitude is None:
            return None
        return Point(self.latitude, self.longitude)

    @property
    def position(self) -> Position | None:
        if self.located_at is None or self.location is None:
            return None
        return Position(self.location, self.located_at, self.accuracy_m, self.heading, self.speed)

    def move(self, to: Position) -> None:
        """Be where a newer position says; the row is written now and then only."""
        if self.located_at is None or to.recorded_at > self.located_at:
            self.latitude, self.longitude = to.location.latitude, to.location.longitude
            self.located_at = to.recorded_at
            self.accuracy_m, self.heading, self.speed = to.accuracy_metres, to.heading, to.speed


_PLACE: Final = ("latitude", "longitude", "located_at")
_RIDERS: Final = Shape(
    RiderRecord,
    "r",
    always=("id", "city_id"),
    derived={"location": _PLACE, "position": (*_PLACE, "accuracy_m", "heading", "speed")},
)


def placed(columns: Columns) -> Chosen[RiderRecord]:
    """What is wanted of riders, and where they are."""
    wanted = columns.of(RiderRecord)
    return _RIDERS.choose(None if wanted is None else wanted | {"location"})


TASK_STATES: Final = frozenset({DeliveryState.OFFERED, *LIVE_WITH_RIDER})
"""States in which a delivery is a task of its ``rider_id``."""


def rider_from_row(row: Any) -> RiderRecord:
    return RiderRecord(*[row[c] for c in RiderRecord.__slots__])


async def located(
    runtime: Runtime, rows: Sequence[Any], chosen: Chosen[RiderRecord] | None = None
) -> list[RiderRecord]:
    """Riders of rows, where they are now; of the columns ``chosen``, in which where they are may not be asked for."""
    riders = [rider_from_row(row) if chosen is None else chosen.record(row[: len(chosen.names)]) for row in rows]
    if chosen is not None and "located_at" not in chosen.names:
        return riders
    live = await runtime.locations.newest(rider.id for rider in riders)
    for rider in riders:
        if rider.id in live:
            rider.move(live[rider.id])
    return riders


async def riders_by_ids(runtime: Runtime, ids: Sequence[UUID], columns: Columns = ALL) -> dict[UUID, RiderRecord]:
    """Riders by key, without any check of who asks."""
    chosen = _RIDERS.choose(columns.of(RiderRecord))
    rows = await runtime.database.fetch(f"SELECT {chosen.sql} FROM rider r WHERE r.id = ANY($1::uuid[])", list(ids))
    return {rider.id: rider for rider in await located(runtime, rows, chosen)}


async def rider_of(runtime: Runtime, principal: Principal, columns: Columns = ALL) -> RiderRecord:
    """The rider behind a rider principal. Raises NotFound."""
    found = {} if principal.rider_id is None else await riders_by_ids(runtime, [principal.rider_id], columns)
    if not found:
        raise NotFound(resource="Rider")
    return next(iter(found.values()))


async def visible_positions(runtime: Runtime, delivery_ids: Sequence[UUID]) -> dict[UUID, Position]:
    """Where the riders of those of the deliveries are that are under way *now*, whatever state a record of one is of.

    Before and after, where a rider is concerns nobody who is party to the delivery.
    """
    rows = await runtime.database.fetch(
        f"""SELECT d.id AS live_delivery_id, {", ".join(f"r.{c}" for c in RiderRecord.__slots__)}
            FROM delivery d JOIN rider r ON r.id = d.rider_id
            WHERE d.id = ANY($1::uuid[]) AND d.state = ANY($2::text[])""",
        list(delivery_ids),
        list(LIVE_WITH_RIDER),
    )
    riders = await located(runtime, rows)
    return {
        row["live_delivery_id"]: rider.position
        for row, rider in zip(rows, riders, strict=True)
        if rider.position is not None
    }


async def riders_of_city(
    runtime: Runtime, city_id: UUID, online_only: bool = False, limit: int = 2_000, after: UUID | None = None
) -> list[RiderRecord]:
    """:func:`riders_of_cities` of one city."""
    return (await riders_of_cities(runtime, [city_id], online_only, limit, after))[city_id]


async def riders_of_cities(
    runtime: Runtime, city_ids: Sequence[UUID], online_only: bool, limit: int, after: UUID | None,
    columns: Columns = ALL,
) -> dict[UUID, list[RiderRecord]]:  # fmt: skip
    """Riders of each city in the order of their keys, at most ``limit`` with keys above ``after``."""
    chosen = _RIDERS.choose(columns.of(RiderRecord))
    page = f"""SELECT {chosen.sql} FROM rider r WHERE r.city_id = k.key AND (r.online OR NOT $2)
        AND ($3::uuid IS NULL OR r.id > $3) ORDER BY r.id LIMIT $4"""
    found = await of_each(runtime, city_ids, "uuid", page, "page.id", online_only, after, limit)
    riders: dict[UUID, list[RiderRecord]] = {city_id: [] for city_id in city_ids}
    for rider in await located(runtime, [row for rows in found.values() for row in rows], chosen):
        riders[rider.city_id].append(rider)
    return riders


async def by_ids(runtime: Runtime, ids: Sequence[UUID], columns: Columns = ALL) -> dict[UUID, DeliveryRecord]:
    """Deliveries by key, without any check of who asks."""
    select = deliveries(columns)
    rows = await runtime.database.fetch(f"{select.sql} WHERE d.id = ANY($1::uuid[])", list(ids))
    return {delivery.id: delivery for delivery in map(select.record, rows)}


async def live_of_city(runtime: Runtime, city_id: UUID, columns: Columns = ALL) -> list[DeliveryRecord]:
    """Deliveries of the city that are waiting for a rider or under way."""
    select = deliveries(columns)
    rows = await runtime.database.fetch(
        f"""{select.sql} WHERE d.city_id = $1
            AND d.state IN ('SEARCHING', 'OFFERED', 'ASSIGNED', 'AT_STORE', 'PICKED_UP') ORDER BY d.id""",
        city_id,
    )
    return list(map(select.record, rows))


async def tasks(runtime: Runtime, rider_id: UUID) -> tuple[int, list[DeliveryRecord]]:
    """What the rider is offered or carries out, with the offset of the rider's feed at the same instant."""
    select = deliveries()
    rows = await runtime.database.fetch(
        f"""SELECT t.*, coalesce((SELECT top FROM feed_head WHERE feed = $2), 0) AS top
            FROM (SELECT 1) AS one LEFT JOIN (
                {select.sql} WHERE d.rider_id = $1 AND d.state = ANY($3::text[])
            ) AS t ON true ORDER BY t.d_id""",
        rider_id,
        RIDER_TASKS.of(rider_id),
        list(TASK_STATES),
    )
    return rows[0]["top"], [select.record(row) for row in rows if row["d_id"] is not None]


async def tasks_now(runtime: Runtime, principal: Principal, columns: Columns = ALL) -> list[DeliveryRecord]:
    """What the rider is offered or carries out. Raises NotFound for a principal who is no rider."""
    if principal.rider_id is None:
        raise NotFound(resource="Rider")
    select = deliveries(columns)
    rows = await runtime.database.fetch(
        f"{select.sql} WHERE d.rider_id = $1 AND d.state = ANY($2::text[]) ORDER BY d.id",
        principal.rider_id,
        list(TASK_STATES),
    )
    return list(map(select.record, rows))


async def open_deliveries(
    runtime: Runtime, principal: Principal, limit: int, columns: Columns = ALL
) -> list[DeliveryRecord]:
    """Deliveries without a rider in the rider's city, the nearest store first."""
    rider = await rider_of(runtime, principal)
    select = deliveries(columns)
    rows = await runtime.database.fetch(
        f"""{select.sql} WHERE d.city_id = $1 AND d.state = 'SEARCHING'
            ORDER BY earth_distance(ll_to_earth(d.pickup_latitude, d.pickup_longitude), ll_to_earth($2, $3)), d.id
            LIMIT $4""",
        rider.city_id,
        rider.latitude or 0.0,
        rider.longitude or 0.0,
        limit,
    )
    return list(map(select.record, rows))
