"""People who keep changing real orders through the public API, whatever happens to the server meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from replay import operations
from replay.api import Api, CallFailed, Refused, Session, ready_session
from replay.day import Courier, Day, OrderPlan, Parameters, Restaurant
from replay.operations import Operation
from replay.town import Builder, RiderPerson, Shop, Town, new_run

PATIENCE = 240.0
"""Seconds for which somebody tries the same thing again."""
OFFERED_WITHIN = 15.0

_DELIVERY = operations._operation(
    "query DeliveryNow($order: ID!) { order(id: $order) { id version state delivery { id state"
    " rider { id } offer { rider { id } } } } }"
)


QUEUE_UPDATES = operations._operation(
    "subscription QueueUpdates($store: ID!, $after: String) { queueBoardUpdates(store: $store, after: $after) {"
    " cursor kind type reset { reason } board { open classes { code waiting } } } }"
)
_OPEN = operations._mutation("setQueueOpen", "store: ID!, open: Boolean!", "QueueBoard", "open classes { id }")
_TAKE = operations._mutation(
    "takeQueueNumber", "store: ID!, partySize: Int!, idempotencyKey: String!", "QueueTicket", "id state"
)
_CALL = operations._mutation("callTicket", "ticket: ID!", "QueueTicket", "id state")
_SEAT = operations._mutation("seatTicket", "ticket: ID!", "QueueTicket", "id state")
_LEAVE = operations._mutation("cancelTicket", "ticket: ID!", "QueueTicket", "id state")


def a_day(shops: int, riders: int) -> Day:
    """Shops and riders a few hundred metres apart; the orders are made up on the way."""
    restaurants = tuple(Restaurant(f"r{i}", i * 200.0, 0.0) for i in range(shops))
    couriers = tuple(Courier(f"c{i}", i * 100.0, 100.0, 0, 1440) for i in range(riders))
    plan = OrderPlan("o", 300.0, 300.0, 0, "r0", 10)
    return Day("soak", restaurants, couriers, (plan,), Parameters(320, 4, 4, 40, 90, 0, 0))


@dataclass
class Acknowledged:
    """What the server said it had done: these events must be in the log."""

    versions: dict[str, int] = field(default_factory=dict[str, int])

    def note(self, answer: Any) -> None:
        if isinstance(answer, dict) and str(answer.get("id", "")).startswith("ord_") and "version" in answer:
            self.versions[answer["id"]] = max(self.versions.get(answer["id"], 0), answer["version"])


class Business:
    """Shops, riders and consumers of one city, and what they went through.

    ``placed`` is told of every new order and its consumer, ``over`` of its end.
    """

    def __init__(
        self, api: Api, random: Random, placed: Callable[[str, int, Session], None], over: Callable[[str], None]
    ) -> None:
        self._api = api
        self._random = random
        self._placed = placed
        self._over = over
        self.acknowledged = Acknowledged()
        self.outcomes: Counter[str] = Counter()
        self.troubles: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.calls = 0
        self.town: Town | None = None
        self._staff = ready_session("")
        self._store = ""
        self._riders: dict[str, RiderPerson] = {}
        self._number = 0
        self.stopping = False

    async def open(self, admin: Session, shops: int, riders: int, buyers: int) -> Town:
        """Make everybody, and send the riders out."""
        town = self.town = await Builder(self._api, admin, a_day(shops, riders), new_run(), buyers=buyers).build()
        self._riders = {person.rider: person for person in town.riders.values()}
        for index, person in enumerate(town.riders.values()):
            at = town.plane.point(index * 100.0, 100.0)
            location = {"latitude": at.latitude, "longitude": at.longitude, "crs": "GCJ02"}
            await self.do(operations.GO_ONLINE, person.session, location=location)
        return town

    async def work(self, pace: float) -> None:
        """One order after the other, with up to ``pace`` seconds between two steps, until :attr:`stopping`."""
        while not self.stopping:
            self._number += 1
            try:
                outcome = await self._order(self._number, pace)
            except (Refused, TimeoutError) as error:
                outcome = "given up"
                self.troubles[f"{type(error).__name__} {error}"[:120]] += 1
            self.outcomes[outcome] += 1

    async def open_queue(self, staff: Session, store: str) -> None:
        """Let the store hand out numbers."""
        self._staff, self._store = staff, store
        await self.do(_OPEN, staff, store=store, open=True)

    async def queue(self, pace: float) -> None:
        """Parties come, are called and seated, or leave, until :attr:`stopping`."""
        number = 0
        while not self.stopping:
            number += 1
            try:
                key = f"soak queue {number}"
                size = self._random.randint(1, 4)
                taken = await self.do(_TAKE, self._staff, store=self._store, partySize=size, idempotencyKey=key)
                await asyncio.sleep(self._random.uniform(0, pace))
                if self._random.random() < 0.3:
                    await self.do(_LEAVE, self._staff, ticket=taken["id"])
                else:
                    await self.do(_CALL, self._staff, ticket=taken["id"])
                    await asyncio.sleep(self._random.uniform(0, pace))
                    await self.do(_SEAT, self._staff, ticket=taken["id"])
                self.outcomes["party"] += 1
            except (Refused, TimeoutError) as error:
                self.troubles[f"{type(error).__name__} {error}"[:120]] += 1
            await asyncio.sleep(self._random.uniform(0, pace))

    async def once(self, operation: Operation, session: Session, **variables: Any) -> Any:
        """The answer to one attempt. Raises Refused and CallFailed."""
        answer = await self._api.call(operation, session, urgent=True, **variables)
        self.calls += 1
        return answer

    async def do(self, operation: Operation, session: Session, **variables: Any) -> Any:
        """The answer, however often it takes; None when an attempt whose answer was lost turns out to have worked."""
        unknown = False
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    answer = await self._api.call(operation, session, urgent=True, **variables)
                except CallFailed as failure:
                    assert "GRAPHQL" not in failure.reason, failure
                    unknown = True
                    self.failures[failure.reason[:60]] += 1
                    await asyncio.sleep(self._random.uniform(0.1, 0.6))
                except Refused as refused:
                    if refused.code == "PAYMENT_FAILED":  # the sandbox's provider lives in the workers too
                        self.failures[refused.code] += 1
                        await asyncio.sleep(self._random.uniform(0.1, 0.6))
                        continue
                    if unknown and "idempotencyKey" not in variables:
                        return None
                    raise
                else:
                    self.calls += 1
                    self.acknowledged.note(answer)
                    return answer

    async def _order(self, number: int, pace: float) -> str:
        town, random = self.town, self._random
        assert town is not None
        shop = random.choice(list(town.shops.values()))
        buyer = random.choice(town.buyers)
        order = await self._place(number, shop, buyer)
        self._placed(order, number, buyer)
        try:
            return await self._live(number, order, shop, buyer, pace)
        finally:
            self._over(order)

    async def _place(self, number: int, shop: Shop, buyer: Session) -> str:
        assert self.town is not None
        home = self.town.plane.point(300.0, 300.0)
        location = {"latitude": home.latitude, "longitude": home.longitude, "crs": "GCJ02"}
        dish = self._random.choice(shop.menu)
        lines = [{"sku": dish.sku, "quantity": 1, "options": list(dish.options)}]
        quote = await self.do(
            operations.CREATE_QUOTE,
            buyer,
            input={"store": shop.store, "mode": "DELIVERY", "lines": lines, "location": location},
        )
        address = {"contact": "Li", "phone": "+8613800138000", "text": "Home", "location": location}
        placing = {"quote": quote["id"], "address": address, "note": f"soak {number}"}
        placed = await self.do(operations.PLACE_ORDER, buyer, input=placing, idempotencyKey=f"soak {number} place")
        return placed["id"]

    async def _live(self, number: int, order: str, shop: Shop, buyer: Session, pace: float) -> str:
        random = self._random

        async def pause() -> None:
            await asyncio.sleep(random.uniform(0, pace))

        async def ends(operation: Operation, session: Session) -> str:
            await self.do(operation, session, order=order, reason="soak", idempotencyKey=f"soak {number} end")
            return "cancelled" if operation is operations.CANCEL_ORDER else "rejected"

        if random.random() < 0.05:
            return await ends(operations.CANCEL_ORDER, buyer)
        payment = await self.do(operations.PAY_ORDER, buyer, order=order, idempotencyKey=f"soak {number} pay")
        await self._pay(payment["payUrl"])
        await self._until(order, lambda now: now["state"] != "PLACED")
        await pause()
        if random.random() < 0.1:
            return await ends(operations.REJECT_ORDER, shop.session)
        await self.do(operations.ACCEPT_ORDER, shop.session, order=order, prepMinutes=5)
        await pause()
        await self.do(operations.START_PREPARING, shop.session, order=order)
        if random.random() < 0.1:
            return await ends(operations.CANCEL_ORDER, shop.session)
        await pause()
        await self.do(operations.MARK_READY, shop.session, order=order)
        return await self._deliver(number, order, buyer, pause)

    async def _deliver(self, number: int, order: str, buyer: Session, pause: Callable[[], Any]) -> str:
        assert self.town is not None
        try:
            now = await self._until(order, _offered, OFFERED_WITHIN)
        except TimeoutError:
            key = f"soak {number} end"
            await self.do(operations.CANCEL_ORDER, self.town.admin, order=order, reason="no rider", idempotencyKey=key)
            return "no rider"
        delivery = now["delivery"]
        rider = self._riders[(delivery["rider"] or delivery["offer"]["rider"])["id"]].session
        for step in (operations.ACCEPT_OFFER, operations.ARRIVE_AT_STORE, operations.PICK_UP, operations.COMPLETE):
            await self.do(step, rider, delivery=delivery["id"])
            await pause()
        await self.do(operations.CONFIRM_RECEIPT, buyer, order=order, idempotencyKey=f"soak {number} receipt")
        return "completed"

    async def _pay(self, url: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await self._api.pay_in_wallet(url)
                    return
                except CallFailed:
                    await asyncio.sleep(self._random.uniform(0.1, 0.6))

    async def _until(
        self, order: str, condition: Callable[[dict[str, Any]], Any], within: float = PATIENCE
    ) -> dict[str, Any]:
        assert self.town is not None
        async with asyncio.timeout(within):
            while True:
                now = await self.do(_DELIVERY, self.town.admin, order=order)
                if condition(now):
                    return now
                await asyncio.sleep(0.1)


def _offered(order: dict[str, Any]) -> bool:
    delivery = order["delivery"]
    return delivery is not None and (delivery["rider"] is not None or delivery["offer"] is not None)
