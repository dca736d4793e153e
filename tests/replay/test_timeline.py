"""Simulated time: strict events never overtake each other, loose ones stay within the lookahead."""

from __future__ import annotations

import asyncio
import time
from random import Random

from replay.sightings import Sightings
from replay.timeline import FOREVER, Activity, Timeline
from tests.patience import PATIENCE


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_strict_events_happen_in_order_of_simulated_time_however_long_they_take() -> None:
    timeline, random, happened = Timeline(0), Random(1), list[float]()

    async def live(activity: Activity, minutes: list[float]) -> None:
        with activity:
            for minute in minutes:
                await activity.until(minute, strict=True)
                for _ in range(random.randrange(5)):
                    await asyncio.sleep(0)
                happened.append(minute)

    plans = [sorted(random.sample(range(200), 15)) for _ in range(30)]
    tasks = [
        asyncio.create_task(live(timeline.begin(str(i), p[0]), [float(m) for m in p])) for i, p in enumerate(plans)
    ]
    await settle()
    assert happened == [] or happened == sorted(happened)
    timeline.open()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*tasks)
    assert happened == sorted(happened)
    assert len(happened) == 30 * 15


async def test_a_strict_event_waits_for_whoever_may_still_act_before_it() -> None:
    timeline, done = Timeline(0), list[str]()
    earlier = timeline.begin("earlier", 5)

    async def later(activity: Activity) -> None:
        with activity:
            await activity.until(6, strict=True)
            done.append("later")

    task = asyncio.create_task(later(timeline.begin("later", 6)))
    await settle()
    assert done == []
    earlier.nothing_strict_before(5.5)
    await settle()
    assert done == []
    earlier.nothing_strict_before(7)
    await task
    assert done == ["later"]


async def test_loose_events_run_ahead_by_no_more_than_the_lookahead() -> None:
    timeline = Timeline(0, lookahead=5)
    holding = timeline.begin("holding", 10)

    async def sleep(until: float) -> None:
        with timeline.begin("loose", until) as activity:
            await activity.until(until)

    near, far = asyncio.create_task(sleep(15)), asyncio.create_task(sleep(15.5))
    await settle()
    assert near.done() and not far.done()
    timeline.end(holding)
    await far


async def test_whoever_promises_nothing_any_more_does_not_hold_time_back() -> None:
    timeline = Timeline(0)
    with timeline.begin("watching", 0) as watching, timeline.begin("acting", 50) as acting:
        watching.nothing_strict_before(FOREVER)
        async with asyncio.timeout(PATIENCE):
            assert await acting.until(50, strict=True)
        assert timeline.now == 50
        assert timeline.holding_back() == [acting]


async def test_a_sleeper_can_be_woken_before_its_time() -> None:
    timeline = Timeline(0)
    with timeline.begin("holding", 1), timeline.begin("sleeper", 2) as sleeper:
        sleeping = asyncio.create_task(sleeper.until(90, strict=True))
        await settle()
        sleeper.wake()
        assert await sleeping is False
        assert sleeper.at == 2


async def test_with_a_pace_minutes_take_their_share_of_real_time() -> None:
    timeline = Timeline(100, pace=1200)  # twenty minutes a second
    began = time.monotonic()
    timeline.open()
    with timeline.begin("one", 100) as activity:
        assert await activity.until(102)
        assert time.monotonic() - began >= 0.1
        assert timeline.now >= 102
        await activity.until(101)  # already past: no sleep
        assert activity.at == 102
        assert timeline.lag.count == 2


async def test_a_delivery_is_seen_whether_it_comes_before_or_after_it_is_awaited() -> None:
    sightings = Sightings()
    assert sightings.saw("early") is None
    assert await sightings.expect("early", 7, PATIENCE)
    waiting = asyncio.create_task(sightings.expect("late", 9, PATIENCE))
    await settle()
    assert sightings.saw("late") == 9
    assert await waiting


async def test_a_delivery_that_never_comes_ends_the_wait() -> None:
    assert not await Sightings().expect("never", 1, 0.01)
