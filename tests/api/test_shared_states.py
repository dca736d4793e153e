"""States that are not in the log are read once for all who follow them."""

from __future__ import annotations

from typing import Any

import pytest

from services import insight
from tests.api.city import City
from tests.api.socket import open_socket

CITY = "subscription ($city: ID!) { cityUpdates(city: $city) { overview { at activeOrders } stores { name } } }"


async def test_the_admins_of_a_city_share_each_look_at_it(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who joins later begins with the last look; who led goes and another goes on."""
    looks: list[Any] = []
    real = insight.overview

    async def overview(*args: Any) -> Any:
        looks.append(await real(*args))
        return looks[-1]

    monkeypatch.setattr(insight, "overview", overview)
    admin, hub = city.tokens["admin"], city.program.sockets.hub
    _, store, sku = await city.shop()
    consumer = await city.consumer()
    async with open_socket(city, admin) as second, open_socket(city, admin) as third:
        async with open_socket(city, admin) as first:
            told = [await socket.subscribe("c", CITY, city=city.id) for socket in (first, second, third)]
            assert hub.groups == 1
            before = looks[-1].active_orders
            await city.paid(consumer, store, sku, "PICKUP")
            for socket, each in zip((first, second, third), told, strict=True):
                await socket.until(lambda each=each: each.values[-1]["overview"]["activeOrders"] > before)
        shown = {value["overview"]["at"] for each in told for value in each.values}
        assert len(shown) <= len(looks) < sum(len(each.values) for each in told), "a look was told to all"
        at = len(looks)
        await city.paid(consumer, store, sku, "PICKUP")
        for socket, each in zip((second, third), told[1:], strict=True):
            await socket.until(lambda each=each: each.values[-1]["overview"]["activeOrders"] > before + 1)
        assert len(looks) > at
