"""Peer of the realtime bench: Strawberry's subscriptions over graphql-transport-ws, as its users run them.

Orders are in memory, every subscriber has a queue of its own, and ``POST /publish`` with a list of feed numbers
sends the next event of each. Caches of parsed and validated documents, uvloop, no compression.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, NewType

import orjson
import strawberry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.schema.config import StrawberryConfig
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL

from bench.peers.serving import serve

Int64 = NewType("Int64", int)
INT64 = strawberry.scalar(name="Int64", serialize=lambda value: value, parse_value=int)


@strawberry.type
class Money:
    amount: Int64
    currency: str


@strawberry.type
class Order:
    id: strawberry.ID
    number: str
    state: str
    version: int
    mode: str
    note: str
    placed_at: str
    total: Money


@strawberry.type
class OrderUpdate:
    cursor: str
    order: Order


ORDERS: dict[str, Order] = {}
WATCHERS: dict[str, set[asyncio.Queue[OrderUpdate]]] = {}


def order_of(feed: str) -> Order:
    known = ORDERS.get(feed)
    if known is None:
        known = ORDERS[feed] = Order(
            id=strawberry.ID(f"ord_01m865h66kf6p8x1eb0{feed:0>7}"), number=feed.zfill(6), state="PREPARING",
            version=1, mode="DELIVERY", note="", placed_at="2026-03-02T04:00:00Z",
            total=Money(amount=Int64(6900), currency="CNY"),
        )  # fmt: skip
    return known


def update_of(order: Order) -> OrderUpdate:
    return OrderUpdate(cursor=f"3f9c2a71.{order.version:x}.8d0e4b12", order=order)


def publish(feed: str) -> None:
    known = order_of(feed)
    order = ORDERS[feed] = replace(known, version=known.version + 1)
    update = update_of(order)
    for queue in WATCHERS.get(feed, ()):
        queue.put_nowait(update)


@strawberry.type
class Query:
    ok: bool = True


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def order_updates(self, order: strawberry.ID) -> AsyncIterator[OrderUpdate]:
        queue: asyncio.Queue[OrderUpdate] = asyncio.Queue()
        watchers = WATCHERS.setdefault(order, set())
        watchers.add(queue)
        try:
            yield update_of(order_of(order))
            while True:
                yield await queue.get()
        finally:
            watchers.discard(queue)


SCHEMA = strawberry.Schema(
    Query,
    subscription=Subscription,
    extensions=[lambda: ParserCache(maxsize=128), lambda: ValidationCache(maxsize=128)],
    config=StrawberryConfig(scalar_map={Int64: INT64}),
)


async def published(request: Request) -> Response:
    for feed in orjson.loads(await request.body()):
        publish(str(feed))
    return Response(b"{}", media_type="application/json")


if __name__ == "__main__":
    app: Any = GraphQL(SCHEMA, graphql_ide=None, subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL])
    serve(
        Starlette(
            routes=[
                Route("/publish", published, methods=["POST"]),
                Route("/graphql", app),
                WebSocketRoute("/graphql", app),
            ]
        )
    )
