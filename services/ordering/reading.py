"""Orders as they are now: single, lists, boards, and the snapshots that subscriptions start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import orjson

from auth.principals import Principal, View
from models.ordering import FulfilmentMode, OrderState
from services.columns import ALL, Columns, Shape
from services.errors import NotFound
from services.ordering.machine import ON_STORE_BOARD, actor_of
from services.ordering.placing import QuoteRecord, quote_line
from services.ordering.records import ORDER_SELECT, OrderRecord, Select, order_from_row, orders
from services.pages import of_each
from services.runtime import Runtime
from subscriptions.feeds import ORDER, STORE_ORDERS


@dataclass(slots=True)
class LineRecord:
    """One line of an order; prices in minor units of ``currency``."""

    id: UUID
    sku_id: UUID
    item_name: str
    sku_name: str
    options: list[str]
    quantity: int
    unit_price: int
    total: int
    currency: str


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One step in the life of an order."""

    version: int
    type: str
    at: datetime
    actor: str
    state: OrderState


_LINES: Final = Shape(LineRecord, "l", read={"options": orjson.loads}, blank={"currency": ""})


def _for_parties(principal: Principal, columns: Columns) -> Select[OrderRecord]:
    """With what :func:`actor_of` looks at."""
    delivery = ("delivery",) if principal.view is View.RIDER else ()
    return orders(columns, "consumer_id", "store_id", "city_id", "paid_at", *delivery)


async def get(runtime: Runtime, principal: Principal, order_id: UUID, columns: Columns = ALL) -> OrderRecord:
    """The order for one of its parties. Raises NotFound."""
    select = _for_parties(principal, columns)
    row = await runtime.database.fetchrow(f"{select.sql} WHERE o.id = $1", order_id)
    order = None if row is None else select.record(row)
    if order is None or actor_of(order, principal) is None:
        raise NotFound(resource="Order")
    return order


async def visible(
    runtime: Runtime, principal: Principal, ids: Sequence[UUID], columns: Columns = ALL
) -> dict[UUID, OrderRecord]:
    """Those of the orders that the principal is a party of, by key."""
    select = _for_parties(principal, columns)
    rows = await runtime.database.fetch(f"{select.sql} WHERE o.id = ANY($1::uuid[])", list(ids))
    return {order.id: order for order in map(select.record, rows) if actor_of(order, principal) is not None}


async def page(
    runtime: Runtime,
    scope: str,
    key: UUID,
    states: Sequence[OrderState] | None,
    limit: int,
    before: UUID | None,
    columns: Columns = ALL,
) -> list[OrderRecord]:
    """:func:`pages` of one ``key``."""
    return (await pages(runtime, scope, [key], states, limit, before, columns))[key]


async def pages(
    runtime: Runtime,
    scope: str,
    keys: Sequence[UUID],
    states: Sequence[OrderState] | None,
    limit: int,
    before: UUID | None,
    columns: Columns = ALL,
) -> dict[UUID, list[OrderRecord]]:
    """Orders of each key, newest first, at most ``limit``, older than ``before``.

    ``scope``, what the keys are: ``consumer_id``, ``store_id`` (paid ones only) or ``city_id``.
    """
    assert scope in ("consumer_id", "store_id", "city_id")
    paid = " AND o.paid_at IS NOT NULL" if scope == "store_id" else ""
    select = orders(columns)
    page = f"""{select.sql} WHERE o.{scope} = k.key{paid} AND ($2::text[] IS NULL OR o.state = ANY($2))
        AND ($3::uuid IS NULL OR o.id < $3) ORDER BY o.id DESC LIMIT $4"""
    wanted = None if states is None else list(states)
    found = await of_each(runtime, keys, "uuid", page, "page.id DESC", wanted, before, limit)
    return {key: [select.record(row[:-1]) for row in rows] for key, rows in found.items()}


async def lines_of(
    runtime: Runtime, currency: Mapping[UUID, str], columns: Columns = ALL
) -> dict[UUID, list[LineRecord]]:
    """The lines of each order of ``currency`` (order → its currency), in their order."""
    chosen = _LINES.choose(columns.of(LineRecord))
    rows = await runtime.database.fetch(
        f"""SELECT {chosen.sql}, o.place FROM unnest($1::uuid[]) WITH ORDINALITY AS o (id, place)
            JOIN order_line l ON l.order_id = o.id ORDER BY o.place, l.position""",
        list(currency),
    )
    found: list[tuple[str, list[LineRecord]]] = [(of, []) for of in currency.values()]
    for row in rows:
        line = chosen.record(row[:-1])
        place: int = row[-1]
        line.currency, lines = found[place - 1]
        lines.append(line)
    return {order_id: lines for order_id, (_, lines) in zip(currency, found, strict=True)}


async def order_of_line(runtime: Runtime, line_id: UUID) -> UUID | None:
    """The order that the line belongs to."""
    return await runtime.database.fetchval("SELECT order_id FROM order_line WHERE id = $1", line_id)


async def events(runtime: Runtime, order_ids: Sequence[UUID], limit: int, after: int) -> dict[UUID, list[OrderEvent]]:
    """Of each order the steps with versions above ``after``, in order."""
    page = """SELECT "offset", type, at, payload ->> 'actor' AS actor, payload #>> '{order,state}' AS state
        FROM feed_event WHERE feed = k.key AND "offset" > $2 ORDER BY "offset" LIMIT $3"""
    feeds = {ORDER.of(order_id): order_id for order_id in order_ids}
    found = await of_each(runtime, list(feeds), "text", page, 'page."offset"', after, limit)
    return {
        feeds[feed]: [OrderEvent(r["offset"], r["type"], r["at"], r["actor"], OrderState(r["state"])) for r in rows]
        for feed, rows in found.items()
    }


async def snapshot(runtime: Runtime, order_id: UUID) -> tuple[int, OrderRecord]:
    """The order with its offset in its own feed, which is its version. Raises NotFound."""
    row = await runtime.database.fetchrow(f"{ORDER_SELECT} WHERE o.id = $1", order_id)
    if row is None:
        raise NotFound(resource="Order")
    order = order_from_row(row)
    return order.version, order


async def board(runtime: Runtime, store_id: UUID) -> tuple[int, list[OrderRecord]]:
    """The live orders of a store, oldest first, with the offset of the store's feed at the same instant."""
    rows = await runtime.database.fetch(
        f"""SELECT b.*, coalesce((SELECT top FROM feed_head WHERE feed = $2), 0) AS top
            FROM (SELECT 1) AS one LEFT JOIN (
                {ORDER_SELECT} WHERE o.store_id = $1 AND o.state = ANY($3::text[])
            ) AS b ON true ORDER BY b.id""",
        store_id,
        STORE_ORDERS.of(store_id),
        list(ON_STORE_BOARD),
    )
    return rows[0]["top"], [order_from_row(row) for row in rows if row["id"] is not None]


async def quote(runtime: Runtime, principal: Principal, quote_id: UUID) -> QuoteRecord:
    """A quote of the consumer's own. Raises NotFound."""
    row = await runtime.database.fetchrow(
        "SELECT * FROM quote WHERE id = $1 AND consumer_id = $2", quote_id, principal.subject
    )
    if row is None:
        raise NotFound(resource="Quote")
    return QuoteRecord(
        row["id"], row["consumer_id"], row["store_id"], FulfilmentMode(row["mode"]),
        [quote_line(line) for line in orjson.loads(row["lines"])],
        row["currency"], row["subtotal"], row["delivery_fee"], row["total"], row["created_at"], row["expires_at"],
    )  # fmt: skip
