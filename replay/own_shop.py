"""The demo owner's own shop: people order there all day, and the staff leaves the first move to whoever looks on."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random
from typing import Any, Final

from core.geo import Point
from replay import operations
from replay.api import Api, Session
from replay.day import Day, Restaurant
from replay.generator import DINNER, LUNCH, REACH
from replay.merchant import Merchant
from replay.tally import OrderRun
from replay.timeline import Activity
from replay.town import Shop, Town, read_menu

NAME: Final = "own"
MEAL_SHARE: Final = 1 / 6
"""Of the orders at lunch and dinner that come from within reach, so many go to the own shop."""
QUIET_SHARE: Final = 1 / 2
"""Of those between the meals."""
HESITATION: Final = 4.0
"""Minutes in which somebody at the board can accept or reject an order before the staff accepts it."""
NOTES: Final = (
    "少放辣，谢谢 Not too hot, please",
    "不要香菜 No coriander",
    "放门口就行 Leave it at the door",
    "多给一双筷子 One more pair of chopsticks",
    "到了打电话 Please call on arrival",
    "不用餐具 No cutlery needed",
    "面条硬一点 Noodles firm, please",
)
"""What people write on their orders there, by which those of an interrupted day are known."""


async def find_own_shop(api: Api, owner: Session, town: Town) -> Shop | None:
    """The first store of the owner, put on the town's plane; None where nothing can be ordered. Raises CallFailed."""
    stores: list[dict[str, Any]] = await api.call(operations.MY_STORES, owner)
    if not stores:
        return None
    store = stores[0]
    x, y = town.plane.metres(Point(store["location"]["latitude"], store["location"]["longitude"]))
    menu = await read_menu(api, owner, store["id"])
    if not menu:
        return None
    return Shop(Restaurant(NAME, x, y), owner, store["id"], menu, store["minimumOrder"]["amount"])


def with_own_shop(day: Day, own: Restaurant, random: Random) -> Day:
    """The day, some of whose consumers order at the own shop instead: more at meals, some at any time."""

    def goes(minute: float, x: float, y: float) -> bool:
        meal = any(start <= minute < end for start, end in (LUNCH, DINNER))
        chance = MEAL_SHARE if meal else QUIET_SHARE
        return math.hypot(x - own.x, y - own.y) <= REACH and random.random() < chance

    orders = tuple(
        replace(o, restaurant=own.name, note=random.choice(NOTES)) if goes(o.placed, o.x, o.y) else o
        for o in day.orders
    )
    return Day(day.name, (*day.restaurants, own), day.couriers, orders, day.parameters)


class OwnStaff(Merchant):
    """Does what nobody at the board has done by then; what somebody did is left as it is."""

    def _run_of(self, order: dict[str, Any]) -> OrderRun | None:
        return self._stage.by_id.get(order["id"])

    def _left_over(self, order: dict[str, Any]) -> bool:
        return order["note"] in NOTES and self._run_of(order) is None  # others are of whoever looks on

    async def _cook(self, activity: Activity, order: str, run: OrderRun) -> None:
        stage, session = self._stage, self._shop.session
        if not await activity.until(run.plan.placed + HESITATION):
            return  # rejected, or called off
        prep = max(0, round(run.plan.ready - activity.at))
        await stage.try_call(operations.ACCEPT_ORDER, session, order=order, prepMinutes=prep)
        await stage.try_call(operations.START_PREPARING, session, order=order)
        if not await activity.until(run.plan.ready):
            return
        run.ready_told = True
        await stage.try_call(operations.MARK_READY, session, order=order)
