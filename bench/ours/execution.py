"""Our side of the execution bench: the product's own gateway over orders in memory.

The schema is made of the product's building blocks, so an order's state is an enum, its money is
computed and its batched fields go through the product's batching; admission is part of what is measured, as the
peers' look-up of a cached document is of theirs. Argument: ``door``, ``core`` (graphql-core alone on the same schema)
or ``hand`` (a Python function and orjson, the floor).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, cast
from uuid import UUID

import graphql
import orjson
import strawberry
import uvloop

from auth.principals import Principal, PrincipalKind, View
from bench import data
from bench.support import ENOUGH
from bench.worker import repeated, serve
from core import ids, logs
from core.settings import Settings
from gateway.contracts import build_contracts
from gateway.execution import Gateway, OperationRequest
from gateway.limits import Limits
from models.ordering import OrderState
from resolvers.context import Context, batched
from schema import enums as _enums  # noqa: F401
from schema.base import ALL, Money, Node, computed, exposes, money_field, node_id, query, subscription
from schema.build import assemble

CALLER: Final = Principal(PrincipalKind.CONSUMER, View.CONSUMER, UUID(int=7))


@dataclass(frozen=True, slots=True)
class StoreRow:
    key: UUID
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class LineRow:
    item_name: str
    quantity: int
    total: int
    currency: str


@dataclass(frozen=True, slots=True)
class OrderRow:
    key: UUID
    id: str
    number: str
    state: OrderState
    total: int
    currency: str
    store: StoreRow
    lines: list[LineRow]


@dataclass(frozen=True, slots=True)
class RiderRow:
    name: str
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class ChangeRow:
    id: str
    number: str
    state: OrderState
    version: int
    note: str
    store_name: str
    eta_minutes: int
    rider: RiderRow


ORDERS: Final[list[OrderRow]] = []
BY_ID: Final[dict[UUID, OrderRow]] = {}
STORES: Final[dict[UUID, StoreRow]] = {}
EVENTS: Final[list[ChangeRow]] = []


async def load_stores(_context: Context, keys: list[UUID]) -> list[StoreRow]:
    return [STORES[key] for key in keys]


async def load_lines(_context: Context, keys: list[UUID]) -> list[list[LineRow]]:
    return [BY_ID[key].lines for key in keys]


@exposes(StoreRow)
@strawberry.type
class Store(Node):
    id: strawberry.ID
    public_id: strawberry.ID = node_id("Store", "key")
    name: str


@exposes(LineRow)
@strawberry.type
class OrderLine:
    item_name: str
    quantity: int
    total: Money = money_field("total")


@exposes(OrderRow)
@strawberry.type
class Order(Node):
    id: strawberry.ID
    public_id: strawberry.ID = node_id("Order", "key")
    number: str
    state: OrderState
    total: Money = money_field("total")
    store: Store
    lines: list[OrderLine]
    batched_store: Store = computed(batched(load_stores, lambda root: root.store.key))
    batched_lines: list[OrderLine] = computed(batched(load_lines, lambda root: root.key))


@exposes(RiderRow)
@strawberry.type
class Rider:
    name: str
    latitude: float
    longitude: float


@exposes(ChangeRow)
@strawberry.type
class OrderChange(Node):
    id: strawberry.ID
    number: str
    state: OrderState
    version: int
    note: str
    store_name: str
    eta_minutes: int
    rider: Rider


class BenchQuery:
    @query(list[Order], *ALL)
    async def orders(self, first: int) -> object:
        return ORDERS[:first]

    @query(Order | None, *ALL)
    async def order(self, id: strawberry.ID) -> object:
        key = ids.decode("Order", id)
        return None if key is None else BY_ID.get(key)


class BenchSubscription:
    @subscription(OrderChange, *ALL)
    async def order_changed(self) -> AsyncIterator[Any]:
        for event in EVENTS:
            yield event


def fill() -> None:
    """Put the data into the records."""
    made = data.make()
    for o in made["orders"]:
        key = UUID(o["store"]["key"])
        store = STORES.setdefault(key, StoreRow(key, o["store"]["id"], o["store"]["name"]))
        lines = [LineRow(x["itemName"], x["quantity"], x["total"], o["currency"]) for x in o["lines"]]
        state = OrderState(o["state"])
        ORDERS.append(OrderRow(UUID(o["key"]), o["id"], o["number"], state, o["total"], o["currency"], store, lines))
    BY_ID.update((order.key, order) for order in ORDERS)
    EVENTS.extend(
        ChangeRow(
            e["id"], e["number"], OrderState(e["state"]), e["version"], e["note"], e["storeName"],
            e["etaMinutes"], RiderRow(**e["rider"]),
        )
        for e in made["events"]
    )  # fmt: skip


class Door:
    """The product's gateway, as its transports use it."""

    def __init__(self, settings: Settings) -> None:
        self.gateway = Gateway(
            build_contracts(assemble([BenchQuery], (), [BenchSubscription])), settings, limits=Limits(max_page=1000)
        )
        self.context = Context(cast(Any, None), cast(Any, None), CALLER)

    async def admit(self, text: str, variables: dict[str, Any]) -> Any:
        operation = self.gateway.admit(CALLER, OperationRequest(query=text, variables=variables))
        return await operation if inspect.isawaitable(operation) else operation

    async def respond(self, text: str, variables: dict[str, Any]) -> bytes:
        operation = await self.admit(text, variables)
        return (await self.gateway.respond(operation, self.context.fresh())).body

    async def events(self, times: int) -> bytes:
        operation = await self.admit(data.EVENT, {})
        first = b""
        for n in range(times):
            answer = self.gateway.render(operation, self.context, EVENTS[n % len(EVENTS)])
            body = (await answer if inspect.isawaitable(answer) else answer).body
            first = first or body
        return first


class Core:
    """graphql-core on the same contract, everything that can be kept kept; the response through orjson."""

    def __init__(self) -> None:
        self.schema = build_contracts(assemble([BenchQuery], (), [BenchSubscription]))[View.CONSUMER].schema
        self.documents: dict[str, graphql.DocumentNode] = {}
        self.context = Context(cast(Any, None), cast(Any, None), CALLER)

    async def respond(self, text: str, variables: dict[str, Any]) -> bytes:
        document = self.documents.get(text)
        if document is None:
            document = self.documents[text] = graphql.parse(text)
            assert not graphql.validate(self.schema, document)
        result: Any = graphql.execute(
            self.schema, document, variable_values=variables, context_value=self.context.fresh()
        )
        result = await result if inspect.isawaitable(result) else result
        return orjson.dumps({"data": result.data})

    async def uncached(self, text: str, variables: dict[str, Any]) -> bytes:
        self.documents.clear()
        return await self.respond(text, variables)

    async def events(self, times: int) -> bytes:
        document = graphql.parse(data.EVENT)
        first = b""
        for n in range(times):
            stream: Any = graphql.execute(self.schema, document, EVENTS[n % len(EVENTS)], self.context.fresh())
            result = await stream if inspect.isawaitable(stream) else stream
            first = first or orjson.dumps({"data": result.data})
        return first


def _money(root: Any) -> dict[str, Any]:
    return {"amount": root.total, "currency": root.currency}


def _order(order: OrderRow, encoded: bool) -> dict[str, Any]:
    store = order.store
    return {
        "id": ids.encode("Order", order.key) if encoded else order.id,
        "number": order.number,
        "state": order.state,
        "total": _money(order),
        "store": {"id": ids.encode("Store", store.key) if encoded else store.id, "name": store.name},
        "lines": [
            {"itemName": line.item_name, "quantity": line.quantity, "total": _money(line)} for line in order.lines
        ],
    }


class Hand:
    """What somebody would write for these questions alone."""

    async def respond(self, text: str, variables: dict[str, Any]) -> bytes:
        if text is data.ONE:
            key = ids.decode("Order", variables["id"])
            return orjson.dumps({"data": {"order": None if key is None else _order(BY_ID[key], False)}})
        encoded = text is data.ENCODED
        return orjson.dumps({"data": {"orders": [_order(order, encoded) for order in ORDERS[: variables["first"]]]}})

    async def events(self, times: int) -> bytes:
        first = b""
        for n in range(times):
            e = EVENTS[n % len(EVENTS)]
            rider = {"name": e.rider.name, "latitude": e.rider.latitude, "longitude": e.rider.longitude}
            change = {
                "id": e.id, "number": e.number, "state": e.state, "version": e.version,
                "note": e.note, "storeName": e.store_name, "etaMinutes": e.eta_minutes, "rider": rider,
            }  # fmt: skip
            body = orjson.dumps({"data": {"orderChanged": change}})
            first = first or body
        return first


async def main(way: str) -> None:
    logs.configure("warning")
    fill()
    if way == "door":
        side: Door | Core | Hand = Door(Settings(max_nodes=1_000_000, cost_available=ENOUGH, cost_restore_rate=ENOUGH))
    else:
        side = Core() if way == "core" else Hand()
    one = {"id": ORDERS[7].id}
    works = {
        "one": repeated(lambda: side.respond(data.ONE, one)),
        "list20": repeated(lambda: side.respond(data.LIST, {"first": 20})),
        "list1000": repeated(lambda: side.respond(data.LIST, {"first": 1000})),
        "encoded20": repeated(lambda: side.respond(data.ENCODED, {"first": 20})),
        "event": side.events,
    }
    if not isinstance(side, Hand):
        works["batched20"] = repeated(lambda: side.respond(data.BATCHED, {"first": 20}))
    if isinstance(side, Core):
        works["uncached one"] = repeated(lambda: side.uncached(data.ONE, one))
        works["uncached list20"] = repeated(lambda: side.uncached(data.LIST, {"first": 20}))
    await serve(works)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
