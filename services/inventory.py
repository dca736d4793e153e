"""Stock of counted SKUs: held + sold never exceeds total, whoever buys at the same time.

All functions run inside the caller's transaction and take the rows in the order of their ids, so that two orders
cannot wait for each other. ``held`` and ``sold`` are kept for uncounted SKUs (``total`` null) as well, so that
counting may begin or end while orders are open.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from services.errors import InsufficientStock, NotFound
from services.unit import Unit


async def hold(unit: Unit, quantities: Mapping[UUID, int]) -> None:
    """Set ``quantities`` (SKU id → units) aside for an order that is not paid yet: all of them or none.

    Raises InsufficientStock for the first SKU that has too few, NotFound for an unknown one.
    """
    wanted = _checked(quantities)
    if not wanted:
        return
    # The lock makes the check below true until commit; the guarded UPDATE and the table's CHECK do not rely on it.
    rows = await unit.sql.fetch(
        """SELECT s.id, s.total - s.held - s.sold AS available, i.name || ' ' || s.name AS name
           FROM sku s JOIN item i ON i.id = s.item_id WHERE s.id = ANY($1::uuid[])
           ORDER BY s.id FOR NO KEY UPDATE OF s""",
        list(wanted),
    )
    if len(rows) != len(wanted):
        raise NotFound(resource="Sku")
    for row in rows:
        available: int | None = row["available"]
        requested = wanted[row["id"]]
        if available is not None and available < requested:
            raise InsufficientStock(
                sku=row["id"], name=row["name"].strip(), available=max(available, 0), requested=requested
            )
    await _move(
        unit,
        wanted,
        "held = held + w.quantity",
        "s.total IS NULL OR s.held + s.sold + w.quantity <= s.total",
    )


async def release(unit: Unit, quantities: Mapping[UUID, int]) -> None:
    """Give held units back: the order was never paid."""
    await _locked_move(unit, quantities, "held = held - w.quantity", "s.held >= w.quantity")


async def commit_sold(unit: Unit, quantities: Mapping[UUID, int]) -> None:
    """Held units are sold: the order was paid."""
    await _locked_move(unit, quantities, "held = held - w.quantity, sold = sold + w.quantity", "s.held >= w.quantity")


async def restock(unit: Unit, quantities: Mapping[UUID, int]) -> None:
    """Sold units can be bought again: the order was cancelled after payment."""
    await _locked_move(unit, quantities, "sold = sold - w.quantity", "s.sold >= w.quantity")


def _checked(quantities: Mapping[UUID, int]) -> dict[UUID, int]:
    """In the order of the ids. Raises ValueError for a quantity below 1."""
    if any(quantity < 1 for quantity in quantities.values()):
        raise ValueError("quantities must be positive")
    return dict(sorted(quantities.items()))


async def _locked_move(unit: Unit, quantities: Mapping[UUID, int], change: str, guard: str) -> None:
    wanted = _checked(quantities)
    if len(wanted) > 1:
        await unit.sql.fetch("SELECT FROM sku WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE", list(wanted))
    if wanted:
        await _move(unit, wanted, change, guard)


async def _move(unit: Unit, wanted: dict[UUID, int], change: str, guard: str) -> None:
    moved = await unit.sql.execute(
        f"""UPDATE sku s SET {change}
            FROM unnest($1::uuid[], $2::bigint[]) AS w(id, quantity) WHERE s.id = w.id AND ({guard})""",
        list(wanted),
        list(wanted.values()),
    )
    if moved != len(wanted):
        # The caller moves units that are not where it says: a broken promise of ours, not of the customer.
        raise RuntimeError(f"stock of {len(wanted) - moved} SKUs does not allow: {change}")
