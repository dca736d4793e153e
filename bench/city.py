"""The city that the HTTP and realtime benches run in: the demo's, and orders placed through the services."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import app
from auth.principals import Principal, PrincipalKind, View
from core import logs
from core.geo import Point
from core.ids import encode
from core.settings import Settings
from models.ordering import FulfilmentMode
from services import identity, seed
from services.ordering import placing
from services.ordering.placing import Address
from services.pricing import RequestedLine
from services.runtime import Runtime
from services.unit import transaction

HOME = Point(39.915, 116.42)
LIFE = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class City:
    """Keys as they are in the database, ids as the API writes them."""

    tokens: dict[str, str]
    """By view in lower case; the consumer's is of who placed the orders."""
    city: str
    store: str
    consumer: UUID
    store_key: UUID
    orders: list[UUID]

    def order_id(self, n: int) -> str:
        return encode("Order", self.orders[n])


async def _token(runtime: Runtime, person: UUID, view: View) -> str:
    async with transaction(runtime) as unit:
        return (await identity.open_session(unit, person, view, LIFE)).access_token


async def _place(runtime: Runtime, made: seed.SeedResult, consumer: UUID, orders: int) -> list[UUID]:
    rows = await runtime.database.fetch(
        """SELECT k.id, i.name FROM sku k JOIN item i ON i.id = k.item_id
           WHERE i.store_id = $1 AND k.total IS NULL ORDER BY i.name, k.price""",
        made.store_id,
    )
    options: dict[str, tuple[UUID, ...]] = {}
    spice = await runtime.database.fetch(
        """SELECT i.name, (array_agg(o.id ORDER BY o.id))[1] AS option FROM option o
           JOIN option_group g ON g.id = o.group_id JOIN item i ON i.id = g.item_id
           WHERE g.min_selected = 1 AND i.store_id = $1 GROUP BY i.name""",
        made.store_id,
    )
    options.update((row["name"], (row["option"],)) for row in spice)
    principal = Principal(PrincipalKind.CONSUMER, View.CONSUMER, consumer)
    address = Address("Li", "13800138000", "Home 1", HOME)
    placed: list[UUID] = []
    for n in range(orders):
        chosen = [rows[(n + i) % len(rows)] for i in range(3)]
        lines = [RequestedLine(row["id"], 1 + i, options.get(row["name"], ())) for i, row in enumerate(chosen)]
        quote = await placing.quote(runtime, principal, made.store_id, FulfilmentMode.DELIVERY, lines, HOME)
        order = await placing.place(runtime, principal, quote.id, address, None, "", uuid4().hex)
        placed.append(order.id)
    return placed


async def make(
    url: str, folder: Path, orders: int, then: Callable[[Runtime, City], Awaitable[Any]] | None = None
) -> tuple[City, Any]:
    """The city with ``orders`` of one consumer in it, and what ``then`` makes of it before the runtime closes."""
    logs.configure("warning")
    settings = Settings(database_url=url, data_dir=folder, sandbox=True)
    async with app.open_runtime(settings) as (runtime, _):
        made = await seed.seed(runtime)
        tokens = await seed.demo_tokens(runtime)
        consumer = made.people[View.CONSUMER]
        tokens["consumer"] = await _token(runtime, consumer, View.CONSUMER)
        placed = await _place(runtime, made, consumer, orders)
        city = City(tokens, tokens.pop("city"), tokens.pop("store"), consumer, made.store_id, placed)
        return city, None if then is None else await then(runtime, city)


def make_now(url: str, folder: Path, orders: int, then: Any = None) -> tuple[City, Any]:
    """:func:`make` in a loop of its own."""
    return asyncio.run(make(url, folder, orders, then))
