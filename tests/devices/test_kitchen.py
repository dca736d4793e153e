"""An accepted order prints its ticket in the kitchen: with the acceptance or not at all, and once."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import pytest

from core import ids
from tests.api import documents as doc
from tests.api.city import City, key
from tests.devices import shop as api
from tests.devices.shop import Shop, open_shop
from tests.patience import PATIENCE


def printed(commands: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(c["payload"]["kind"], c["state"]) for c in commands]


async def called_off(shop: Shop, order: str) -> None:
    done = await shop.city.do(shop.owner, doc.CANCEL, order=order, key=key())
    assert done["state"] == "CANCELLED", done


async def test_the_ticket_of_an_accepted_order(city: City) -> None:
    shop = await open_shop(city)
    second, _ = await shop.add("Grill", "PRINT")
    counter, _ = await shop.add("Till", "PRINT", station="COUNTER")
    gate, _ = await shop.add("Gate", "GATE")
    order = await shop.accepted("DELIVERY")
    for device in (shop.device, second):
        (command,) = await shop.sent(device)
        ticket = command["payload"]
        assert command["order"] == {"id": order}
        assert (ticket["kind"], ticket["title"], ticket["mode"]) == ("KITCHEN", "Shop", "DELIVERY")
        assert ticket["lines"] == [{"name": "Soup", "options": ["Bowl"], "quantity": 2, "total": None}]
        assert ticket["dueAt"] is not None and ticket["total"] is None
    for device in (counter, gate):
        assert await shop.sent(device) == []
    # The kitchen needs to know neither who ordered nor where it goes.
    stored = await city.fetchval("SELECT string_agg(payload::text, '') FROM device_command")
    assert "13800138000" not in stored and "Home 1" not in stored
    receipt = await shop.send({"printOrder": {"order": order, "ticket": "RECEIPT"}}, device=counter)
    assert receipt["payload"]["total"] == {"amount": 5500, "currency": "CNY"}
    assert receipt["payload"]["lines"][0]["total"] == {"amount": 5000}


async def test_a_table_s_order_names_the_table(city: City) -> None:
    shop = await open_shop(city)
    consumer = await city.consumer()
    quote = await city.quote(consumer, shop.store, shop.sku, "DINE_IN")
    table = (await city.do(consumer, "query ($id: ID!) { store(id: $id) { tables { id } } }", id=shop.store))["tables"]
    wanted = {"quote": quote["id"], "table": table[0]["id"], "note": "no coriander"}
    order = (await city.do(consumer, doc.PLACE, key=key(), input=wanted))["id"]
    await city.pay(consumer, order)
    await city.do(shop.owner, doc.ACCEPT, order=order)
    (command,) = await shop.sent()
    assert (command["payload"]["table"], command["payload"]["note"]) == ("T1", "no coriander")


async def test_a_double_tap_prints_once(city: City) -> None:
    shop = await open_shop(city)
    async with city.follow(shop.token, api.COMMANDS) as device:
        await device.count(1)
        order = await city.paid(await city.consumer(), shop.store, shop.sku, "PICKUP")
        answers = await asyncio.gather(*(city.do(shop.owner, doc.ACCEPT, order=order) for _ in range(6)))
        assert sorted(a["__typename"] for a in answers) == ["Order"] + ["OrderActionNotAllowed"] * 5
        marker = await shop.send()
        await device.until(lambda v: v["commands"] and v["commands"][0]["id"] == marker["id"])
    assert [v["type"] for v in device.values[1:]] == ["command.queued", "command.queued"]
    assert printed(await shop.sent()) == [("KITCHEN", "DELIVERED"), ("NOTE", "DELIVERED")]


async def test_a_refused_acceptance_prints_nothing(city: City) -> None:
    shop = await open_shop(city)
    order = await city.paid(await city.consumer(), shop.store, shop.sku, "PICKUP")
    await called_off_by(city, shop, order)
    assert (await city.do(shop.owner, doc.ACCEPT, order=order))["__typename"] == "OrderActionNotAllowed"
    assert await shop.sent() == []


async def called_off_by(city: City, shop: Shop, order: str) -> None:
    assert (await city.do(shop.owner, doc.REJECT, order=order, key=key()))["state"] == "REJECTED"


async def test_an_order_called_off_takes_its_ticket_back_or_prints_that_it_is_off(city: City) -> None:
    shop = await open_shop(city)
    grill, token = await shop.add("Grill", "PRINT")
    order = await shop.accepted()
    (ticket,) = await shop.sent()
    await shop.acknowledge(ticket["id"])
    await called_off(shop, order)
    assert printed(await shop.sent()) == [("KITCHEN", "ACKNOWLEDGED"), ("CANCELLATION", "QUEUED")]
    assert printed(await shop.sent(grill)) == [("KITCHEN", "CANCELLED")]
    # The grill had printed it before it heard, and says so now: it gets to know on paper too.
    late = (await shop.sent(grill))[0]["id"]
    for _ in range(2):
        answer = await city.do(token, api.ACK, command=late, outcome="DONE")
        assert (answer["__typename"], answer["state"]) == ("CommandActionNotAllowed", "CANCELLED")
    assert printed(await shop.sent(grill)) == [("KITCHEN", "CANCELLED"), ("CANCELLATION", "QUEUED")]


async def test_a_ticket_taken_back_by_hand_says_nothing_of_the_order(city: City) -> None:
    """The order lives: what the printer says too late must not tell the kitchen to stop."""
    shop = await open_shop(city)
    order = await shop.accepted()
    (ticket,) = await shop.sent()
    await city.do(shop.owner, api.CANCEL, command=ticket["id"])
    assert (await shop.acknowledge(ticket["id"]))["state"] == "CANCELLED"
    assert printed(await shop.sent()) == [("KITCHEN", "CANCELLED")]
    # Now it is called off, and the kitchen does have that ticket.
    await called_off(shop, order)
    assert printed(await shop.sent()) == [("KITCHEN", "CANCELLED"), ("CANCELLATION", "QUEUED")]


async def test_copies_of_a_ticket_go_with_its_order(city: City) -> None:
    shop = await open_shop(city)
    bar, token = await shop.add("Bar", "PRINT", station="COUNTER")
    order = await shop.accepted()
    (ticket,) = await shop.sent()
    await shop.acknowledge(ticket["id"], "FAILED", failure="OUT_OF_PAPER")
    await city.do(shop.clerk, api.RESEND, command=ticket["id"], key=key())
    copy = await shop.send({"printOrder": {"order": order}}, device=bar)
    receipt = await shop.send({"printOrder": {"order": order, "ticket": "RECEIPT"}}, device=bar)
    await city.do(token, api.ACK, command=copy["id"], outcome="DONE")
    await called_off(shop, order)
    assert printed(await shop.sent()) == [("KITCHEN", "FAILED"), ("KITCHEN", "CANCELLED")]
    assert printed(await shop.sent(bar)) == [
        ("KITCHEN", "ACKNOWLEDGED"), ("RECEIPT", "QUEUED"), ("CANCELLATION", "QUEUED"),
    ]  # fmt: skip
    assert receipt["payload"]["kind"] == "RECEIPT"


async def test_printing_and_calling_off_at_once(city: City) -> None:
    """Whoever comes first, the kitchen is never left with a ticket of a dead order and no word of it."""
    shop = await open_shop(city)
    for _ in range(6):
        order = await shop.accepted()
        ticket = (await shop.sent())[-1]["id"]
        await asyncio.gather(shop.acknowledge(ticket), called_off(shop, order), shop.acknowledge(ticket))
        mine = [c for c in await shop.sent() if c["order"] == {"id": order}]
        assert [c["payload"]["kind"] for c in mine] == ["KITCHEN", "CANCELLATION"], printed(mine)
        await shop.acknowledge(mine[1]["id"])


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_killed_around_the_commit(city: City, module_database_url: str, moment: str) -> None:
    """After it the printer hears although no signal was ever sent; before it nothing has happened."""
    shop = await open_shop(city)
    order = await city.paid(await city.consumer(), shop.store, shop.sku, "PICKUP")
    async with city.follow(shop.token, api.COMMANDS) as device:
        await device.count(1)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.devices.dying", module_database_url,
            str(ids.decode("Order", order)), str(ids.decode("Store", shop.store)), moment,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, errors = await asyncio.wait_for(process.communicate(), 2 * PATIENCE)
        assert process.returncode == -signal.SIGKILL, errors.decode()
        if moment == "before":
            assert await shop.sent() == []
            assert (await city.do(shop.owner, doc.ACCEPT, order=order))["state"] == "ACCEPTED"
        told = await device.until(lambda v: v["type"] == "command.queued")
        assert told["commands"][0]["payload"]["kind"] == "KITCHEN"
    assert printed(await shop.sent()) == [("KITCHEN", "DELIVERED")]
    answer = await city.do(shop.owner, doc.ACCEPT, order=order)
    assert answer["__typename"] == "OrderActionNotAllowed" and len(await shop.sent()) == 1
