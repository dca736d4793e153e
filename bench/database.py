"""What the program costs on top of bare asyncpg, as ratios measured in one run.

Each row times the same work three ways on the same database, in rounds that alternate so that a noisy machine
disturbs all of them alike: the SQL alone on a bare asyncpg connection (the ceiling), the service function, and the
whole operation through the gateway (parse cache, contract, execution, JSON). Medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from auth.principals import Principal
from bench.support import ENOUGH
from core import logs
from core.ids import encode, uuid7
from core.settings import Settings
from gateway.contracts import build_contracts
from gateway.execution import Gateway, OperationRequest
from models.database import migrate
from models.embedded import EmbeddedPostgres
from models.ordering import FulfilmentMode
from resolvers.context import Context
from schema.build import full_schema
from services.ordering import placing, reading
from services.ordering.records import ORDER_COLUMNS, ORDER_SELECT
from services.pricing import RequestedLine
from subscriptions.tail import FeedTails
from tests.ordering.world import City, FakeProvider, build
from tests.support import make_runtime

MY_ORDERS = """
query MyOrders { myOrders(first: 20) { nodes {
  id number state total { amount currency } store { name } lines { itemName quantity total { amount } }
} } }
"""

PLACE = """
mutation Place($quote: ID!, $key: String!) {
  placeOrder(input: { quote: $quote }, idempotencyKey: $key) { ... on Order { id state } ... on UserError { code } }
}
"""

Work = Callable[[], Awaitable[Any]]


async def timed(work: Work, times: int) -> float:
    """Milliseconds per call."""
    began = time.perf_counter()
    for _ in range(times):
        await work()
    return (time.perf_counter() - began) * 1000 / times


class Bench:
    """The things that are measured, on one city."""

    def __init__(self, city: City, bare: asyncpg.Connection) -> None:
        self.city = city
        self.bare = bare
        self.gateway = Gateway(
            build_contracts(full_schema()), Settings(sandbox=True, cost_available=ENOUGH, cost_restore_rate=ENOUGH)
        )
        self.tails = FeedTails(city.runtime.database, city.runtime.clock)

    async def through_gateway(self, principal: Principal, query: str, variables: dict[str, Any]) -> bytes:
        operation = self.gateway.admit(principal, OperationRequest(query=query, variables=variables))
        if asyncio.iscoroutine(operation):
            operation = await operation
        answer = await self.gateway.execute(operation, Context(self.city.runtime, self.tails, principal))
        assert "errors" not in answer, answer
        return orjson.dumps(answer)

    # reading 20 orders with their lines

    async def read_bare(self) -> None:
        orders = await self.bare.fetch(
            f"{ORDER_SELECT} WHERE o.consumer_id = $1 ORDER BY o.id DESC LIMIT 21", self.city.consumer.subject
        )
        await self.bare.fetch("SELECT name FROM store WHERE id = $1", self.city.store_id)
        await self.bare.fetch(
            "SELECT * FROM order_line WHERE order_id = ANY($1::uuid[]) ORDER BY order_id, position",
            [row["id"] for row in orders],
        )

    async def read_service(self) -> None:
        subject = self.city.consumer.subject
        assert subject is not None
        orders = await reading.page(self.city.runtime, "consumer_id", subject, None, 21, None)
        await reading.lines_of(self.city.runtime, {order.id: order.currency for order in orders})

    async def read_gateway(self) -> None:
        await self.through_gateway(self.city.consumer, MY_ORDERS, {})

    # placing an order

    async def quote(self) -> Any:
        lines = [RequestedLine(self.city.skus[1], 1, ())]
        return await placing.quote(
            self.city.runtime, self.city.consumer, self.city.store_id, FulfilmentMode.PICKUP, lines, None
        )

    async def place_bare(self) -> None:
        """The writes that placing an order cannot do without."""
        quote = await self.quote()
        began = time.perf_counter()
        async with self.bare.transaction():
            row = await self.bare.fetchrow(
                f'SELECT {", ".join(ORDER_COLUMNS)} FROM "order" WHERE consumer_id = $1 LIMIT 1',
                self.city.consumer.subject,
            )
            assert row is not None
            values = dict(row) | {"id": uuid7(), "quote_id": quote.id}
            await self.bare.execute("UPDATE sku SET held = held + 1 WHERE id = $1", self.city.skus[1])
            places = ", ".join(f"${i}" for i in range(1, len(values) + 1))
            await self.bare.execute(f'INSERT INTO "order" ({", ".join(values)}) VALUES ({places})', *values.values())
            await self.bare.execute(
                """INSERT INTO order_line (id, order_id, sku_id, position, item_name, sku_name, options, quantity,
                       unit_price, total) VALUES ($1, $2, $3, 0, 'x', 'x', '[]', 1, 800, 800)""",
                uuid7(),
                values["id"],
                self.city.skus[1],
            )
            event = {"feeds": [f"order:{values['id']}"], "type": "order.placed", "at": values["placed_at"]}
            body = orjson.dumps([event | {"payload": values}], default=str).decode()
            await self.bare.fetch("SELECT * FROM feed_append($1)", body)
        self.spent += time.perf_counter() - began

    async def place_service(self) -> None:
        quote = await self.quote()
        began = time.perf_counter()
        await placing.place(self.city.runtime, self.city.consumer, quote.id, None, None, "", str(uuid7()))
        self.spent += time.perf_counter() - began

    async def place_gateway(self) -> None:
        variables = {"quote": encode("Quote", (await self.quote()).id), "key": str(uuid7())}
        began = time.perf_counter()
        await self.through_gateway(self.city.consumer, PLACE, variables)
        self.spent += time.perf_counter() - began

    spent = 0.0

    async def without_quote(self, work: Work, times: int) -> float:
        """Milliseconds per call, of the part that is timed inside."""
        self.spent = 0.0
        await timed(work, times)
        return self.spent * 1000 / times


async def compare(name: str, measure: Callable[[Work, int], Awaitable[float]], ways: list[Work], args: Any) -> None:
    figures: list[list[float]] = [[] for _ in ways]
    for _ in range(args.rounds):
        for way, found in zip(ways, figures, strict=True):
            found.append(await measure(way, args.times))
    ceiling, service, gateway = (statistics.median(found) for found in figures)
    print(
        f"{name:<28} asyncpg {ceiling:7.3f} ms   service {service:7.3f} ms ({service / ceiling:4.1f}×)   "
        f"gateway {gateway:7.3f} ms ({gateway / ceiling:4.1f}×)"
    )


async def run(args: argparse.Namespace) -> None:
    logs.configure("warning")
    with tempfile.TemporaryDirectory(prefix="hutong-bench-") as folder:
        os.chmod(folder, 0o711)  # as root the database runs as somebody else, who must get through
        server = EmbeddedPostgres(Path(folder) / "postgres", durable=False)
        await asyncio.to_thread(server.start)
        try:
            url = await asyncio.to_thread(server.create_database)
            await migrate(url)
            provider = FakeProvider()
            async with make_runtime(url, payments=provider) as runtime:
                city = await build(runtime, provider)
                bare = await asyncpg.connect(url)
                bench = Bench(city, bare)
                for _ in range(25):
                    await city.place(FulfilmentMode.PICKUP)
                    await runtime.database.execute("UPDATE sku SET held = 0")
                print("Milliseconds per operation, one at a time, in process; × is the ratio to bare asyncpg.")
                reads = [bench.read_bare, bench.read_service, bench.read_gateway]
                await compare("20 orders with their lines", timed, reads, args)
                writes = [bench.place_bare, bench.place_service, bench.place_gateway]
                await compare("place an order", bench.without_quote, writes, args)
                await bare.close()
        finally:
            await asyncio.to_thread(server.stop)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench database", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="alternating rounds; the median counts")
    parser.add_argument("--times", type=int, default=40, help="calls in each round")
    asyncio.run(run(parser.parse_args(arguments)))
