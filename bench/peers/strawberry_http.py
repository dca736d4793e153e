"""Peer of the HTTP bench: Strawberry on Starlette as its users run it, on the product's own Tortoise models.

Caches of parsed and validated documents, orjson, and a DataLoader per request for what the fields of a list need.
Unlike the product it asks nobody who they are. Arguments: database URL for Tortoise, key of the consumer.
"""

from __future__ import annotations

import sys
from typing import Any, NewType
from uuid import UUID

import orjson
import strawberry
from starlette.applications import Starlette
from starlette.routing import Route
from strawberry.asgi import GraphQL
from strawberry.dataloader import DataLoader
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.schema.config import StrawberryConfig

from bench import data
from bench.peers.reading import lifespan, load_lines, load_stores
from bench.peers.serving import serve
from models import merchants, ordering

DATABASE, CONSUMER = sys.argv[1], UUID(sys.argv[2])

Int64 = NewType("Int64", int)
INT64 = strawberry.scalar(name="Int64", serialize=lambda value: value, parse_value=int)
OrderState = strawberry.enum(ordering.OrderState)
Info = strawberry.Info[dict[str, Any], None]


@strawberry.type
class Money:
    amount: Int64
    currency: str


@strawberry.type
class Store:
    model: strawberry.Private[merchants.Store]
    name: str

    @strawberry.field
    def id(self) -> strawberry.ID:
        return strawberry.ID(data.encode("sto", self.model.id))


@strawberry.type
class OrderLine:
    item_name: str
    quantity: int
    total: Money


@strawberry.type
class Order:
    model: strawberry.Private[ordering.Order]
    number: str
    state: OrderState

    @strawberry.field
    def id(self) -> strawberry.ID:
        return strawberry.ID(data.encode("ord", self.model.id))

    @strawberry.field
    def total(self) -> Money:
        return Money(amount=Int64(self.model.total), currency=self.model.currency)

    @strawberry.field
    async def store(self, info: Info) -> Store:
        store = await info.context["stores"].load(self.model.store_id)
        return Store(model=store, name=store.name)

    @strawberry.field
    async def lines(self, info: Info) -> list[OrderLine]:
        currency = self.model.currency
        return [
            OrderLine(
                item_name=line.item_name,
                quantity=line.quantity,
                total=Money(amount=Int64(line.total), currency=currency),
            )
            for line in await info.context["lines"].load(self.model.id)
        ]


def order_of(model: ordering.Order) -> Order:
    return Order(model=model, number=model.number, state=model.state)


@strawberry.type
class OrderConnection:
    nodes: list[Order]


@strawberry.type
class Query:
    @strawberry.field
    async def my_orders(self, first: int) -> OrderConnection:
        found = await ordering.Order.filter(consumer_id=CONSUMER).order_by("-id").limit(first)
        return OrderConnection(nodes=[order_of(model) for model in found])

    @strawberry.field
    async def order(self, id: strawberry.ID) -> Order | None:
        model = await ordering.Order.get_or_none(id=data.decode(id))
        return None if model is None or model.consumer_id != CONSUMER else order_of(model)


class App(GraphQL[dict[str, Any], None]):
    async def get_context(self, request: Any, response: Any) -> dict[str, Any]:
        return {"stores": DataLoader(load_stores), "lines": DataLoader(load_lines)}

    def encode_json(self, data: object) -> bytes:
        return orjson.dumps(data)


SCHEMA = strawberry.Schema(
    Query,
    extensions=[lambda: ParserCache(maxsize=128), lambda: ValidationCache(maxsize=128)],
    config=StrawberryConfig(scalar_map={Int64: INT64}),
)


if __name__ == "__main__":
    serve(Starlette(routes=[Route("/graphql", App(SCHEMA, graphql_ide=None))], lifespan=lifespan(DATABASE)))
