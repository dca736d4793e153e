"""Peer of the execution bench: Strawberry as its users run it, with its parser and validation caches and orjson."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import Enum
from typing import Any, NewType
from uuid import UUID

import orjson
import strawberry
import uvloop
from strawberry.dataloader import DataLoader
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.schema.config import StrawberryConfig

from bench import data
from bench.worker import repeated, serve

OrderState = strawberry.enum(Enum("OrderState", {s: s for s in (*data.STATES, "PLACED", "DELIVERED")}))
Int64 = NewType("Int64", int)
INT64 = strawberry.scalar(name="Int64", serialize=lambda value: value, parse_value=int)


ORDERS: list[Order] = []
BY_ID: dict[str, Order] = {}
STORES: dict[str, Store] = {}
EVENTS: list[OrderChange] = []


async def load_stores(keys: list[str]) -> list[Store]:
    return [STORES[key] for key in keys]


async def load_lines(keys: list[str]) -> list[list[OrderLine]]:
    return [BY_ID[key].lines for key in keys]


class Context:
    """Loaders of one operation, and how many events its subscription is to send."""

    def __init__(self, events: int = 0) -> None:
        self.stores = DataLoader(load_stores)
        self.lines = DataLoader(load_lines)
        self.events = events


Info = strawberry.Info[Context, None]


@strawberry.type
class Money:
    amount: Int64
    currency: str


@strawberry.type
class Store:
    key: strawberry.Private[UUID]
    id: strawberry.ID
    name: str

    @strawberry.field
    def public_id(self) -> strawberry.ID:
        return strawberry.ID(data.encode("sto", self.key))


@strawberry.type
class OrderLine:
    item_name: str
    quantity: int
    total_amount: strawberry.Private[int]
    currency: strawberry.Private[str]

    @strawberry.field
    def total(self) -> Money:
        return Money(amount=Int64(self.total_amount), currency=self.currency)


@strawberry.type
class Order:
    key: strawberry.Private[UUID]
    id: strawberry.ID
    number: str
    state: OrderState
    total_amount: strawberry.Private[int]
    currency: strawberry.Private[str]
    store: Store
    lines: list[OrderLine]

    @strawberry.field
    def total(self) -> Money:
        return Money(amount=Int64(self.total_amount), currency=self.currency)

    @strawberry.field
    def public_id(self) -> strawberry.ID:
        return strawberry.ID(data.encode("ord", self.key))

    @strawberry.field
    async def batched_store(self, info: Info) -> Store:
        return await info.context.stores.load(self.store.id)

    @strawberry.field
    async def batched_lines(self, info: Info) -> list[OrderLine]:
        return await info.context.lines.load(self.id)


@strawberry.type
class Rider:
    name: str
    latitude: float
    longitude: float


@strawberry.type
class OrderChange:
    id: strawberry.ID
    number: str
    state: OrderState
    version: int
    note: str
    store_name: str
    eta_minutes: int
    rider: Rider


@strawberry.type
class Query:
    @strawberry.field
    def orders(self, first: int) -> list[Order]:
        return ORDERS[:first]

    @strawberry.field
    def order(self, id: strawberry.ID) -> Order | None:
        return BY_ID.get(id)


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def order_changed(self, info: Info) -> AsyncIterator[OrderChange]:
        for n in range(info.context.events):
            yield EVENTS[n % len(EVENTS)]


SCHEMA = strawberry.Schema(
    Query,
    subscription=Subscription,
    extensions=[lambda: ParserCache(maxsize=128), lambda: ValidationCache(maxsize=128)],
    config=StrawberryConfig(scalar_map={Int64: INT64}),
)


def fill() -> None:
    """Put the data into the types."""
    made = data.make()
    for o in made["orders"]:
        store = STORES.setdefault(
            o["store"]["id"], Store(key=UUID(o["store"]["key"]), id=o["store"]["id"], name=o["store"]["name"])
        )
        lines = [
            OrderLine(item_name=x["itemName"], quantity=x["quantity"], total_amount=x["total"], currency=o["currency"])
            for x in o["lines"]
        ]
        ORDERS.append(
            Order(
                key=UUID(o["key"]), id=o["id"], number=o["number"], state=OrderState[o["state"]],
                total_amount=o["total"], currency=o["currency"], store=store, lines=lines,
            )
        )  # fmt: skip
    BY_ID.update((order.id, order) for order in ORDERS)
    EVENTS.extend(
        OrderChange(
            id=e["id"], number=e["number"], state=OrderState[e["state"]], version=e["version"], note=e["note"],
            store_name=e["storeName"], eta_minutes=e["etaMinutes"], rider=Rider(**e["rider"]),
        )
        for e in made["events"]
    )  # fmt: skip


async def respond(query: str, variables: dict[str, Any]) -> bytes:
    result = await SCHEMA.execute(query, variables, Context())
    assert not result.errors, result.errors
    return orjson.dumps({"data": result.data})


async def events(times: int) -> bytes:
    first = b""
    stream: Any = await SCHEMA.subscribe(data.EVENT, context_value=Context(times))
    async for result in stream:
        answer = orjson.dumps({"data": result.data})
        first = first or answer
    return first


async def main() -> None:
    fill()
    one = {"id": ORDERS[7].id}
    await serve(
        {
            "one": repeated(lambda: respond(data.ONE, one)),
            "list20": repeated(lambda: respond(data.LIST, {"first": 20})),
            "list1000": repeated(lambda: respond(data.LIST, {"first": 1000})),
            "encoded20": repeated(lambda: respond(data.ENCODED, {"first": 20})),
            "batched20": repeated(lambda: respond(data.BATCHED, {"first": 20})),
            "event": events,
        }
    )


if __name__ == "__main__":
    uvloop.run(main())
