"""Polling over plain HTTP: the same updates as the subscriptions', page by page, for the same readers."""

from __future__ import annotations

from typing import Any

from tests.api import documents as doc
from tests.api.city import City, codes, key

PAGE = "cursor hasMore"
ORDER_UPDATES = """subscription ($order: ID!, $after: String) { orderUpdates(order: $order, after: $after) {
    cursor kind type at order { id state version delivery { id state } } } }"""
ORDER_FEED = f"""query ($order: ID!, $first: Int!, $after: String) {{ orderFeed(order: $order, first: $first,
    after: $after) {{ updates {{ cursor kind type at reset {{ reason }} order {{ id state version
    delivery {{ id state }} }} }} {PAGE} }} }}"""
STORE_FEED = f"""query ($store: ID!, $first: Int!, $after: String) {{ storeBoardFeed(store: $store, first: $first,
    after: $after) {{ updates {{ kind type orders {{ id state }} }} {PAGE} }} }}"""
TASKS_FEED = f"""query ($first: Int!, $after: String) {{ riderTasksFeed(first: $first, after: $after) {{
    updates {{ kind type gone tasks {{ id state }} }} {PAGE} }} }}"""
BOARD_FEED = f"""query ($store: ID!, $after: String) {{ queueBoardFeed(store: $store, after: $after) {{
    updates {{ kind board {{ open }} }} {PAGE} }} }}"""
TICKET_FEED = f"""query ($ticket: ID!, $after: String) {{ queueTicketFeed(ticket: $ticket, after: $after) {{
    updates {{ kind ticket {{ id state }} }} {PAGE} }} }}"""


async def everything(city: City, token: str, query: str, first: int, after: str, **variables: Any) -> list[Any]:
    """All updates after a cursor, by pages of ``first``."""
    updates: list[Any] = []
    while True:
        page = await city.do(token, query, first=first, after=after, **variables)
        assert len(page["updates"]) <= first
        updates += page["updates"]
        after = page["cursor"]
        if not page["hasMore"]:
            return updates


async def test_polls_say_what_subscriptions_say(city: City) -> None:
    owner, store, sku = await city.shop()
    consumer = await city.consumer()
    board = await city.do(owner, STORE_FEED, store=store, first=10)
    assert [u["kind"] for u in board["updates"]] == ["SNAPSHOT"] and board["updates"][0]["orders"] == []
    order = await city.place(consumer, store, sku, "PICKUP")
    async with city.follow(consumer, ORDER_UPDATES, order=order) as follower:
        await follower.count(1)
        snapshot = await city.do(consumer, ORDER_FEED, order=order, first=1)
        assert snapshot["updates"][0]["order"] == follower.values[0]["order"]
        assert snapshot["cursor"] == follower.values[0]["cursor"] and not snapshot["hasMore"]
        await city.pay(consumer, order)
        for action in (doc.ACCEPT, doc.READY, doc.HAND_OVER):
            await city.do(owner, action, order=order)
        await city.do(consumer, doc.CONFIRM, order=order, key="received")
        await follower.until(lambda v: v["type"] == "order.completed")
        for first in (1, 2, 100):
            polled = await everything(city, consumer, ORDER_FEED, first, snapshot["cursor"], order=order)
            assert [u | {"reset": None} for u in follower.values[1:]] == polled
    board_events = await everything(city, owner, STORE_FEED, 3, board["cursor"], store=store)
    assert [u["type"] for u in board_events] == [u["type"] for u in polled]
    # From the store's side the order begins with its payment.
    assert [o["id"] for u in board_events for o in u["orders"]] == [order] * len(board_events)


async def test_the_end_of_a_page_is_not_the_end_of_the_feed(city: City) -> None:
    """Events that the caller may not see leave holes: the staff see an order from its payment on."""
    owner, store, sku = await city.shop()
    order = await city.paid(await city.consumer(), store, sku, "PICKUP")
    page = await city.do(owner, ORDER_FEED, order=order, first=100)
    epoch, _, tag = page["cursor"].split(".")
    page = await city.do(owner, ORDER_FEED, order=order, first=1, after=f"{epoch}.0.{tag}")
    assert page["updates"] == [] and page["hasMore"]
    page = await city.do(owner, ORDER_FEED, order=order, first=1, after=page["cursor"])
    assert [u["type"] for u in page["updates"]] == ["order.paid"]


async def test_a_rider_polls(city: City) -> None:
    owner, store, sku = await city.shop()
    rider, _ = await city.rider()
    start = await city.do(rider, TASKS_FEED, first=10)
    order = await city.paid(await city.consumer(), store, sku)
    delivery = (await city.do(owner, doc.ACCEPT, order=order))["delivery"]["id"]
    polled = await everything(city, rider, TASKS_FEED, 2, start["cursor"])
    assert [(u["type"], [t["id"] for t in u["tasks"]]) for u in polled] == [("delivery.offered", [delivery])]
    await city.do(rider, doc.DECLINE_OFFER, delivery=delivery)
    await city.do(rider, doc.GO_OFFLINE)
    last = (await everything(city, rider, TASKS_FEED, 100, start["cursor"]))[-1]
    assert (last["type"], last["tasks"], last["gone"]) == ("delivery.declined", [], [delivery])
    assert (await city.do(rider, TASKS_FEED, first=1))["updates"][0]["tasks"] == []


async def test_queues_are_polled_for_their_newest_state(city: City) -> None:
    owner, store, _ = await city.shop()
    guest = await city.consumer()
    page = await city.do(guest, BOARD_FEED, store=store)
    assert len(page["updates"]) == 1
    again = await city.do(guest, BOARD_FEED, store=store, after=page["cursor"])
    assert again == {"updates": [], "cursor": page["cursor"], "hasMore": False}
    was_open = page["updates"][0]["board"]["open"]
    await city.do(owner, doc.QUEUE_OPEN, store=store, open=not was_open)
    await city.do(owner, doc.QUEUE_OPEN, store=store, open=True)
    ticket = (await city.do(guest, doc.TAKE, store=store, size=2, key=key()))["id"]
    page = await city.do(guest, BOARD_FEED, store=store, after=page["cursor"])
    assert [u["board"]["open"] for u in page["updates"]] == [True]
    page = await city.do(guest, TICKET_FEED, ticket=ticket)
    await city.do(owner, doc.on_ticket("seatTicket"), ticket=ticket)
    page = await city.do(guest, TICKET_FEED, ticket=ticket, after=page["cursor"])
    assert [u["ticket"]["state"] for u in page["updates"]] == ["SEATED"]


async def test_polls_are_for_the_readers_only(city: City) -> None:
    owner, store, sku = await city.shop()
    consumer, stranger = await city.consumer(), await city.consumer()
    order = await city.paid(consumer, store, sku, "PICKUP")
    await city.do(owner, doc.QUEUE_OPEN, store=store, open=True)
    ticket = (await city.do(consumer, doc.TAKE, store=store, size=2, key=key()))["id"]
    rider, _ = await city.rider(online=False)
    attempts: list[tuple[str | None, str, dict[str, Any], str]] = [
        (stranger, ORDER_FEED, {"order": order, "first": 1}, "NOT_FOUND"),
        (None, ORDER_FEED, {"order": order, "first": 1}, "NOT_FOUND"),
        (rider, ORDER_FEED, {"order": order, "first": 1}, "NOT_FOUND"),
        (city.tokens["merchant"], ORDER_FEED, {"order": order, "first": 1}, "NOT_FOUND"),
        (city.tokens["merchant"], STORE_FEED, {"store": store, "first": 1}, "NOT_FOUND"),
        (stranger, TICKET_FEED, {"ticket": ticket}, "NOT_FOUND"),
        (city.tokens["device"], BOARD_FEED, {"store": store}, "NOT_FOUND"),
        (consumer, STORE_FEED, {"store": store, "first": 1}, "GRAPHQL_VALIDATION_FAILED"),
        (consumer, TASKS_FEED, {"first": 1}, "GRAPHQL_VALIDATION_FAILED"),
        (consumer, ORDER_FEED, {"order": order, "first": 0}, "INVALID_INPUT"),
        (consumer, ORDER_FEED, {"order": order, "first": 101}, "PAGE_SIZE_LIMIT_EXCEEDED"),
        (consumer, ORDER_FEED, {"order": "ord_x", "first": 1}, "NOT_FOUND"),
    ]
    for token, query, variables, code in attempts:
        answer = await city.graphql(token, query, variables)
        assert codes(answer)[:1] == [code], (query, variables, answer)
