"""What is going on in a city: the figures and the live map that its admins watch.

"Today" is the city's local calendar day, and an order belongs to the day it was placed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import orjson

from auth.principals import Principal
from core.money import Money
from models.database import Record
from models.ordering import OrderState
from services import delivery, merchants, presence
from services.columns import ALL, Columns
from services.delivery.reading import RiderRecord
from services.errors import NotFound
from services.merchants import StoreRecord
from services.merchants.business_day import business_date_sql
from services.merchants.hours import open_now_sql
from services.ordering.records import DeliveryRecord
from services.pages import of_each
from services.runtime import Runtime

MAX_STORES: Final = 5_000
"""Stores that the map of a city shows at most."""


@dataclass(frozen=True, slots=True)
class OrderStateCount:
    state: OrderState
    count: int


@dataclass(frozen=True, slots=True)
class CityOverview:
    """Figures of one city at one instant.

    ``orders_by_state`` counts today's orders in every state, in the order of the states, and sums to
    ``orders_today``. ``active_orders``: paid and not yet handed over, of any day. ``riders_busy``: online with an
    offer or a delivery. ``deliveries_waiting``: without a rider who accepted. ``stores_open``: OPEN by their staff
    and within their hours. ``gross_today``: totals of today's orders that were paid and neither rejected nor
    cancelled, before partial refunds. Click-to-door is ``delivered_at − placed_at`` of today's delivered deliveries,
    as mean and 90th percentile (linear interpolation), null without any. ``rider_connections`` is some seconds old.
    """

    city_id: UUID
    at: datetime
    orders_by_state: list[OrderStateCount]
    orders_today: int
    active_orders: int
    riders_online: int
    riders_busy: int
    deliveries_waiting: int
    stores_open: int
    queue_waiting: int
    gross_today: Money
    click_to_door_mean_seconds: int | None
    click_to_door_p90_seconds: int | None
    rider_connections: int


_OVERVIEW: Final = f"""
WITH here AS (
    SELECT c.id, c.currency, now.at,
           date_trunc('day', now.at AT TIME ZONE c.timezone) AT TIME ZONE c.timezone AS midnight
    FROM city c, (SELECT $2::timestamptz AS at) now WHERE c.id = k.key
), today AS MATERIALIZED (
    SELECT o.state, o.total, o.paid_at,
           CASE WHEN o.mode = 'DELIVERY' THEN extract(epoch FROM o.delivered_at - o.placed_at)::float8 END AS took
    FROM here JOIN "order" o ON o.city_id = here.id AND o.placed_at >= here.midnight
)
SELECT here.currency, orders.*, riders.*,
    (SELECT coalesce(jsonb_object_agg(s.state, s.n), '{{}}')
     FROM (SELECT state, count(*) AS n FROM today GROUP BY state) s) AS by_state,
    (SELECT count(*) FROM "order" o
     WHERE o.city_id = k.key AND o.state IN ('PAID', 'ACCEPTED', 'PREPARING', 'READY', 'PICKED_UP')) AS active,
    (SELECT count(*) FROM delivery d WHERE d.city_id = k.key AND d.state IN ('SEARCHING', 'OFFERED')) AS waiting,
    (SELECT count(*) FROM store s
     WHERE s.city_id = k.key AND s.status = 'OPEN' AND {open_now_sql("s", "here.at")}) AS open,
    (SELECT count(*) FROM store s JOIN queue_ticket t ON t.store_id = s.id
     WHERE s.city_id = k.key AND t.state = 'WAITING'
       AND t.business_date = {business_date_sql("here.at", "s.timezone")}) AS queued
FROM here,
    LATERAL (
        SELECT count(*) AS placed,
               coalesce(sum(total) FILTER (
                   WHERE paid_at IS NOT NULL AND state NOT IN ('REJECTED', 'CANCELLED', 'EXPIRED')
               ), 0)::bigint AS gross,
               avg(took) AS mean, percentile_cont(0.9) WITHIN GROUP (ORDER BY took) AS p90
        FROM today
    ) orders,
    LATERAL (
        SELECT count(*) AS online, count(active_delivery_id) AS busy FROM rider WHERE city_id = k.key AND online
    ) riders
"""


def require_admin(principal: Principal, city_id: UUID) -> None:
    """Raises NotFound unless the principal administers the city."""
    if not principal.administers(city_id):
        raise NotFound(resource="City")


async def overview(runtime: Runtime, principal: Principal, city_id: UUID) -> CityOverview:
    """The figures now, for the city's admins. Raises NotFound."""
    require_admin(principal, city_id)
    found = await overviews(runtime, [city_id])
    if city_id not in found:
        raise NotFound(resource="City")
    return found[city_id]


async def overviews(runtime: Runtime, city_ids: Sequence[UUID]) -> dict[UUID, CityOverview]:
    """The figures of each city that exists, in one SQL statement, without any check of who asks."""
    at = runtime.clock.now()
    found = await of_each(runtime, city_ids, "uuid", _OVERVIEW, "k.place", at)
    return {city_id: await _overview(runtime, city_id, at, rows[0]) for city_id, rows in found.items() if rows}


async def _overview(runtime: Runtime, city_id: UUID, at: datetime, row: Record) -> CityOverview:
    by_state: dict[str, int] = orjson.loads(row["by_state"])
    mean, p90 = row["mean"], row["p90"]
    return CityOverview(
        city_id=city_id,
        at=at,
        orders_by_state=[OrderStateCount(state, by_state.get(state, 0)) for state in OrderState],
        orders_today=row["placed"],
        active_orders=row["active"],
        riders_online=row["online"],
        riders_busy=row["busy"],
        deliveries_waiting=row["waiting"],
        stores_open=row["open"],
        queue_waiting=row["queued"],
        gross_today=Money(row["gross"], row["currency"]),
        click_to_door_mean_seconds=None if mean is None else round(mean),
        click_to_door_p90_seconds=None if p90 is None else round(p90),
        rider_connections=await presence.rider_connections(runtime, city_id),
    )


async def stores(runtime: Runtime, principal: Principal, city_id: UUID, columns: Columns = ALL) -> list[StoreRecord]:
    """The stores on the city's map, for its admins. Raises NotFound."""
    require_admin(principal, city_id)
    return (await merchants.stores_of_cities(runtime, [city_id], MAX_STORES, None, columns))[city_id]


async def riders(runtime: Runtime, principal: Principal, city_id: UUID) -> list[RiderRecord]:
    """The online riders whose position is known, for the city's admins. Raises NotFound."""
    require_admin(principal, city_id)
    online = await delivery.riders_of_city(runtime, city_id, online_only=True)
    return [rider for rider in online if rider.location is not None]


async def deliveries(
    runtime: Runtime, principal: Principal, city_id: UUID, columns: Columns = ALL
) -> list[DeliveryRecord]:
    """The deliveries waiting or under way, for the city's admins. Raises NotFound."""
    require_admin(principal, city_id)
    return await delivery.live_of_city(runtime, city_id, columns)
