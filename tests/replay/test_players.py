"""The players against a city in memory: a whole day ends well, and every misbehaviour of a feed is found."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest
from rich.console import Console

from replay import demo
from replay.command import Options, play
from replay.generator import generate
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
