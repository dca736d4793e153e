"""The live overview: refused to strangers, at most one update a second, the map only when a field asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from auth.principals import ANONYMOUS
from core import ids
from core.ids import uuid7
from resolvers import insight as resolvers
from resolvers.context import Context
from services.errors import NotFound
from services.runtime import Runtime
from subscriptions.feeds import CITY
from tests.insight.test_overview import add_delivery, add_rider
from tests.queueing.tails import SteppedTails
from tests.queueing.world import admin_of, consumer, open_city, open_shop, take
from tests.support import make_runtime


@pytest.fixture
async def runtime(module_database_url: str) -> AsyncIterator[Runtime]:
    async with make_runtime(module_database_url) as runtime:
        yield runtime


async def test_city_updates_follow_the_city(runtime: Runtime) -> None:
    city_id, tails = await open_city(runtime), SteppedTails()
    shop = await open_shop(runtime, city_id=city_id)
    context = Context(runtime, cast(Any, tails), admin_of(city_id))
    updates = aiter(resolvers.city_updates(context, ids.encode("City", city_id)))
    first = await anext(updates)
    assert resolvers.overview_in(first).queue_waiting == 0
    assert tails.seen == [(CITY.of(city_id), None, timedelta(seconds=1))]
    await take(runtime, shop.clerk, shop)
    rider = await add_rider(runtime, city_id)
    await add_delivery(runtime, city_id, "SEARCHING")
    tails.step()
    update, info = await anext(updates), cast(Any, SimpleNamespace(context=context))
    overview = resolvers.overview_in(update)
    assert (overview.queue_waiting, overview.riders_online, overview.deliveries_waiting) == (1, 1, 1)
    assert [s.id for s in await resolvers.stores_in(update, info)] == [shop.id]
    assert [r.id for r in await resolvers.riders_in(update, info)] == [rider]
    assert [d.state for d in await resolvers.deliveries_in(update, info)] == ["SEARCHING"]
    assert await resolvers.overview_of(SimpleNamespace(id=city_id), info) == overview


@pytest.mark.parametrize("bad", ["", "cit_", ids.encode("Store", UUID(int=7 << 76))])
async def test_bad_city_ids(runtime: Runtime, bad: str) -> None:
    context = Context(runtime, cast(Any, SteppedTails()), admin_of(uuid7()))
    with pytest.raises(NotFound):
        await anext(aiter(resolvers.city_updates(context, bad)))


async def test_strangers_are_refused(runtime: Runtime) -> None:
    city_id = await open_city(runtime)
    for stranger in (ANONYMOUS, consumer(), admin_of(uuid7())):
        context = Context(runtime, cast(Any, SteppedTails()), stranger)
        with pytest.raises(NotFound):
            await anext(aiter(resolvers.city_updates(context, ids.encode("City", city_id))))
        with pytest.raises(NotFound):
            await resolvers.overview_of(SimpleNamespace(id=city_id), cast(Any, SimpleNamespace(context=context)))
