"""Plays a day: puts the people on the stage, lets time run, and compares what they saw with the truth."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from replay import operations
from replay.api import Api, CallFailed, Refused
from replay.consumer import Consumer, note
from replay.day import Day
from replay.feeds import CityFeed, Drops, ManyOrdersFeed, Verdict, read_again
from replay.merchant import Merchant
from replay.rider import Rider
from replay.sockets import Socket
from replay.stage import Stage
from replay.tally import OrderRun, Outcome
from replay.timeline import Timeline
from replay.town import Shop, Town

STANDSTILL: Final = 60.0
"""Real seconds without any progress after which those who hold time back are given up."""
CAUGHT_UP_WITHIN: Final = 10.0
AFTER_THE_DAY: Final = 120.0
"""Minutes after the last deadline that a consumer still hopes for."""
RENEW_EVERY: Final = 20.0
RENEW_AHEAD: Final = 180.0


@dataclass(frozen=True, slots=True)
class Choices:
    """How a day is played.

    ``pace``: simulated seconds per real second, None for as fast as possible. ``drop_share``: chance at every update
    that the subscriber loses its connection, ``most_drops`` of them at most. ``location_checks``: how often the
    consumer's newest rider position is compared with a query. ``lookahead``, ``window``: see
    :class:`replay.timeline.Timeline`.
    """

    pace: float | None = None
    seed: int = 1
    drop_share: float = 0.002
    most_drops: int | None = 40
    location_checks: int = 3
    lookahead: float = 6.0
    window: float = 0.0
    read_again: bool = True
    watch_city: bool = True


@dataclass(slots=True)
class Truth:
    """All orders as a query tells them in the end."""

    events: dict[str, list[tuple[int, str]]] = field(default_factory=dict[str, list[tuple[int, str]]])
    riders: dict[str, str | None] = field(default_factory=dict[str, "str | None"])
    states: dict[str, str] = field(default_factory=dict[str, str])


class World:
    """One day in one town."""

    def __init__(
        self,
        api: Api,
        day: Day,
        town: Town,
        run: str,
        choices: Choices,
        staff: Callable[[Stage, Shop], Merchant] = Merchant,
    ) -> None:
        self._choices = choices
        self.timeline = Timeline(day.start, pace=choices.pace, lookahead=choices.lookahead, window=choices.window)
        drops = Drops(choices.seed, choices.drop_share, choices.most_drops)
        self.stage = Stage(api, day, town, self.timeline, drops, run)
        self.stage.random = Random(f"world:{choices.seed}")
        self.stage.location_checks = choices.location_checks
        self.stage.tally.orders = [OrderRun(plan) for plan in day.orders]
        self.stage.by_note = {note(run, order.plan.name): order for order in self.stage.tally.orders}
        self.merchants = {name: staff(self.stage, shop) for name, shop in town.shops.items()}
        self.riders = [Rider(self.stage, town.riders[courier.name], courier) for courier in day.couriers]
        self._admin_socket = self.stage.open_socket(town.admin)
        self.city = CityFeed(town.city)
        self.verdicts: dict[str, Verdict] = {}
        self._keeper: asyncio.Task[None] | None = None

    @property
    def done(self) -> bool:
        return all(run.outcome is not None for run in self.stage.tally.orders)

    async def open(self) -> None:
        """Everybody who watches all day starts to watch. Raises CallFailed."""
        await self.stage.api.read_clock()
        self._keeper = asyncio.create_task(self._keep_signed_in())
        if self._choices.watch_city:
            await self.city.start(self._admin_socket)
        await asyncio.gather(*(m.open() for m in self.merchants.values()), *(r.open() for r in self.riders))

    async def play(self) -> None:
        """Let the day pass."""
        stage, tally, timeline = self.stage, self.stage.tally, self.timeline
        day, buyers = stage.day, stage.town.buyers
        limit = day.parameters.maximum_click_to_door
        horizon = AFTER_THE_DAY + max(
            [c.off for c in day.couriers] + [max(o.ready, o.placed + limit) for o in day.orders]
        )
        tally.began = time.monotonic()
        for i, run in enumerate(tally.orders):
            shop = stage.town.shops[run.plan.restaurant]
            consumer = Consumer(stage, buyers[i % len(buyers)], shop, run, horizon)
            stage.begin(timeline.begin(f"consumer {run.plan.name}", run.plan.placed), consumer.live, run)
        for rider in self.riders:
            stage.begin(timeline.begin(f"shift {rider.run.name}", rider.run.on), rider.work)
        timeline.open()
        await self._until_over()
        tally.playing_seconds = time.monotonic() - tally.began

    async def _until_over(self) -> None:
        """Wait for everybody; who does not move any more is given up."""
        stage = self.stage
        while stage.tasks:
            _, pending = await asyncio.wait(list(stage.tasks), timeout=1.0, return_when=asyncio.FIRST_EXCEPTION)
            if not pending or self._choices.pace is not None or self.timeline.standstill < STANDSTILL:
                continue
            holders = [a.task for a in self.timeline.holding_back() if a.task is not None and not a.task.done()]
            for task in holders or list(pending):
                task.cancel()

    async def _keep_signed_in(self) -> None:
        """Renew tokens of those who only listen, and tell their sockets."""
        while True:
            await asyncio.sleep(RENEW_EVERY)
            for socket in list(self.stage.sockets):
                session = socket.session
                if session.refresh and session.expires - time.time() < RENEW_AHEAD:
                    try:
                        await self.stage.api.renew(session, RENEW_AHEAD)
                        await socket.refreshed()
                    except (CallFailed, Refused) as error:
                        self.stage.tally.fail(str(error))

    # afterwards

    async def check(self) -> None:
        """Compare what every subscriber saw with what queries say now. Raises CallFailed."""
        began = time.monotonic()
        truth = await self._truth()
        await self._caught_up(truth)
        for kind in ("order", "store board", "rider tasks", "rider location", "city"):
            self.verdicts[kind] = Verdict()
        await self._check_city()
        by_store = self._by_store(truth)
        for run in self.stage.tally.orders:
            if run.feed is not None and run.id is not None:
                run.feed.judge(truth.events[run.id], self.verdicts["order"])
            if run.location is not None:
                run.location.judge(self.verdicts["rider location"])
        for name, merchant in self.merchants.items():
            merchant.feed.judge(by_store[name], self.verdicts["store board"])
        for rider in self.riders:
            rider.feed.judge(truth.events, truth.riders, self.verdicts["rider tasks"])
        if self._choices.read_again:
            await self._read_all_again()
        self._check_states(truth)
        self.stage.tally.checking_seconds = time.monotonic() - began

    def _by_store(self, truth: Truth) -> dict[str, dict[str, list[tuple[int, str]]]]:
        found: dict[str, dict[str, list[tuple[int, str]]]] = {name: {} for name in self.merchants}
        for run in self.stage.tally.orders:
            if run.id is not None:
                found[run.plan.restaurant][run.id] = truth.events[run.id]
        return found

    async def _truth(self) -> Truth:
        truth = Truth()
        played = [run for run in self.stage.tally.orders if run.id is not None]
        await asyncio.gather(*(self._order_truth(run, truth) for run in played))
        return truth

    async def _order_truth(self, run: OrderRun, truth: Truth) -> None:
        assert run.id is not None
        events: list[tuple[int, str]] = []
        after: str | None = None
        while True:
            order = await self.stage.api.call(operations.ORDER_TRUTH, self.stage.town.admin, order=run.id, after=after)
            page = order["events"]
            events.extend((event["version"], event["type"]) for event in page["nodes"])
            if not page["pageInfo"]["hasNextPage"]:
                break
            after = page["pageInfo"]["endCursor"]
        if [version for version, _ in events] != list(range(1, order["version"] + 1)):
            self.stage.tally.fail(f"the events of an order are not 1 to {order['version']}: {events}")
        truth.events[run.id] = events
        truth.states[run.id] = order["state"]
        delivery = order["delivery"]
        rider = None if delivery is None else delivery["rider"]
        truth.riders[run.id] = None if rider is None else rider["id"]
        if run.outcome is Outcome.CANCELLED and order["refunded"] != order["total"]:
            self.stage.tally.fail(f"an order was refunded {order['refunded']} of {order['total']}")

    def _check_states(self, truth: Truth) -> None:
        """What the players believe must be what the server says."""
        wanted = {Outcome.DELIVERED: "COMPLETED", Outcome.CANCELLED: "CANCELLED"}
        for run in self.stage.tally.orders:
            state = None if run.outcome is None else wanted.get(run.outcome)
            if run.id is not None and state is not None and truth.states[run.id] != state:
                self.stage.tally.fail(f"an order {run.outcome} is {truth.states[run.id]} for the server")

    async def _caught_up(self, truth: Truth) -> None:
        """Give what is under way the time to arrive."""
        deadline = time.monotonic() + CAUGHT_UP_WITHIN
        owed: list[tuple[ManyOrdersFeed, str, int]] = []
        riders = {rider.feed.rider: rider.feed for rider in self.riders}
        for run in self.stage.tally.orders:
            if run.id is None or not truth.events[run.id]:
                continue
            last, types = truth.events[run.id][-1][0], {type for _, type in truth.events[run.id]}
            if "order.paid" in types:
                owed.append((self.merchants[run.plan.restaurant].feed, run.id, last))
            rider = truth.riders[run.id]
            if rider in riders:
                owed.append((riders[rider], run.id, last))
        while time.monotonic() < deadline:
            owed = [(feed, order, last) for feed, order, last in owed if feed.latest.get(order, 0) < last]
            if not owed:
                return
            await asyncio.sleep(0.05)

    async def _check_city(self) -> None:
        deadline = time.monotonic() + CAUGHT_UP_WITHIN
        while True:
            answer: Any = await self.stage.api.call(
                operations.CITY_OVERVIEW, self.stage.town.admin, city=self.stage.town.city
            )
            if self.city.shows(answer["overview"]) or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.25)
        self.city.judge(answer["overview"], self.verdicts["city"])

    async def _read_all_again(self) -> None:
        """Read every store's and every rider's feed a second time, from its first cursor."""
        slots = asyncio.Semaphore(24)

        async def again(feed: ManyOrdersFeed, socket: Socket, verdict: Verdict) -> None:
            if feed.first_cursor is None:
                return
            async with slots:
                found = await read_again(feed, socket, CAUGHT_UP_WITHIN)
            if found is None:
                verdict.wrong += 1
                verdict.complain(f"{feed.name}: could not be read again")
            else:
                feed.judge_against(found, verdict)

        store, rider = self.verdicts["store board"], self.verdicts["rider tasks"]
        await asyncio.gather(
            *(again(m.feed, m.socket, store) for m in self.merchants.values()),
            *(again(r.feed, r.socket, rider) for r in self.riders),
        )

    async def close(self) -> None:
        """End all that still runs and leave."""
        if self._keeper is not None:
            self._keeper.cancel()
        for task in list(self.stage.tasks):
            task.cancel()
        await asyncio.gather(*self.stage.tasks, return_exceptions=True)
        await asyncio.gather(*(self.stage.close_socket(socket) for socket in list(self.stage.sockets)))
