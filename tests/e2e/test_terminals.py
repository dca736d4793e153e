"""One delivery before the eyes of four terminals that run the reference client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests import node
from tests.api import documents as doc
from tests.api.city import City, running_city
from tests.e2e.terminals import Terminals, terminals

FIELDS = "cursor kind type reset { reason }"
CONSUMER = f"""subscription Track($order: ID!, $after: String) {{ orderUpdates(order: $order, after: $after) {{ {FIELDS}
    order {{ id version state }} }} }}"""
MERCHANT = f"""subscription Board($store: ID!, $after: String) {{ storeBoard(store: $store, after: $after) {{ {FIELDS}
    orders {{ id version state }} }} }}"""
RIDER = f"""subscription Tasks($after: String) {{ riderTasks(after: $after) {{ {FIELDS}
    tasks {{ id state order {{ id version }} }} }} }}"""
ADMIN = CONSUMER.replace("Track", "Watch")

LIFE = [
    "order.paid", "order.accepted", "delivery.offered", "delivery.assigned", "order.preparing", "delivery.at_store",
    "order.ready", "order.picked_up", "order.delivered", "order.completed",
]  # fmt: skip
"""Every event from payment on, in the order in which they are made below."""


@pytest.fixture(scope="module")
async def city(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[City]:
    async with running_city(module_database_url, tmp_path_factory.mktemp("city")) as city:
        yield city


@pytest.fixture
async def four() -> AsyncIterator[Terminals]:
    try:
        node.install()
    except (node.NodeMissing, OSError) as error:
        pytest.skip(str(error))
    async with terminals() as running:
        yield running


async def open_all(city: City, four: Terminals, order: str, who: dict[str, str], store: str) -> None:
    url = city.url.replace("http", "ws") + "/graphql"
    await four.open("consumer", url, who["consumer"], CONSUMER, order=order)
    await four.open("merchant", url, who["merchant"], MERCHANT, store=store)
    await four.open("rider", url, who["rider"], RIDER)
    await four.open("admin", url, city.tokens["admin"], ADMIN, order=order)


async def cast(city: City) -> tuple[dict[str, str], str, str]:
    """``(tokens, store, order placed but not paid)``; the rider is the only one online."""
    owner, store, sku = await city.shop()
    rider, _ = await city.rider()
    consumer = await city.consumer()
    return {"consumer": consumer, "merchant": owner, "rider": rider}, store, await city.place(consumer, store, sku)


async def drive(city: City, who: dict[str, str], order: str, cut: Any) -> None:
    """From payment to completion; ``cut(step)`` is called before every step."""
    await cut(0)
    await city.pay(who["consumer"], order)
    await cut(1)
    delivery = (await city.do(who["merchant"], doc.ACCEPT, order=order))["delivery"]["id"]
    steps = [
        (who["rider"], doc.ACCEPT_OFFER, {"delivery": delivery}),
        (who["merchant"], doc.START, {"order": order}),
        (who["rider"], doc.ARRIVE, {"delivery": delivery}),
        (who["merchant"], doc.READY, {"order": order}),
        (who["rider"], doc.PICK_UP, {"delivery": delivery}),
        (who["rider"], doc.COMPLETE, {"delivery": delivery}),
        (who["consumer"], doc.CONFIRM, {"order": order, "key": "received"}),
    ]
    for number, (token, document, variables) in enumerate(steps, 2):
        await cut(number)
        done = await city.do(token, document, **variables)
        assert "code" not in done, done


def check(four: Terminals, order: str) -> None:
    """In order, exactly once, none missing, and no snapshot but the first."""
    for name, values in four.values.items():
        assert [value["kind"] for value in values] == ["SNAPSHOT"] + ["EVENT"] * (len(values) - 1), name
        assert all(value["reset"] is None for value in values), name
        cursors = [value["cursor"] for value in values]
        assert len(set(cursors)) == len(cursors), name
    seen = {name: [value["type"] for value in values[1:]] for name, values in four.values.items()}
    assert seen["consumer"] == seen["admin"] == seen["merchant"] == LIFE
    # A rider's part begins with the offer and ends at the door, but for what then happens to the order.
    assert seen["rider"] == LIFE[2:]
    versions = [value["order"]["version"] for value in four.values["consumer"]]
    assert versions == list(range(versions[0], versions[0] + len(versions)))
    assert [value["order"]["version"] for value in four.values["admin"]] == versions
    assert [value["orders"][0]["version"] for value in four.values["merchant"][1:]] == versions[1:]
    assert {value["tasks"][0]["order"]["id"] for value in four.values["rider"][1:]} == {order}
    assert four.values["consumer"][-1]["order"]["state"] == "COMPLETED"


def complete(four: Terminals) -> bool:
    return all(values and values[-1]["type"] == LIFE[-1] for values in four.values.values()) and len(four.values) == 4


async def test_four_terminals_see_one_delivery(city: City, four: Terminals) -> None:
    who, store, order = await cast(city)
    await open_all(city, four, order, who, store)

    async def undisturbed(step: int) -> None:
        return

    await drive(city, who, order, undisturbed)
    await four.until(lambda: complete(four))
    check(four, order)
    assert dict(four.opened) == {"consumer": 1, "merchant": 1, "rider": 1, "admin": 1}
    await city.do(who["rider"], doc.GO_OFFLINE)


async def test_terminals_that_are_cut_off_resume_without_loss(city: City, four: Terminals) -> None:
    """Before every step another terminal loses its connection, some while the next events are made."""
    who, store, order = await cast(city)
    await open_all(city, four, order, who, store)
    names = ["consumer", "merchant", "rider", "admin"]

    async def cut(step: int) -> None:
        await four.cut(names[step % 4])
        await four.cut(names[(step + 1) % 4])

    await drive(city, who, order, cut)
    await four.until(lambda: complete(four))
    check(four, order)
    for name in names:
        assert four.opened[name] > 1, name
    await city.do(who["rider"], doc.GO_OFFLINE)
