"""A snapshot with the events after it equals a fresh snapshot, for every feed and every action (invariant 11)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from models.ordering import OrderAction
from services.ordering.machine import ON_STORE_BOARD, TRANSITIONS
from tests.api import documents as doc
from tests.api.city import City, key
from tests.api.follower import Follower

ORDER = """id number version state mode placedAt payBy paidAt acceptBy acceptedAt promisedReadyAt readyAt pickedUpAt
    deliveredAt completedAt closedAt closeReason eta note total { amount } refunded { amount } availableActions
    address { text phone } delivery { id state eta pickupEta distanceMetres }"""
ORDER_UPDATES = f"""subscription ($order: ID!, $after: String) {{ orderUpdates(order: $order, after: $after) {{
    cursor kind type at reset {{ reason }} order {{ {ORDER} }} }} }}"""
BOARD = f"""subscription ($store: ID!, $after: String) {{ storeBoard(store: $store, after: $after) {{
    cursor kind type at reset {{ reason }} orders {{ {ORDER} }} }} }}"""
TASKS = f"""subscription ($after: String) {{ riderTasks(after: $after) {{ cursor kind type at reset {{ reason }}
    gone tasks {{ id state eta pickupEta rider {{ id }} offer {{ expiresAt rider {{ id }} }}
    order {{ {ORDER} }} }} }} }}"""
QUEUE = """subscription ($store: ID!, $after: String) { queueBoardUpdates(store: $store, after: $after) {
    cursor kind type at reset { reason } board { open classes { code waiting estimatedWaitMinutes
    next { id number state position version } calling { id number state version } } } } }"""

State = Any


@dataclass
class Feed:
    """What is followed, and how an update changes what a follower has."""

    token: str
    query: str
    variables: dict[str, Any]
    apply: Callable[[State, dict[str, Any]], State]
    followers: list[Follower] = field(default_factory=list)


def latest(name: str) -> Callable[[State, dict[str, Any]], State]:
    return lambda state, update: update[name]


def board(state: State, update: dict[str, Any]) -> State:
    """Orders by id; those that left the board go."""
    held = {} if update["kind"] == "SNAPSHOT" else dict(state)
    held |= {order["id"]: order for order in update["orders"]}
    return {id: order for id, order in held.items() if order["state"] in ON_STORE_BOARD}


def tasks_of(rider: str) -> Callable[[State, dict[str, Any]], State]:
    """Deliveries by id that are offered to or carried out by this rider."""

    def mine(task: dict[str, Any]) -> bool:
        if task["state"] == "OFFERED":
            return task["offer"]["rider"]["id"] == rider
        return task["state"] in ("ASSIGNED", "AT_STORE", "PICKED_UP") and task["rider"]["id"] == rider

    def apply(state: State, update: dict[str, Any]) -> State:
        held = {} if update["kind"] == "SNAPSHOT" else dict(state)
        held |= {task["id"]: task for task in update["tasks"]}
        assert all(mine(task) or task["state"] == "DELIVERED" for task in update["tasks"])
        return {id: task for id, task in held.items() if mine(task) and id not in update["gone"]}

    return apply


def applied(feed: Feed, updates: list[dict[str, Any]], state: State = None) -> State:
    for update in updates:
        state = feed.apply(state, update)
    return state


def until(follower: Follower, cursor: str) -> list[dict[str, Any]]:
    """What it was told up to that cursor: a refund that the provider confirms later adds to the feed."""
    position = next(n for n, update in enumerate(follower.values) if update["cursor"] == cursor)
    return follower.values[: position + 1]


@dataclass
class Stage:
    """A store, its people, and followers of every feed, one more after each step."""

    city: City
    stack: AsyncExitStack
    owner: str
    store: str
    sku: str
    feeds: list[Feed]
    steps: set[str] = field(default_factory=set)

    async def attach(self) -> None:
        """One more follower of every feed, from now on."""
        for feed in self.feeds:
            follower = await self.stack.enter_async_context(self.city.follow(feed.token, feed.query, **feed.variables))
            await follower.count(1)
            feed.followers.append(follower)

    async def act(self, token: str, document: str, **variables: Any) -> Any:
        value = await self.city.do(token, document, **variables)
        assert "code" not in value, value
        await self.attach()
        return value

    async def check(self) -> None:
        """Every follower has what a fresh one gets, and every cursor resumes into the same events."""
        for feed in self.feeds:
            async with self.city.follow(feed.token, feed.query, **feed.variables) as fresh:
                await fresh.count(1)
            want, top = feed.apply(None, fresh.values[0]), fresh.values[0]["cursor"]
            for follower in feed.followers:
                await follower.until(lambda update, top=top: update["cursor"] == top)
                assert follower.values[0]["kind"] == "SNAPSHOT" and follower.values[0]["reset"] is None
                assert applied(feed, until(follower, top)) == want
            if feed.query is not QUEUE:
                await self._check_events(feed, want, top)

    async def _check_events(self, feed: Feed, want: State, top: str) -> None:
        whole = until(feed.followers[0], top)
        cursors = [update["cursor"] for update in whole]
        assert len(set(cursors)) == len(cursors)
        for follower in feed.followers:
            attached = cursors.index(follower.values[0]["cursor"]) + 1
            # Its snapshot was fresh then: what the first follower had at that offset must equal it.
            assert applied(feed, follower.values[:1]) == applied(feed, whole[:attached])
            assert until(follower, top)[1:] == whole[attached:]
        for position, cursor in enumerate(cursors[:-1]):
            async with self.city.follow(feed.token, feed.query, **feed.variables, after=cursor) as resumed:
                await resumed.until(lambda update: update["cursor"] == top)
            rest = until(resumed, top)
            assert rest == whole[position + 1 :]
            assert applied(feed, rest, applied(feed, whole[: position + 1])) == want


@pytest.fixture
async def stage(city: City) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        owner, store, sku = await city.shop()
        feed = Feed(owner, BOARD, {"store": store}, board)
        yield Stage(city, stack, owner, store, sku, [feed])


async def watch(stage: Stage, consumer: str, mode: str) -> str:
    """A new order and followers of its feed."""
    order = await stage.city.place(consumer, stage.store, stage.sku, mode)
    stage.feeds.append(Feed(consumer, ORDER_UPDATES, {"order": order}, latest("order")))
    await stage.attach()
    return order


def types(stage: Stage) -> set[str]:
    """Names of the events that the followers were told."""
    return {update["type"] for feed in stage.feeds for update in feed.followers[0].values} - {None}


async def test_a_delivery_with_a_rider_who_declines(stage: Stage) -> None:
    city, owner, consumer = stage.city, stage.owner, await stage.city.consumer()
    (first, first_id), (second, second_id) = await city.rider(), await city.rider(online=False)
    for token, rider_id in ((first, first_id), (second, second_id)):
        stage.feeds.append(Feed(token, TASKS, {}, tasks_of(rider_id)))
    order = await watch(stage, consumer, "DELIVERY")
    await city.pay(consumer, order)
    await stage.attach()
    delivery = (await stage.act(owner, doc.ACCEPT, order=order))["delivery"]["id"]
    await stage.act(first, doc.DECLINE_OFFER, delivery=delivery)
    await stage.act(second, doc.GO_ONLINE, at={"latitude": 39.9105, "longitude": 116.4131})
    await stage.act(second, doc.ACCEPT_OFFER, delivery=delivery)
    await stage.act(owner, doc.START, order=order)
    await stage.act(owner, doc.REFUND, order=order, key=key())
    await stage.act(second, doc.ARRIVE, delivery=delivery)
    await stage.act(owner, doc.READY, order=order)
    await stage.act(second, doc.PICK_UP, delivery=delivery)
    await stage.act(second, doc.COMPLETE, delivery=delivery)
    await stage.act(consumer, doc.CONFIRM, order=order, key=key())
    await stage.check()
    assert {"delivery.offered", "delivery.declined", "delivery.assigned", "delivery.at_store"} <= types(stage)
    assert {"order.picked_up", "order.delivered", "order.completed"} <= types(stage)
    for rider in (first, second):
        await city.do(rider, doc.GO_OFFLINE)


async def test_a_delivery_that_a_rider_grabs_and_the_platform_cancels(stage: Stage) -> None:
    city, owner, consumer = stage.city, stage.owner, await stage.city.consumer()
    order = await watch(stage, consumer, "DELIVERY")
    await city.pay(consumer, order)
    delivery = (await stage.act(owner, doc.ACCEPT, order=order))["delivery"]["id"]
    rider, rider_id = await city.rider()
    stage.feeds.append(Feed(rider, TASKS, {}, tasks_of(rider_id)))
    # One who declined may still change one's mind.
    await stage.attach()
    await stage.act(rider, doc.DECLINE_OFFER, delivery=delivery)
    await stage.act(rider, doc.on_delivery("grabDelivery"), delivery=delivery)
    await stage.act(city.tokens["admin"], doc.CANCEL, order=order, key=key())
    await stage.check()
    assert "order.cancelled" in types(stage)
    assert not any(applied(feed, feed.followers[0].values) for feed in stage.feeds if feed.query is TASKS)
    await city.do(rider, doc.GO_OFFLINE)


async def test_orders_without_a_rider(stage: Stage) -> None:
    """Fetched, rejected, cancelled before and after payment, expired unpaid and unaccepted; side by side."""
    city, owner, consumer = stage.city, stage.owner, await stage.city.consumer()
    fetched, rejected, unpaid, unwanted, forgotten, ignored = [
        await watch(stage, consumer, mode) for mode in ("PICKUP", "PICKUP", "PICKUP", "PICKUP", "PICKUP", "DELIVERY")
    ]
    for order in (fetched, rejected, unwanted, ignored):
        await city.pay(consumer, order)
    await stage.act(owner, doc.REJECT, order=rejected, key=key())
    await stage.act(consumer, doc.CANCEL, order=unpaid, key=key())
    await stage.act(consumer, doc.CANCEL, order=unwanted, key=key())
    await stage.act(owner, doc.ACCEPT, order=fetched)
    await stage.act(owner, doc.READY, order=fetched)
    await stage.act(owner, doc.HAND_OVER, order=fetched)
    await stage.act(consumer, doc.CONFIRM, order=fetched, key=key())
    await city.miss_deadlines(forgotten, ignored)
    await stage.attach()
    await stage.check()
    assert {"order.rejected", "order.cancelled", "order.expired", "order.handed_over", "order.completed"} <= types(
        stage
    )


def test_every_action_is_driven() -> None:
    """A new action needs a place in the tests above."""
    assert {action for _, action in TRANSITIONS} == set(OrderAction)
    assert len(OrderAction) == 12


async def test_a_queue(stage: Stage) -> None:
    city, owner, store = stage.city, stage.owner, stage.store
    stage.feeds = [Feed(token, QUEUE, {"store": store}, latest("board")) for token in (owner, city.tokens["consumer"])]
    await stage.attach()
    await stage.act(owner, doc.QUEUE_OPEN, store=store, open=True)
    people = [await city.consumer() for _ in range(5)]
    tickets = [(await stage.act(p, doc.TAKE, store=store, size=2, key=key()))["id"] for p in people]
    classes = await city.do(owner, "query ($s: ID!) { store(id: $s) { queue { classes { id } } } }", s=store)
    first = classes["queue"]["classes"][0]["id"]
    called = await stage.act(owner, doc.CALL_NEXT, store=store, key=key(), **{"class": first})
    assert called["id"] == tickets[0]
    await stage.act(owner, doc.on_ticket("seatTicket"), ticket=tickets[0])
    await stage.act(owner, doc.on_ticket("callTicket"), ticket=tickets[2])
    await stage.act(owner, doc.on_ticket("skipTicket"), ticket=tickets[2])
    await stage.act(owner, doc.on_ticket("requeueTicket"), ticket=tickets[2])
    await stage.act(people[1], doc.CANCEL_TICKET, ticket=tickets[1])
    await stage.act(owner, doc.QUEUE_OPEN, store=store, open=False)
    await stage.check()
    # A coalesced feed owes the newest state from whatever cursor one comes back with.
    for feed in stage.feeds:
        want = feed.followers[0].values[-1]
        for update in feed.followers[0].values[:-1]:
            async with city.follow(feed.token, feed.query, **feed.variables, after=update["cursor"]) as resumed:
                await resumed.until(lambda value, want=want: value["cursor"] == want["cursor"])
            assert resumed.values[-1]["board"] == want["board"]
