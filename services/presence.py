"""Who is connected: the names under which connections are counted, and who may know the counts.

A connection counts for every store that its caller works at, or for its rider and the
rider's cities. Counts are a few seconds
old (:mod:`clients.presence`) and say nothing about a single moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

from auth.principals import Principal, View
from services.merchants import stores_by_ids
from services.runtime import Runtime


def names_of(principal: Principal) -> Iterator[str]:
    """The names under which a connection of ``principal`` counts."""
    if principal.view in (View.MERCHANT, View.DEVICE):
        yield from {_store(store_id) for store_id in principal.store_ids}
    if principal.rider_id is not None:
        yield _rider(principal.rider_id)
        yield from {_riders(grant.city_id) for grant in principal.grants if grant.city_id is not None}


def _store(store_id: UUID) -> str:
    return f"store:{store_id}"


def _rider(rider_id: UUID) -> str:
    return f"rider:{rider_id}"


def _riders(city_id: UUID) -> str:
    return f"riders:{city_id}"


async def terminals_online(runtime: Runtime, principal: Principal, store_ids: Sequence[UUID]) -> list[int | None]:
    """Connections of each store's staff and devices, for the staff and the city's admins; None for others."""
    cities: dict[UUID, UUID] = {}
    if principal.view is View.ADMIN:
        found = await stores_by_ids(runtime, list(store_ids))
        cities = {store.id: store.city_id for store in found.values()}
    seen = [s for s in store_ids if principal.works_at(s) or (s in cities and principal.administers(cities[s]))]
    counts = dict(zip(seen, await runtime.presence.counts([_store(s) for s in seen]), strict=True))
    return [counts.get(store_id) for store_id in store_ids]


async def riders_connected(
    runtime: Runtime, principal: Principal, riders: Sequence[tuple[UUID, UUID]]
) -> list[bool | None]:
    """Whether the app of each ``(rider, city)`` is connected, for the city's admins; None for others."""
    seen = [rider_id for rider_id, city_id in riders if principal.administers(city_id)]
    counts = dict(zip(seen, await runtime.presence.counts([_rider(rider_id) for rider_id in seen]), strict=True))
    return [counts[rider_id] > 0 if rider_id in counts else None for rider_id, _ in riders]


async def rider_connections(runtime: Runtime, city_id: UUID) -> int:
    """Connections of the riders of a city. The caller has seen to who asks."""
    (count,) = await runtime.presence.counts([_riders(city_id)])
    return count
