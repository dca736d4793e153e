"""Riders around a place: who they are for a city's admins, and only how many, roughly, for everybody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from auth.principals import Principal
from core.geo import Point, distance_m, is_on_earth, to_gcj02
from services.columns import ALL, Columns
from services.delivery.reading import RiderRecord, located, placed
from services.errors import InvalidInput, NotFound
from services.runtime import Runtime

MAX_RADIUS_M: Final = 50_000
_MARGIN_M: Final = 500
"""Rows are some seconds behind: look this much farther, then measure from where the riders are now."""

SUPPLY_RADIUS_M: Final = 3_000


@dataclass(frozen=True, slots=True)
class NearbyRider:
    rider: RiderRecord
    distance_metres: int


class RiderSupply(StrEnum):
    """How many riders near a store could take a delivery now. Steps instead of numbers, and no places: from exact
    ones a single rider could be followed."""

    NONE = "NONE"
    LOW = "LOW"
    NORMAL = "NORMAL"
    HIGH = "HIGH"


_STEPS: Final = ((1, RiderSupply.NONE), (4, RiderSupply.LOW), (11, RiderSupply.NORMAL))


async def riders_near(
    runtime: Runtime,
    principal: Principal,
    city_id: UUID,
    at: Point,
    radius_metres: int,
    free_only: bool,
    limit: int,
    columns: Columns = ALL,
) -> list[NearbyRider]:
    """Online riders of the city within the radius, the nearest first, for its admins. Raises NotFound, InvalidInput."""
    if not principal.administers(city_id):
        raise NotFound(resource="City")
    if not is_on_earth(at.latitude, at.longitude):
        raise InvalidInput(field="location", reason="is not a place on earth")
    if not 1 <= radius_metres <= MAX_RADIUS_M:
        raise InvalidInput(field="radiusMetres", reason=f"must be 1 to {MAX_RADIUS_M}")
    at = to_gcj02(at)
    chosen = placed(columns)
    rows = await runtime.database.fetch(
        f"""SELECT {chosen.sql} FROM rider r
            WHERE city_id = $1 AND online AND latitude IS NOT NULL AND (active_delivery_id IS NULL OR NOT $5)
              AND earth_box(ll_to_earth($2, $3), $4) @> ll_to_earth(latitude, longitude)
            ORDER BY earth_distance(ll_to_earth(latitude, longitude), ll_to_earth($2, $3)), id LIMIT $6""",
        city_id,
        at.latitude,
        at.longitude,
        float(radius_metres + _MARGIN_M),
        free_only,
        2 * limit,
    )
    found = [
        NearbyRider(rider, round(distance_m(at, rider.location)))
        for rider in await located(runtime, rows, chosen)
        if rider.location is not None
    ]
    within = [near for near in found if near.distance_metres <= radius_metres]
    return sorted(within, key=lambda near: near.distance_metres)[:limit]


async def supply_at_stores(runtime: Runtime, store_ids: Sequence[UUID]) -> dict[UUID, RiderSupply]:
    """How many free riders are around each store."""
    rows = await runtime.database.fetch(
        """SELECT s.id, (SELECT count(*) FROM (
                   SELECT FROM rider r WHERE r.city_id = s.city_id AND r.online AND r.active_delivery_id IS NULL
                     AND r.latitude IS NOT NULL
                     AND earth_box(ll_to_earth(s.latitude, s.longitude), $2) @> ll_to_earth(r.latitude, r.longitude)
                   LIMIT $3) AS free) AS riders
           FROM store s WHERE s.id = ANY($1::uuid[])""",
        list(store_ids),
        float(SUPPLY_RADIUS_M),
        _STEPS[-1][0],
    )
    return {row["id"]: _step(row["riders"]) for row in rows}


def _step(riders: int) -> RiderSupply:
    return next((supply for below, supply in _STEPS if riders < below), RiderSupply.HIGH)
