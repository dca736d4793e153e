"""Peer of the HTTP bench: what somebody would write by hand for these two questions, with Starlette, SQL and orjson.

Arguments: database URL, key of the consumer. It asks nobody who they are.
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench import data
from bench.peers.serving import serve

DATABASE, CONSUMER = sys.argv[1], UUID(sys.argv[2])

ORDERS = 'SELECT id, number, state, total, currency, store_id FROM "order"'
STORES = "SELECT id, name FROM store WHERE id = ANY($1::uuid[])"
LINES = """SELECT order_id, item_name, quantity, total FROM order_line
           WHERE order_id = ANY($1::uuid[]) ORDER BY order_id, position"""


async def complete(connection: Any, orders: list[Any]) -> list[dict[str, Any]]:
    """The orders as they are answered."""
    stores = {
        row["id"]: {"id": data.encode("sto", row["id"]), "name": row["name"]}
        for row in await connection.fetch(STORES, list({order["store_id"] for order in orders}))
    }
    lines: dict[Any, list[dict[str, Any]]] = {order["id"]: [] for order in orders}
    currency = {order["id"]: order["currency"] for order in orders}
    for row in await connection.fetch(LINES, list(lines)):
        order_id = row["order_id"]
        total = {"amount": row["total"], "currency": currency[order_id]}
        lines[order_id].append({"itemName": row["item_name"], "quantity": row["quantity"], "total": total})
    return [
        {
            "id": data.encode("ord", order["id"]),
            "number": order["number"],
            "state": order["state"],
            "total": {"amount": order["total"], "currency": order["currency"]},
            "store": stores[order["store_id"]],
            "lines": lines[order["id"]],
        }
        for order in orders
    ]


async def answer(request: Request) -> Response:
    asked = orjson.loads(await request.body())["variables"]
    async with request.app.state.pool.acquire() as connection:
        if "id" in asked:
            sql = f"{ORDERS} WHERE id = $1 AND consumer_id = $2"
            found = await complete(connection, await connection.fetch(sql, data.decode(asked["id"]), CONSUMER))
            result: Any = {"order": found[0] if found else None}
        else:
            sql = f"{ORDERS} WHERE consumer_id = $1 ORDER BY id DESC LIMIT $2"
            rows = await connection.fetch(sql, CONSUMER, asked["first"])
            result = {"myOrders": {"nodes": await complete(connection, rows)}}
    return Response(orjson.dumps({"data": result}), media_type="application/json")


@asynccontextmanager
async def lifespan(app: Starlette) -> Any:
    async with asyncpg.create_pool(DATABASE, min_size=2, max_size=12) as pool:
        app.state.pool = pool
        yield


if __name__ == "__main__":
    serve(Starlette(routes=[Route("/graphql", answer, methods=["POST"])], lifespan=lifespan))
