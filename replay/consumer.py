"""A consumer: orders, pays, watches, confirms; or gives up when nobody brings the food."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

from replay import operations
from replay.api import Refused, Session
from replay.feeds import LocationFeed, OrderFeed
from replay.sockets import Socket
from replay.stage import OWED_WITHIN, Stage
from replay.tally import OrderRun, Outcome
from replay.timeline import FOREVER, Activity
from replay.town import Shop

REFUND_WITHIN: Final = 30.0
"""Real seconds within which a refund must have arrived."""
LOCATION_WITHIN: Final = 5.0
OVER: Final = frozenset({"DELIVERED", "COMPLETED", "CANCELLED", "REJECTED", "EXPIRED"})
WITH_RIDER: Final = frozenset({"ASSIGNED", "AT_STORE", "PICKED_UP"})


class Consumer:
    """One order of one consumer, with the app open while it lives."""

    def __init__(self, stage: Stage, session: Session, shop: Shop, run: OrderRun, horizon: float) -> None:
        self._stage = stage
        self._session = session
        self._shop = shop
        self._run = run
        self._horizon = horizon
        self._socket: Socket | None = None
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._activity: Activity | None = None
        self._watching: asyncio.Task[None] | None = None

    async def live(self, activity: Activity) -> None:
        """From hunger to the end of the order."""
        self._activity = activity
        run = self._run
        try:
            await activity.until(run.plan.placed)
            await self._order(activity)
            await self._wait_for_food(activity)
        finally:
            if run.outcome is None:
                run.outcome = Outcome.FAILED
                run.fail(f"ended as {run.state}")
            await self._hang_up()

    # ordering

    def _basket(self) -> list[dict[str, Any]]:
        pick = Random(f"{self._stage.run}:{self._run.plan.name}")
        dishes = pick.sample(self._shop.menu, min(len(self._shop.menu), pick.choice((1, 1, 2))))
        wanted = [(dish, pick.choice((1, 1, 2))) for dish in dishes]
        missing = self._shop.minimum - sum(dish.price * quantity for dish, quantity in wanted)
        if missing > 0:
            dish, quantity = wanted[0]
            wanted[0] = (dish, quantity + math.ceil(missing / dish.price))
        return [{"sku": dish.sku, "quantity": quantity, "options": list(dish.options)} for dish, quantity in wanted]

    async def _order(self, activity: Activity) -> None:
        stage, api, run, session = self._stage, self._stage.api, self._run, self._session
        home = stage.town.plane.point(run.plan.x, run.plan.y)
        location = {"latitude": home.latitude, "longitude": home.longitude, "crs": "GCJ02"}
        quote = await api.call(
            operations.CREATE_QUOTE,
            session,
            input={"store": self._shop.store, "mode": "DELIVERY", "lines": self._basket(), "location": location},
        )
        address = {
            "contact": f"Customer {run.plan.name}",
            "phone": "+8613800138000",
            "text": f"{round(run.plan.x)} m east, {round(run.plan.y)} m north",
            "location": location,
        }
        said = note(stage.run, run.plan.name) if run.plan.note is None else run.plan.note
        order = await api.call(
            operations.PLACE_ORDER,
            session,
            input={"quote": quote["id"], "address": address, "note": said},
            idempotencyKey=f"{stage.run}:{run.plan.name}:place",
        )
        run.id, run.total, run.state = order["id"], order["total"]["amount"], "PLACED"
        stage.by_id[order["id"]] = run
        self._socket = stage.open_socket(session)
        feed = run.feed = OrderFeed(order["id"], self._look)
        await feed.start(self._socket, stage.drops)
        payment = await api.call(
            operations.PAY_ORDER, session, order=order["id"], idempotencyKey=f"{stage.run}:{run.plan.name}:pay"
        )
        if not await feed.started(OWED_WITHIN):
            stage.tally.unseen("the snapshot of an order by its consumer")
        began = time.perf_counter()
        await api.pay_in_wallet(payment["payUrl"])
        if not await self._see(lambda: run.state != "PLACED", OWED_WITHIN):
            stage.tally.unseen("a payment by its consumer")
        run.wallet_seconds = time.perf_counter() - began
        run.paid = activity.at
        await stage.owed(("board", order["id"]), activity.at, "a paid order by its store", run)

    def _look(self, update: dict[str, Any]) -> None:
        order, run = update["order"], self._run
        run.state, run.refunded = order["state"], order["refunded"]["amount"]
        if run.state == "PICKED_UP" and run.location is None:
            run.location = LocationFeed(order["id"])
            self._watching = asyncio.create_task(self._watch_rider(run.location))
        if run.state == "DELIVERED":
            self._stage.sightings.saw(("delivered", order["id"]))
        if run.state in OVER and self._activity is not None:
            self._activity.wake()
        for condition, seen in self._waiters:
            if condition() and not seen.done():
                seen.set_result(None)

    async def _watch_rider(self, feed: LocationFeed) -> None:
        if self._socket is not None:
            await feed.start(self._socket)

    async def _see(self, condition: Callable[[], bool], within: float) -> bool:
        """Wait, in real seconds, until the order's feed has shown what makes ``condition`` true."""
        if condition():
            return True
        seen: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((condition, seen))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await seen
        return condition()

    # waiting

    async def _wait_for_food(self, activity: Activity) -> None:
        run = self._run
        patience = run.plan.placed + self._stage.day.parameters.maximum_click_to_door
        activity.nothing_strict_before(patience)
        if run.state not in OVER and await activity.until(patience, strict=True) and run.state not in OVER:
            await self._give_up_or_wait(activity)
        activity.nothing_strict_before(FOREVER)
        if run.state == "DELIVERED":
            await self._confirm()
        elif run.state == "COMPLETED":
            run.outcome = Outcome.DELIVERED
        elif run.state in OVER:
            await self._await_refund()
        else:
            self._stage.trouble(f"an order was left {run.state}", run)

    async def _give_up_or_wait(self, activity: Activity) -> None:
        if await self._cancel():
            await self._see(lambda: self._run.state in OVER, OWED_WITHIN)
            return
        activity.nothing_strict_before(FOREVER)
        if self._run.state not in OVER:
            await activity.until(self._horizon)

    async def _cancel(self) -> bool:
        """Call the order off, unless a rider has it: whoever may do so does it. False when it goes on."""
        stage, run = self._stage, self._run
        answer: Any = None
        for who, session in (
            ("consumer", self._session),
            ("store", self._shop.session),
            ("admin", stage.town.admin),
        ):
            now = await stage.api.call(operations.ORDER_NOW, self._session, urgent=True, order=run.id)
            delivery = now["delivery"]
            if now["state"] in OVER or (delivery is not None and delivery["state"] in WITH_RIDER):
                return False
            answer = await stage.try_call(
                operations.CANCEL_ORDER,
                session,
                order=run.id,
                reason="nobody delivers it",
                idempotencyKey=f"{stage.run}:{run.plan.name}:cancel",
            )
            if not isinstance(answer, Refused):
                run.cancelled_by = who
                return True
        stage.trouble(f"could not be called off: {answer}", run)
        return False

    async def _await_refund(self) -> None:
        run = self._run
        if await self._see(lambda: run.refunded == run.total, REFUND_WITHIN):
            run.outcome = Outcome.CANCELLED
            run.reason = run.reason or "no rider in time"
        else:
            self._stage.trouble(f"refunded {run.refunded} of {run.total}", run)

    async def _confirm(self) -> None:
        run = self._run
        key = f"{self._stage.run}:{run.plan.name}:confirm"
        await self._stage.api.call(operations.CONFIRM_RECEIPT, self._session, order=run.id, idempotencyKey=key)
        if await self._see(lambda: run.state == "COMPLETED", OWED_WITHIN):
            run.outcome = Outcome.DELIVERED
        else:
            self._stage.tally.unseen("a completed order by its consumer")

    async def _hang_up(self) -> None:
        if self._watching is not None:
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._socket is not None:
            await self._stage.close_socket(self._socket)
            self._socket = None


def note(day: str, order: str) -> str:
    """What the consumer writes on the order; the kitchen finds its plan by it."""
    return f"{day} #{order}"


async def inspect_location(stage: Stage, run: OrderRun) -> None:
    """Compare the newest position that the consumer's feed showed with what a query says."""
    feed = run.location
    if feed is None or run.id is None:
        return
    now = await stage.api.call(operations.RIDER_LOCATION_NOW, stage.town.admin, order=run.id)
    location = None if now["delivery"] is None else now["delivery"]["riderLocation"]
    said = None if location is None else location["recordedAt"]
    deadline = time.monotonic() + LOCATION_WITHIN
    while time.monotonic() < deadline and (not feed.instants or feed.instants[-1] != said):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    feed.checked_last = (feed.instants[-1] if feed.instants else None, said)
