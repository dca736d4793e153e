"""Riders going online and offline, and telling where they are."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from auth.principals import Principal
from core.geo import Point, distance_m, is_on_earth, to_gcj02
from services.delivery import dispatch, tasks
from services.delivery.fixes import MAX_FROM_CITY_M, PROBLEMS, Fix, FixProblem, LocationReport
from services.delivery.reading import RiderRecord, rider_of
from services.errors import InvalidInput, NotFound, RiderBusy
from services.runtime import Runtime
from services.unit import transaction
from subscriptions.feeds import CITY, Signal


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
    await runtime.locations.changed(rider.id)
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
    await runtime.locations.changed(rider.id)
    await runtime.signals.publish([Signal(CITY.of(rider.city_id))])
    return await rider_of(runtime, principal)


async def report(runtime: Runtime, principal: Principal, fixes: Sequence[Fix]) -> LocationReport:
    """Tell where the rider was; see :meth:`Locations.report`. Raises LocationRejected, InvalidInput, RiderOffline,
    NotFound."""
    if principal.rider_id is None:
        raise NotFound(resource="Rider")
    return await runtime.locations.report(principal.rider_id, fixes)


async def _far_from_city(runtime: Runtime, city_id: UUID, at: Point) -> str | None:
    row = await runtime.database.fetchrow("SELECT latitude, longitude FROM city WHERE id = $1", city_id)
    if row is None or distance_m(Point(row["latitude"], row["longitude"]), at) <= MAX_FROM_CITY_M:
        return None
    return PROBLEMS[FixProblem.FAR_FROM_CITY]
