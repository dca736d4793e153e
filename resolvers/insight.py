"""Fields and the subscription of a city's live overview: one service call each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final

from resolvers.context import Context, Info
from resolvers.feeds import follow
from services import insight
from services.feeds import CITY_UPDATES
from services.insight import CityOverview
from subscriptions.updates import Update

MIN_INTERVAL: Final = timedelta(seconds=1)
"""Real time between two updates of one city, however much happens."""


async def overview_of(root: Any, info: Info) -> Any:
    """The overview of a city (anything with the city's key as ``id``). Raises NotFound."""
    return await insight.overview(info.context.runtime, info.context.principal, root.id)


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
