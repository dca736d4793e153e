"""Peer of the execution bench: Ariadne with its documents parsed and validated once, and orjson."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cache
from typing import Any
from uuid import UUID

import orjson
import uvloop
from ariadne import ObjectType, QueryType, SubscriptionType, graphql, make_executable_schema, subscribe
from graphql import DocumentNode, GraphQLError, GraphQLSchema, parse, validate

from bench import data
from bench.worker import repeated, serve

query = QueryType()
subscription = SubscriptionType()
order_type = ObjectType("Order")
line_type = ObjectType("OrderLine")
store_type = ObjectType("Store")

ORDERS: list[dict[str, Any]] = []
BY_ID: dict[str, dict[str, Any]] = {}
EVENTS: list[dict[str, Any]] = []


@query.field("orders")
def orders(_root: Any, _info: Any, first: int) -> list[dict[str, Any]]:
    return ORDERS[:first]


@query.field("order")
def order(_root: Any, _info: Any, id: str) -> dict[str, Any] | None:
    return BY_ID.get(id)


@order_type.field("total")
@line_type.field("total")
def total(root: dict[str, Any], _info: Any) -> dict[str, Any]:
    return {"amount": root["total"], "currency": root["currency"]}


@order_type.field("publicId")
def order_id(root: dict[str, Any], _info: Any) -> str:
    return data.encode("ord", root["key"])


@store_type.field("publicId")
def store_id(root: dict[str, Any], _info: Any) -> str:
    return data.encode("sto", root["key"])


@subscription.source("orderChanged")
async def order_changes(_root: Any, info: Any) -> AsyncIterator[dict[str, Any]]:
    for n in range(info.context["events"]):
        yield EVENTS[n % len(EVENTS)]


@subscription.field("orderChanged")
def order_changed(root: dict[str, Any], _info: Any) -> dict[str, Any]:
    return root


SCHEMA = make_executable_schema(data.SDL, query, subscription, order_type, line_type, store_type)


@cache
def parsed(text: str) -> DocumentNode:
    return parse(text)


VALID: dict[int, list[GraphQLError]] = {}


def parse_once(_context: Any, request: dict[str, Any]) -> DocumentNode:
    return parsed(request["query"])


def validate_once(schema: GraphQLSchema, document: DocumentNode, **options: Any) -> list[GraphQLError]:
    known = VALID.get(id(document))  # documents are kept for good, so an id is not used again
    if known is None:
        known = VALID[id(document)] = validate(schema, document, **options)
    return known


ONCE: Any = {"query_parser": parse_once, "query_validator": validate_once}


def fill() -> None:
    """Put the data where the resolvers find it."""
    made = data.make()
    for made_order in made["orders"]:
        currency = made_order["currency"]
        lines = [line | {"currency": currency} for line in made_order["lines"]]
        store = made_order["store"] | {"key": UUID(made_order["store"]["key"])}
        ORDERS.append(made_order | {"key": UUID(made_order["key"]), "lines": lines, "store": store})
    BY_ID.update((o["id"], o) for o in ORDERS)
    EVENTS.extend(made["events"])


async def respond(text: str, variables: dict[str, Any]) -> bytes:
    worked, result = await graphql(SCHEMA, {"query": text, "variables": variables}, **ONCE)
    assert worked and "errors" not in result, result
    return orjson.dumps(result)


async def events(times: int) -> bytes:
    first = b""
    context = {"events": times}
    worked, stream = await subscribe(SCHEMA, {"query": data.EVENT}, context_value=context, **ONCE)
    assert worked, stream
    stream_: Any = stream
    async for result in stream_:
        answer = orjson.dumps({"data": result.data})
        first = first or answer
    return first


async def main() -> None:
    fill()
    one = {"id": ORDERS[7]["id"]}
    await serve(
        {
            "one": repeated(lambda: respond(data.ONE, one)),
            "list20": repeated(lambda: respond(data.LIST, {"first": 20})),
            "list1000": repeated(lambda: respond(data.LIST, {"first": 1000})),
            "encoded20": repeated(lambda: respond(data.ENCODED, {"first": 20})),
            "event": events,
        }
    )


if __name__ == "__main__":
    uvloop.run(main())
