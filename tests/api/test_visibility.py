"""Nobody is told what they could not have asked for (invariant 12)."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from auth.principals import View
from subscriptions.websocket import Limits
from tests.api import documents as doc
from tests.api.city import City, codes, key, new_phone, some_id
from tests.api.follower import Follower

ORDER_UPDATES = """subscription ($order: ID!) { orderUpdates(order: $order) { cursor kind type order { id state version
    consumer { id name phone } address { text phone } store { id } payment { id } delivery { id rider { id } } } } }"""
RIDER_ORDER = """subscription ($order: ID!) { orderUpdates(order: $order) { cursor kind type order { id state version
    store { id } delivery { id rider { id } } } } }"""
BOARD = """subscription ($store: ID!) { storeBoard(store: $store) { cursor kind type orders { id state store { id }
    address { text phone } consumer { id phone } delivery { id rider { id phone } } } } }"""
TASKS = """subscription { riderTasks { cursor kind type tasks { id state rider { id } offer { rider { id } }
    order { id state address { text phone } consumer { phone } } } } }"""
TICKET = (
    """subscription ($ticket: ID!) { queueTicketUpdates(ticket: $ticket) { cursor ticket { id state position } } }"""
)
QUEUE = """subscription ($store: ID!) { queueBoardUpdates(store: $store) { cursor board { store { id }
    classes { waiting next { id number } calling { id number } } } } }"""
RIDER_AT = """subscription ($order: ID!) { riderLocation(order: $order, minIntervalMs: 0) { cursor riderLocation {
    recordedAt location { latitude } } } }"""
CITY = """subscription ($city: ID!) { cityUpdates(city: $city) { cursor } }"""
DELIVERY_ENDED = {"code": "ACCESS_ENDED", "reason": "DELIVERY_ENDED"}
NODE = "query ($id: ID!) { node(id: $id) { __typename id } }"
ORDER = "query ($id: ID!) { order(id: $id) { id } }"
MY_ORDERS = "{ myOrders(first: 100) { nodes { id } } }"


@dataclass
class Side:
    """A consumer, a store and a rider who have to do with each other, and an order of theirs."""

    consumer: str
    owner: str
    store: str
    sku: str
    rider: str
    rider_id: str
    order: str = ""
    delivery: str = ""
    ticket: str = ""

    def things(self) -> dict[str, str]:
        return {"Order": self.order, "Delivery": self.delivery, "Rider": self.rider_id, "QueueTicket": self.ticket}


async def make_side(city: City) -> Side:
    owner, store, sku = await city.shop()
    rider, rider_id = await city.rider(online=False)
    await city.do(owner, doc.QUEUE_OPEN, store=store, open=True)
    return Side(await city.consumer(), owner, store, sku, rider, rider_id)


async def offered(city: City, side: Side) -> None:
    """Place, pay and accept; the only rider that is online gets the offer."""
    await city.do(side.rider, doc.GO_ONLINE, at={"latitude": 39.911, "longitude": 116.413})
    side.order = await city.paid(side.consumer, side.store, side.sku)
    accepted = await city.do(side.owner, doc.ACCEPT, order=side.order)
    side.delivery = accepted["delivery"]["id"]
    assert accepted["delivery"]["offer"]["rider"]["id"] == side.rider_id
    side.ticket = (await city.do(side.consumer, doc.TAKE, store=side.store, size=2, key=key()))["id"]


async def assigned(city: City, side: Side) -> None:
    await offered(city, side)
    assert (await city.do(side.rider, doc.ACCEPT_OFFER, delivery=side.delivery))["state"] == "ASSIGNED"


async def finish(city: City, side: Side) -> None:
    """Everything that can still happen to the order and the ticket."""
    for token, document, variables in (
        (side.owner, doc.START, {"order": side.order}),
        (side.rider, doc.ARRIVE, {"delivery": side.delivery}),
        (side.owner, doc.READY, {"order": side.order}),
        (side.rider, doc.PICK_UP, {"delivery": side.delivery}),
        (side.rider, doc.COMPLETE, {"delivery": side.delivery}),
        (side.consumer, doc.CONFIRM, {"order": side.order, "key": key()}),
        (side.owner, doc.REFUND, {"order": side.order, "key": key()}),
        (side.consumer, doc.CANCEL_TICKET, {"ticket": side.ticket}),
        (side.rider, doc.GO_OFFLINE, {}),
    ):
        done = await city.do(token, document, **variables)
        assert "code" not in done, done


@pytest.fixture(scope="module")
async def sides(city: City) -> tuple[Side, Side]:
    ours, theirs = await make_side(city), await make_side(city)
    await assigned(city, ours)
    await assigned(city, theirs)
    return ours, theirs


async def test_subscribers_are_told_of_their_own_things_only(city: City, sides: tuple[Side, Side]) -> None:
    ours, theirs = sides
    async with AsyncExitStack() as stack:

        async def follow(token: str, query: str, **variables: Any) -> Follower:
            follower = await stack.enter_async_context(city.follow(token, query, **variables))
            await follower.count(1)
            return follower

        everything = [
            await follow(ours.consumer, ORDER_UPDATES, order=ours.order),
            await follow(ours.consumer, TICKET, ticket=ours.ticket),
            await follow(ours.consumer, RIDER_AT, order=ours.order),
            await follow(ours.owner, BOARD, store=ours.store),
            await follow(ours.owner, QUEUE, store=ours.store),
            await follow(ours.owner, ORDER_UPDATES, order=ours.order),
            await follow(ours.rider, TASKS),
            await follow(ours.rider, RIDER_ORDER, order=ours.order),
        ]
        await finish(city, theirs)
        # Ours comes after all of theirs, in the same process: when it has arrived, theirs would have.
        await finish(city, ours)
        order, ticket, location, board, queue, _, tasks, _ = everything
        await ticket.until(lambda v: v["ticket"]["state"] == "CANCELLED")
        for follower in (order, everything[5]):
            await follower.until(lambda v: v["type"] == "order.completed")
        await board.until(lambda v: v["type"] == "order.completed")
        await tasks.until(lambda v: any(t["state"] == "DELIVERED" for t in v["tasks"]))
        assert [error["extensions"] for error in await location.end()] == [DELIVERY_ENDED]
        for follower in everything:
            told = str(follower.values)
            for thing in (theirs.store, *theirs.things().values()):
                assert thing not in told, (thing, told)
        assert {o["id"] for v in board.values for o in v["orders"]} == {ours.order}
        assert {t["id"] for v in tasks.values for t in v["tasks"]} == {ours.delivery}
        assert {v["board"]["store"]["id"] for v in queue.values} == {ours.store}


async def test_subscribing_to_things_of_others_is_not_found(city: City, sides: tuple[Side, Side]) -> None:
    ours, theirs = sides
    attempts = [
        (ours.consumer, ORDER_UPDATES, {"order": theirs.order}),
        (ours.consumer, TICKET, {"ticket": theirs.ticket}),
        (ours.consumer, RIDER_AT, {"order": theirs.order}),
        (ours.owner, ORDER_UPDATES, {"order": theirs.order}),
        (ours.owner, BOARD, {"store": theirs.store}),
        (ours.owner, TICKET, {"ticket": theirs.ticket}),
        (ours.owner, RIDER_AT, {"order": theirs.order}),
        (ours.rider, RIDER_ORDER, {"order": theirs.order}),
        (city.tokens["merchant"], BOARD, {"store": ours.store}),
        (city.tokens["device"], QUEUE, {"store": ours.store}),
        (city.tokens["admin"], CITY, {"city": some_id("City")}),
        (ours.consumer, ORDER_UPDATES, {"order": ours.store}),
        (ours.consumer, ORDER_UPDATES, {"order": "ord_zzz"}),
        (ours.consumer, ORDER_UPDATES, {"order": some_id("Order")}),
    ]
    for token, query, variables in attempts:
        async with city.follow(token, query, **variables) as follower:
            ended = await follower.end()
        assert not follower.values, (query, variables)
        assert [error["extensions"]["code"] for error in ended] == ["NOT_FOUND"], (query, variables, ended)


async def test_nobody_subscribes_without_a_token(city: City, sides: tuple[Side, Side]) -> None:
    async with city.follow(None, ORDER_UPDATES, order=sides[0].order) as follower:
        ended = await follower.end()
    assert not follower.values
    assert ended[0]["extensions"]["code"] in ("NOT_FOUND", "UNAUTHENTICATED")


async def test_things_of_others_are_null(city: City, sides: tuple[Side, Side]) -> None:
    ours, theirs = sides
    for token in (ours.consumer, ours.owner, ours.rider):
        for type_name, thing in theirs.things().items():
            answer = await city.graphql(token, NODE, {"id": thing})
            assert answer["data"]["node"] is None, (type_name, answer)
            assert codes(answer) in ([], ["NOT_FOUND"])
        assert (await city.graphql(token, ORDER, {"id": theirs.order}))["data"]["order"] is None
        assert (await city.graphql(token, ORDER, {"id": ours.order}))["data"]["order"] == {"id": ours.order}
    mine = await city.do(ours.consumer, MY_ORDERS)
    assert [node["id"] for node in mine["nodes"]] == [ours.order]


async def test_a_rider_who_declined_is_told_no_more_of_the_order(city: City) -> None:
    """The offer let the rider follow the order; that ends with the offer."""
    side = await make_side(city)
    await offered(city, side)
    async with city.follow(side.rider, RIDER_ORDER, order=side.order) as follower:
        await follower.count(1)
        assert (await city.do(side.rider, doc.DECLINE_OFFER, delivery=side.delivery))["__typename"] == "Delivery"
        assert (await city.graphql(side.rider, ORDER, {"id": side.order}))["data"]["order"] is None
        # What happens now is none of this rider's business, and the store's own follower proves that it is told.
        async with city.follow(side.owner, ORDER_UPDATES, order=side.order) as owner:
            await owner.count(1)
            await city.do(side.owner, doc.START, order=side.order)
            await city.do(side.owner, doc.READY, order=side.order)
            await owner.until(lambda v: v["type"] == "order.ready")
        assert [e["extensions"] for e in await follower.end()] == [{"code": "ACCESS_ENDED", "reason": "NOT_A_PARTY"}]
    await city.do(side.rider, doc.GO_OFFLINE)
    told = [value["type"] for value in follower.values]
    assert "order.preparing" not in told and "order.ready" not in told, told


async def test_a_clerk_whose_role_is_revoked_is_told_no_more(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open sockets learn of a revoked role when their caller is next looked at; here that is soon."""
    monkeypatch.setattr(city.program.sockets, "limits", Limits(recheck=0.1, tick=0.05))
    owner, store, sku = await city.shop()
    phone = new_phone()
    grant = await city.do(owner, doc.GRANT_CLERK, store=store, phone=phone)
    person = await city.fetchval("SELECT id FROM person WHERE phone = $1", phone)
    clerk = await city.open_session(person, View.MERCHANT)
    async with city.follow(clerk, BOARD, store=store) as follower:
        await follower.count(1)
        assert (await city.do(owner, doc.REVOKE, grant=grant["id"]))["revokedAt"]
        await follower.end()
        order = await city.paid(await city.consumer(), store, sku, "PICKUP")
        assert order not in str(follower.values)
    async with city.follow(clerk, BOARD, store=store) as again:
        assert [error["extensions"]["code"] for error in await again.end()] == ["NOT_FOUND"]
