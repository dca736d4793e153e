"""Keeps the demo city alive: generated days, one after the other, against a running server."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from dataclasses import replace
from random import Random
from typing import Final

from core import logs
from replay import own_shop
from replay.api import Api, CallFailed, Refused, ready_session
from replay.day import Day
from replay.generator import generate
from replay.merchant import Merchant
from replay.own_shop import OwnStaff, find_own_shop, with_own_shop
from replay.stage import Stage
from replay.town import Builder, Shop, Town, new_run
from replay.world import Choices, World

log = logs.get(__name__)

ORDERS: Final = 360
"""Orders of one demo day."""
BUYERS: Final = 60
FIRST_MORNING: Final = 690.0
"""The first day begins with the rush of lunch, so that there is something to see at once."""
LONGEST_PAUSE: Final = 30.0


async def play_forever(
    base_url: str, admin_token: str, seed: int = 1, speed: float | None = None, owner_token: str | None = None
) -> None:
    """Play one day after the other until SIGTERM or cancellation.

    :param speed: simulated seconds per real second; by default as fast as the server's clock runs.
    :param owner_token: of a merchant, at whose first store people order too.

    The same seed always has the same people, also after a restart. When the server is away, the day is given up
    and another one begins once it is back.
    """
    stop = asyncio.Event()
    if sys.platform != "win32":
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    playing = asyncio.create_task(_days(base_url, admin_token, seed, speed, owner_token))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([playing, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        playing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await playing


async def _days(base_url: str, admin_token: str, seed: int, speed: float | None, owner_token: str | None) -> None:
    number, pause = 0, 1.0
    owner = None if owner_token is None else ready_session(owner_token)
    town: Town | None = None
    while True:
        day = generate(seed, ORDERS, number)
        if number == 0:
            day = _from(day, FIRST_MORNING)
        try:
            async with Api(base_url, parallel=4) as api:
                _, clock_speed = await api.read_clock()
                if town is None:
                    admin = ready_session(admin_token)
                    town = await Builder(api, admin, day, seed % 80_000, again=True, buyers=BUYERS).build()
                own = None if owner is None else await find_own_shop(api, owner, town)
                if own is not None:
                    town.shops[own.plan.name] = own
                    day = with_own_shop(day, own.plan, Random(f"own:{seed}:{number}"))
                await _day(api, day, town, f"demo-{new_run():05d}-{number}", speed or clock_speed)
            pause = 1.0
            number += 1
        except (CallFailed, Refused) as error:
            log.warning("demo.interrupted", reason=str(error))
            # People who cannot go on as they are sign in again.
            town = None
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)


async def _day(api: Api, day: Day, town: Town, name: str, pace: float) -> None:
    choices = Choices(pace=pace, drop_share=0, location_checks=0, read_again=False, watch_city=False)
    world = World(api, day, town, name, choices, _staff)
    try:
        await world.open()
        await world.play()
    finally:
        await world.close()
    tally = world.stage.tally
    if tally.failures:
        log.warning("demo.troubles", count=sum(tally.failures.values()), first=next(iter(tally.failures)))
    if not any(run.id is not None for run in tally.orders):
        raise CallFailed("demo", "nobody could order")


def _staff(stage: Stage, shop: Shop) -> Merchant:
    return OwnStaff(stage, shop) if shop.plan.name == own_shop.NAME else Merchant(stage, shop)


def _from(day: Day, minute: float) -> Day:
    """The day without what came before ``minute``; who was on duty already comes on duty then."""
    return Day(
        day.name,
        day.restaurants,
        tuple(replace(c, on=max(c.on, minute)) for c in day.couriers if c.off > minute),
        tuple(o for o in day.orders if o.placed >= minute),
        day.parameters,
    )
