"""Many of everything, made by copying the rows of what is there."""

from __future__ import annotations

import itertools
from typing import Any, Final
from uuid import UUID

from core.ids import uuid7
from models.database import Connection

COPIED: Final[dict[str, tuple[str, ...]]] = {
    "person": (),
    "city": (),
    "store_tag": (),
    "merchant": ("owner_id",),
    "store": ("merchant_id",),
    "grant": ("store_id", "city_id"),
    "dining_table": ("store_id",),
    "category": ("store_id",),
    "item": ("store_id", "category_id"),
    "sku": ("item_id",),
    "option_group": ("item_id",),
    "option": ("group_id",),
    "picture": ("store_id", "item_id"),
    "queue_class": ("store_id",),
    "queue_ticket": ("store_id", "queue_class_id"),
    "device": ("store_id", "client_id"),
    "device_command": ("device_id", "store_id"),
    "delivery": ("order_id", "store_id", "rider_id"),
    "rider": ("person_id", "active_delivery_id"),
    "order": ("store_id", "quote_id"),
    "order_line": ("order_id",),
    "payment": ("order_id",),
    "partner_store": ("store_id",),
    "webhook_endpoint": (),
    "webhook_secret": ("endpoint_id",),
    "webhook_delivery": ("endpoint_id",),
    "webhook_attempt": ("delivery_id",),
    "audit_entry": ("actor_id",),
}
"""Tables with those of their columns in which a copy has the key of the copy, not of the original."""

_numbers = itertools.count(1)

UNIQUE: Final = {"phone", "slug", "number", "out_trade_no", "source", "pairing_hash"}


async def multiply(sql: Connection, copies: int) -> None:
    """``copies`` more of each row of the tables: each copy of the city's life is whole in itself."""
    originals = {table: [dict(row) for row in await sql.fetch(f'SELECT * FROM "{table}"')] for table in COPIED}
    columns = {table: await _columns(sql, table) for table in COPIED}
    await sql.execute("SET CONSTRAINTS ALL DEFERRED")
    for copy in range(copies):
        keys: dict[UUID, UUID] = {}
        for table, rows in originals.items():
            made = [_copied(table, row, copy, keys) for row in rows]
            names = columns[table]
            places = ", ".join(f"${n}" for n in range(1, len(names) + 1))
            quoted = ", ".join(f'"{name}"' for name in names)
            await sql.executemany(
                f'INSERT INTO "{table}" ({quoted}) VALUES ({places})',
                [[row[name] for name in names] for row in made],
            )


def _copied(table: str, row: dict[str, Any], copy: int, keys: dict[UUID, UUID]) -> dict[str, Any]:
    new = dict(row)
    for column in ("id", *COPIED[table]):
        if new[column] is not None:
            new[column] = keys.setdefault(new[column], uuid7())
    for column in UNIQUE & new.keys():
        if isinstance(new[column], str):
            new[column] = f"{'+861390' if column == 'phone' else 'c'}{next(_numbers):07d}"
    if table == "queue_ticket":
        new["sequence"] += 1000 * (copy + 1)
    return new


async def _columns(sql: Connection, table: str) -> list[str]:
    rows = await sql.fetch(
        """SELECT column_name FROM information_schema.columns
           WHERE table_schema = 'public' AND table_name = $1 AND is_generated = 'NEVER'""",
        table,
    )
    return [row["column_name"] for row in rows]
