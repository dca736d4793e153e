"""What is printed for an order: the facts of the moment, and of the people only what the reader needs."""

from __future__ import annotations

from uuid import UUID

import orjson

from models.database import Connection
from models.devices import TicketKind
from models.ordering import FulfilmentMode
from services.devices.records import PrintTicket, TicketLine

_ORDER = """
SELECT o.number, o.pickup_number, o.mode, o.note, o.placed_at, o.promised_ready_at, o.total, o.currency,
       s.name AS store, t.code
FROM "order" o JOIN store s ON s.id = o.store_id LEFT JOIN dining_table t ON t.id = o.table_id
WHERE o.id = $1 AND o.store_id = $2 AND o.paid_at IS NOT NULL
"""


async def ticket_of(connection: Connection, store_id: UUID, order_id: UUID, kind: TicketKind) -> PrintTicket | None:
    """A ticket of a paid order of the store, None when the store has no such order. Only a receipt has prices."""
    order = await connection.fetchrow(_ORDER, order_id, store_id)
    if order is None:
        return None
    rows = await connection.fetch(
        """SELECT item_name, sku_name, options, quantity, total FROM order_line
           WHERE order_id = $1 ORDER BY position""",
        order_id,
    )
    priced = kind is TicketKind.RECEIPT
    return PrintTicket(
        kind=kind,
        title=order["store"],
        lines=[
            TicketLine(
                name=row["item_name"],
                options=[row["sku_name"], *orjson.loads(row["options"])],
                quantity=row["quantity"],
                total=row["total"] if priced else None,
                currency=order["currency"] if priced else None,
            )
            for row in rows
        ],
        number=order["number"],
        pickup_number=order["pickup_number"],
        mode=FulfilmentMode(order["mode"]),
        table=order["code"],
        note=order["note"],
        placed_at=order["placed_at"],
        due_at=order["promised_ready_at"],
        total=order["total"] if priced else None,
        currency=order["currency"] if priced else None,
    )
