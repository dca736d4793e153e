"""Fields and the subscription of a city's live overview: one service call each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from resolvers.context import Context, Info, batched
from resolvers.feeds import follow
from services import insight
from services.errors import NotFound
from services.feeds import CITY_UPDATES
from services.insight import CityOverview
from subscriptions.updates import Update

MIN_INTERVAL: Final = timedelta(seconds=1)
"""Real time between two updates of one city, however much happens."""


async def _load_overviews(context: Context, keys: list[UUID]) -> list[CityOverview | Exception]:
    """The overviews of cities for their admins; NotFound for others."""
    mine = [city_id for city_id in keys if context.principal.administers(city_id)]
    found = await insight.overviews(context.runtime, mine) if mine else {}
    return [found.get(city_id) or NotFound(resource="City") for city_id in keys]


overview_of = batched(_load_overviews, attrgetter("id"))


def city_updates(context: Context, city: str) -> AsyncIterator[Update[CityOverview]]:
    return follow(context, CITY_UPDATES, city, None, MIN_INTERVAL)


# Field resolvers are typed Any where the schema names its own type for what the services return.


def overview_in(root: Update[CityOverview]) -> Any:
    return root.value


async def stores_in(root: Update[CityOverview], info: Info) -> Any:
    context = info.context
    return await insight.stores(context.runtime, context.principal, root.value.city_id, context.columns)


async def riders_in(root: Update[CityOverview], info: Info) -> Any:
    return await insight.riders(info.context.runtime, info.context.principal, root.value.city_id)


async def deliveries_in(root: Update[CityOverview], info: Info) -> Any:
    context = info.context
    return await insight.deliveries(context.runtime, context.principal, root.value.city_id, context.columns)
