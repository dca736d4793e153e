"""Peer of the HTTP bench: Ariadne on Starlette as its users run it, on the product's own Tortoise models.

Documents parsed and validated once, orjson, and a DataLoader per request for what the fields of a list need. Unlike the
product it asks nobody who they are. Arguments: database URL for Tortoise, key of the consumer.
"""

from __future__ import annotations

import sys
from typing import Any
from uuid import UUID

import orjson
from ariadne import ObjectType, QueryType, make_executable_schema
from ariadne.asgi import GraphQL
from ariadne.asgi.handlers import GraphQLHTTPHandler
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from strawberry.dataloader import DataLoader

from bench import data
from bench.peers.ariadne_execution import ONCE
from bench.peers.reading import lifespan, load_lines, load_stores
from bench.peers.serving import serve
from models import merchants, ordering

DATABASE, CONSUMER = sys.argv[1], UUID(sys.argv[2])

SDL = """
enum OrderState { PLACED PAID ACCEPTED PREPARING READY PICKED_UP DELIVERED COMPLETED REJECTED CANCELLED EXPIRED }
scalar Int64
type Money { amount: Int64! currency: String! }
type Store { id: ID! name: String! }
type OrderLine { itemName: String! quantity: Int! total: Money! }
type Order { id: ID! number: String! state: OrderState! total: Money! store: Store! lines: [OrderLine!]! }
type OrderConnection { nodes: [Order!]! }
type Query { myOrders(first: Int!): OrderConnection! order(id: ID!): Order }
"""

query, order_type, store_type = QueryType(), ObjectType("Order"), ObjectType("Store")


@query.field("myOrders")
async def my_orders(_root: Any, _info: Any, first: int) -> dict[str, Any]:
    return {"nodes": await ordering.Order.filter(consumer_id=CONSUMER).order_by("-id").limit(first)}


@query.field("order")
async def order(_root: Any, _info: Any, id: str) -> ordering.Order | None:
    return await ordering.Order.get_or_none(id=data.decode(id), consumer_id=CONSUMER)


@order_type.field("id")
def order_id(root: ordering.Order, _info: Any) -> str:
    return data.encode("ord", root.id)


@store_type.field("id")
def store_id(root: merchants.Store, _info: Any) -> str:
    return data.encode("sto", root.id)


@order_type.field("total")
def total(root: ordering.Order, _info: Any) -> dict[str, Any]:
    return {"amount": root.total, "currency": root.currency}


@order_type.field("store")
async def store(root: ordering.Order, info: Any) -> merchants.Store:
    return await info.context["stores"].load(root.store_id)


@order_type.field("lines")
async def lines(root: ordering.Order, info: Any) -> list[dict[str, Any]]:
    return [
        {
            "itemName": line.item_name,
            "quantity": line.quantity,
            "total": {"amount": line.total, "currency": root.currency},
        }
        for line in await info.context["lines"].load(root.id)
    ]


class Handler(GraphQLHTTPHandler):
    async def create_json_response(self, request: Any, result: Any, success: bool) -> Response:
        return Response(orjson.dumps(result), 200 if success else 400, media_type="application/json")


def context(_request: Any, _data: Any) -> dict[str, Any]:
    return {"stores": DataLoader(load_stores), "lines": DataLoader(load_lines)}


if __name__ == "__main__":
    schema = make_executable_schema(SDL, query, order_type, store_type)
    app = GraphQL(schema, context_value=context, http_handler=Handler(), **ONCE)
    serve(Starlette(routes=[Route("/graphql", app)], lifespan=lifespan(DATABASE)))
