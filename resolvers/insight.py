"""Fields and the subscription of a city's live overview: one service call each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from resolvers.base import key
from resolvers.context import Context, Info
from services import insight
from services.insight import CityOverview
from subscriptions.feeds import CITY
from subscriptions.updates import Update

MIN_INTERVAL: Final = timedelta(seconds=1)
"""Real time between two updates of one city, however much happens."""


@dataclass(frozen=True, slots=True)
class CityNow:
    """What a city update carries; the map is loaded by the fields that show it."""

    city_id: UUID
    overview: CityOverview


async def overview_of(root: Any, info: Info) -> Any:
    """The overview of a city (anything with the city's key as ``id``). Raises NotFound."""
    return await insight.overview(info.context.runtime, info.context.principal, root.id)


async def city_updates(context: Context, city: str) -> AsyncIterator[Update[CityNow]]:
    city_id = key("City", city)
    insight.require_admin(context.principal, city_id)

    async def snapshot() -> tuple[int, CityNow]:
        return 0, CityNow(city_id, await insight.overview(context.runtime, context.principal, city_id))

    async for update in context.tails.follow_latest(CITY.of(city_id), None, snapshot, MIN_INTERVAL):
        yield update


# Field resolvers are typed Any where the schema names its own type for what the services return.


def overview_in(root: Update[CityNow]) -> Any:
    return root.value.overview


async def stores_in(root: Update[CityNow], info: Info) -> Any:
    return await insight.stores(info.context.runtime, info.context.principal, root.value.city_id)


async def riders_in(root: Update[CityNow], info: Info) -> Any:
    return await insight.riders(info.context.runtime, info.context.principal, root.value.city_id)


async def deliveries_in(root: Update[CityNow], info: Info) -> Any:
    return await insight.deliveries(info.context.runtime, info.context.principal, root.value.city_id)
