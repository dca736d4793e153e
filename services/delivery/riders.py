"""Riders going online and offline, and telling where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from auth.principals import Principal
from core.geo import Point, distance_m, is_on_earth, to_gcj02
from services.delivery import dispatch, tasks
from services.delivery.reading import Position, RiderRecord, rider_of
from services.errors import InvalidInput, LocationRejected, NotFound, RiderBusy, RiderOffline
from services.runtime import Runtime
from services.unit import transaction
from subscriptions.feeds import CITY, RIDER_LOCATION, Signal

MAX_FIXES = 100
CLOCK_SKEW = timedelta(minutes=1)
"""A phone's clock may be this far ahead of ours."""
MAX_AGE = timedelta(hours=12)
"""Older fixes, buffered by a phone without a network, are of no use to anybody."""
MAX_FROM_CITY_M = 200_000


@dataclass(frozen=True, slots=True)
class Fix:
    """One reading of a phone's positioning."""

    location: Point
    recorded_at: datetime
    accuracy_metres: float | None
    heading: float | None
    speed: float | None


@dataclass(frozen=True, slots=True)
class LocationReport:
    """``accepted`` new fixes, ``ignored`` ones that were known or older than the last; the last position."""

    accepted: int
    ignored: int
    last: Position | None


async def go_online(runtime: Runtime, principal: Principal, location: Point) -> RiderRecord:
    """Be ready for offers from ``location`` on. Raises InvalidInput, NotFound."""
    rider = await rider_of(runtime, principal)
    if not is_on_earth(location.latitude, location.longitude):
        raise InvalidInput(field="location", reason="is not a place on earth")
    at = to_gcj02(location)
    reason = await _far_from_city(runtime, rider.city_id, at)
    if reason is not None:
        raise InvalidInput(field="location", reason=reason)
    async with transaction(runtime) as unit:
        await unit.sql.execute(
            """UPDATE rider SET online = true, latitude = $2, longitude = $3, located_at = $4,
                   accuracy_m = NULL, heading = NULL, speed = NULL WHERE id = $1""",
            rider.id,
            at.latitude,
            at.longitude,
            unit.now,
        )
        unit.signal(CITY.of(rider.city_id))
    await dispatch.run(runtime, rider.city_id)
    return await rider_of(runtime, principal)


async def go_offline(runtime: Runtime, principal: Principal) -> RiderRecord:
    """Get no more offers; an open offer is declined. Raises RiderBusy while on a delivery, NotFound."""
    rider = await rider_of(runtime, principal)
    # Offline first: the rider whose offer is withdrawn while online would be handed the next one.
    row = await runtime.database.fetchrow(
        """UPDATE rider SET online = false
           WHERE id = $1 AND (active_delivery_id IS NULL
                 OR EXISTS (SELECT FROM delivery WHERE id = active_delivery_id AND state = 'OFFERED'))
           RETURNING active_delivery_id""",
        rider.id,
    )
    offered = None if row is None else row["active_delivery_id"]
    if row is None or (offered is not None and not await tasks.decline_if_offered(runtime, principal, offered)):
        # On the road, or the offer was accepted in this very moment.
        await runtime.database.execute("UPDATE rider SET online = true WHERE id = $1", rider.id)
        raise RiderBusy(delivery=offered or rider.active_delivery_id or rider.id)
    await runtime.signals.publish([Signal(CITY.of(rider.city_id))])
    return await rider_of(runtime, principal)


async def report(runtime: Runtime, principal: Principal, fixes: Sequence[Fix]) -> LocationReport:
    """Take a batch of 1–100 fixes, in any order, repeated ones included; the newest becomes the rider's position.

    Raises LocationRejected naming the first impossible fix (nothing of the batch is taken then), InvalidInput,
    RiderOffline, NotFound.
    """
    if principal.rider_id is None:
        raise NotFound(resource="Rider")
    if not 1 <= len(fixes) <= MAX_FIXES:
        raise InvalidInput(field="fixes", reason=f"must be 1 to {MAX_FIXES}")
    now = runtime.clock.now()
    for index, fix in enumerate(fixes):
        reason = _impossible(fix, now)
        if reason is not None:
            raise LocationRejected(index=index, reason=reason)
    newest = max(fixes, key=lambda fix: fix.recorded_at)
    at = to_gcj02(newest.location)
    row = await runtime.database.fetchrow(
        """WITH before AS (SELECT id, city_id, online, located_at, active_delivery_id, latitude, longitude
                           FROM rider WHERE id = $1),
           moved AS (
               UPDATE rider SET latitude = $2, longitude = $3, located_at = $4, accuracy_m = $5, heading = $6,
                   speed = $7
               FROM city WHERE rider.id = $1 AND city.id = rider.city_id AND rider.online
                 AND (rider.located_at IS NULL OR rider.located_at < $4)
                 AND earth_distance(ll_to_earth(city.latitude, city.longitude), ll_to_earth($2, $3)) <= $8
               RETURNING rider.id),
           track AS (
               INSERT INTO location_fix (id, rider_id, delivery_id, latitude, longitude, recorded_at)
               SELECT $9, before.id, before.active_delivery_id, $2, $3, $4 FROM before, moved
               WHERE before.active_delivery_id IS NOT NULL)
           SELECT before.*, EXISTS (SELECT FROM moved) AS moved FROM before""",
        principal.rider_id,
        at.latitude,
        at.longitude,
        newest.recorded_at,
        newest.accuracy_metres,
        newest.heading,
        newest.speed,
        MAX_FROM_CITY_M,
        runtime.new_id(),
    )
    if row is None:
        raise NotFound(resource="Rider")
    if not row["online"]:
        raise RiderOffline()
    last_before: datetime | None = row["located_at"]
    fresh = len({fix.recorded_at for fix in fixes if last_before is None or fix.recorded_at > last_before})
    if not row["moved"]:
        if fresh:
            await _reject_or_pass(runtime, row["city_id"], at, fixes.index(newest))
        last = (
            None
            if last_before is None
            else Position(Point(row["latitude"], row["longitude"]), last_before, None, None, None)
        )
        return LocationReport(0, len(fixes), last)
    position = Position(at, newest.recorded_at, newest.accuracy_metres, newest.heading, newest.speed)
    await runtime.signals.publish(
        [
            Signal(RIDER_LOCATION.of(principal.rider_id), None, position_to_json(position)),
            Signal(CITY.of(row["city_id"])),
        ]
    )
    return LocationReport(fresh, len(fixes) - fresh, position)


async def _reject_or_pass(runtime: Runtime, city_id: UUID, at: Point, index: int) -> None:
    """A newer fix did not move the rider: it is from far away, or a still newer one won the race."""
    reason = await _far_from_city(runtime, city_id, at)
    if reason is not None:
        raise LocationRejected(index=index, reason=reason)


async def _far_from_city(runtime: Runtime, city_id: UUID, at: Point) -> str | None:
    row = await runtime.database.fetchrow("SELECT latitude, longitude FROM city WHERE id = $1", city_id)
    if row is None or distance_m(Point(row["latitude"], row["longitude"]), at) <= MAX_FROM_CITY_M:
        return None
    return f"is more than {MAX_FROM_CITY_M // 1000} km from the city"


def _impossible(fix: Fix, now: datetime) -> str | None:
    """Why the fix cannot be true, or None."""
    if not is_on_earth(fix.location.latitude, fix.location.longitude):
        return "is not a place on earth"
    if fix.recorded_at > now + CLOCK_SKEW:
        return "lies in the future"
    if fix.recorded_at < now - MAX_AGE:
        return "is too old"
    if fix.accuracy_metres is not None and not 0 <= fix.accuracy_metres <= 100_000:
        return "has an impossible accuracy"
    if fix.heading is not None and not 0 <= fix.heading <= 360:
        return "has an impossible heading"
    if fix.speed is not None and not 0 <= fix.speed <= 100:
        return "has an impossible speed"
    return None


def position_to_json(position: Position) -> dict[str, Any]:
    """The value of a location signal."""
    return {
        "latitude": position.location.latitude,
        "longitude": position.location.longitude,
        "recorded_at": position.recorded_at.isoformat(),
        "accuracy_metres": position.accuracy_metres,
        "heading": position.heading,
        "speed": position.speed,
    }


def position_from_json(value: dict[str, Any]) -> Position:
    return Position(
        Point(value["latitude"], value["longitude"]),
        datetime.fromisoformat(value["recorded_at"]),
        value["accuracy_metres"],
        value["heading"],
        value["speed"],
    )
