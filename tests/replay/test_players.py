"""The players against a city in memory: a whole day ends well, and every misbehaviour of a feed is found."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from rich.console import Console

from replay import demo
from replay.command import Options, play
from replay.day import Restaurant
from replay.generator import DINNER, LUNCH, OPEN, generate
from replay.own_shop import NOTES, with_own_shop
from replay.report import Report
from tests.patience import PATIENCE
from tests.replay.fake_city import FakeCity, Misbehaviour

QUIET = Console(quiet=True)


async def played(city: FakeCity, orders: int = 40, **options: object) -> Report:
    async with asyncio.timeout(5 * PATIENCE):
        return await play(Options(generate(7, orders), url=city.url, **options), QUIET)  # type: ignore[arg-type]


async def test_a_day_at_full_speed_ends_well() -> None:
    async with FakeCity() as city:
        report = await played(city)
    assert report.good, report.problems
    assert report.outcomes["delivered"] == 40
    assert {o["state"] for o in city.orders.values()} == {"COMPLETED"}
    assert report.feeds["order"].owed == sum(o["version"] - 1 for o in city.orders.values())


async def test_simulated_time_is_kept() -> None:
    """Nobody picks up before the food is ready (the city asserts it), and no trip is shorter than the way."""
    async with FakeCity() as city:
        report = await played(city)
    assert report.ready_to_pickup.count == 40
    assert all(start >= 0 for start, _ in report.ready_to_pickup_histogram)


async def test_a_paced_day_takes_its_time_and_ends_well() -> None:
    async with FakeCity() as city:
        report = await played(city, 6, pace=18_000.0)
    assert report.good, report.problems
    # From seven in the morning to the end of the last shift, at three hundred minutes a second.
    assert report.playing_seconds > 2.5


async def test_lost_connections_lose_nothing() -> None:
    async with FakeCity() as city:
        report = await played(city, drop_share=0.1, most_drops=None)
    assert report.good, report.problems
    assert report.sockets["dropped_on_purpose"] > 10
    assert sum(v.resumed for v in report.feeds.values()) > 10


@pytest.mark.parametrize("kind", ["order", "store", "rider"])
@pytest.mark.parametrize("fault", ["lose", "repeat", "swap"])
async def test_every_fault_of_a_feed_is_found(kind: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.stage.OWED_WITHIN", 0.3)
    monkeypatch.setattr("replay.consumer.OWED_WITHIN", 0.3)
    monkeypatch.setattr("replay.world.CAUGHT_UP_WITHIN", 0.5)
    async with FakeCity(Misbehaviour(kind, **{fault: 60})) as city:
        report = await played(city, 30, most_drops=0)
    name = {"order": "order", "store": "store board", "rider": "rider tasks"}[kind]
    verdict = report.feeds[name]
    counted = {"lose": verdict.lost, "repeat": verdict.duplicated, "swap": verdict.reordered + verdict.lost}[fault]
    assert counted > 0
    assert not report.good


async def test_orders_that_nobody_delivers_are_called_off_and_refunded() -> None:
    async with FakeCity() as city:
        city.dispatch = lambda: None  # type: ignore[method-assign]
        report = await played(city, 8)
    assert report.outcomes == {"delivered": 0, "cancelled": 8, "failed": 0}
    assert report.good, report.problems


async def test_the_demo_plays_until_it_is_told_to_stop() -> None:
    polite = signal.getsignal(signal.SIGTERM)
    async with FakeCity() as city:
        playing = asyncio.create_task(demo.play_forever(city.url, "ADMIN:+8613800000001", 1, 3_000.0))
        async with asyncio.timeout(PATIENCE):
            await city.completed(10)
        assert len(city.riders) > 10
        os.kill(os.getpid(), signal.SIGTERM)  # handled by the demo: it ends in good order
        async with asyncio.timeout(PATIENCE):
            await playing
        assert not playing.cancelled()
    signal.signal(signal.SIGTERM, polite)


class LookedAt(FakeCity):
    """Somebody looks at the own shop's board: rejects its first order and hurries with the second, and orders there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.visited = asyncio.Event()
        self.mine = ""
        self.quoted: set[str] = set()

    def of_shop(self) -> list[dict[str, Any]]:
        return [order for order in self.orders.values() if order["store"] == "sto_own" and order["note"] != "mine"]

    def change(self, order: dict[str, Any], type: str, state: str, former: str | None = None) -> None:
        super().change(order, type, state, former)
        if type == "order.paid" and order in self.of_shop():
            asyncio.get_running_loop().call_soon(self.look, order)
        completed = sum(o["state"] == "COMPLETED" for o in self.of_shop())
        if self.mine and self.orders[self.mine]["state"] == "DELIVERED" and completed >= 3:
            self.visited.set()

    def look(self, order: dict[str, Any]) -> None:
        number = self.of_shop().index(order)
        if number == 0:
            self.change(order, "order.rejected", "REJECTED")
            order["refunded"] = order["total"]
            self.change(order, "order.refunded", "REJECTED")
        elif number == 1:
            self.on_acceptOrder("OWNER", order["id"], 5)
            self.on_startPreparing("OWNER", order["id"])
            self.on_markOrderReady("OWNER", order["id"])
            at = order["at"]
            placing = {"quote": "sto_own", "note": "mine", "address": {"location": at}}
            self.mine = self.on_placeOrder("CONSUMER:me", placing, "k")["id"]
            self.change(self.orders[self.mine], "order.paid", "PAID")
            self.on_acceptOrder("OWNER", self.mine, 5)
            asyncio.get_running_loop().call_later(0.1, self.on_markOrderReady, "OWNER", self.mine)

    def on_createQuote(self, user: str, input: Any) -> Any:
        if input["store"] == "sto_own":
            dishes, juice, gone = (item["skus"] for item in self.stores["sto_own"]["menu"][0]["items"])
            prices = {sku["id"]: sku["price"]["amount"] for sku in (*dishes, *juice)}
            total = sum(line["quantity"] * prices[line["sku"]] for line in input["lines"])
            if total < 2000:
                return {"code": "BELOW_MINIMUM_ORDER", "message": "too little"}
            self.quoted.update(line["sku"] for line in input["lines"])
            assert not self.quoted & {sku["id"] for sku in gone}
        return super().on_createQuote(user, input)

    def allowed(self, order: str, *states: str) -> bool:
        return self.orders[order]["state"] in states

    def on_acceptOrder(self, user: str, order: str, prepMinutes: int) -> Any:
        if not self.allowed(order, "PAID"):
            return {"code": "ORDER_ACTION_NOT_ALLOWED", "message": "not paid"}
        return super().on_acceptOrder(user, order, prepMinutes)

    def on_startPreparing(self, user: str, order: str) -> Any:
        if not self.allowed(order, "ACCEPTED"):
            return {"code": "ORDER_ACTION_NOT_ALLOWED", "message": "not accepted"}
        return super().on_startPreparing(user, order)

    def on_markOrderReady(self, user: str, order: str) -> Any:
        if not self.allowed(order, "ACCEPTED", "PREPARING"):
            return {"code": "ORDER_ACTION_NOT_ALLOWED", "message": "not accepted"}
        return super().on_markOrderReady(user, order)


async def test_people_of_the_demo_order_at_the_owners_shop_and_whoever_looks_on_may_be_quicker() -> None:
    async with LookedAt() as city:
        city.own_shop()
        playing = asyncio.create_task(demo.play_forever(city.url, "ADMIN:+8613800000001", 1, 3_000.0, "OWNER"))
        async with asyncio.timeout(PATIENCE):
            await city.visited.wait()
        first, second, *others = city.of_shop()
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
    assert city.quoted, "for what comes to the minimum, of what is not sold out"
    assert first["state"] == "REJECTED" and first["delivery"] is None
    told = [event["type"] for event in city.log[f"order:{second['id']}"]]
    assert [told.count(step) for step in ("order.accepted", "order.preparing", "order.ready")] == [1, 1, 1]
    assert len({order["note"] for order in others}) > 1 and all(order["note"] in NOTES for order in others)


def test_the_demos_owner_has_a_few_orders_an_hour_and_more_at_meals() -> None:
    own = Restaurant("own", 4_500, 4_500)
    for number in range(3):
        day = generate(1, demo.ORDERS, number)
        played = with_own_shop(day, own, Random(f"own:1:{number}"))
        unchanged = [replace(o, restaurant="", note=None) for o in played.orders]
        assert unchanged == [replace(o, restaurant="") for o in day.orders]
        placed = [o.placed for o in played.orders if o.restaurant == "own"]

        def hourly(start: float, end: float, placed: list[float] = placed) -> float:
            return sum(start <= minute < end for minute in placed) / (end - start) * 60

        assert 10 <= hourly(*LUNCH) <= 25 and 6 <= hourly(*DINNER) <= 20
        assert 1 <= hourly(LUNCH[1], DINNER[0]) <= 5 and 1 <= hourly(OPEN[0], LUNCH[0]) <= 5
    first = with_own_shop(generate(1, demo.ORDERS), own, Random("own:1:0"))
    assert any(demo.FIRST_MORNING <= o.placed < demo.FIRST_MORNING + 20 for o in first.orders if o.restaurant == "own")


async def test_the_demo_survives_a_server_that_is_away() -> None:
    city = FakeCity()
    async with city:
        url = city.url
    playing = asyncio.create_task(demo.play_forever(url, "token", 1, 60.0))
    await asyncio.wait([playing], timeout=0.3)
    assert not playing.done()
    playing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await playing
