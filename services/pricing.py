"""What an order costs and whether the store can take it now and there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from core.geo import Point, contains, distance_m, is_on_earth, to_gcj02
from models.database import Record
from models.merchants import StoreStatus
from services.errors import InsufficientStock, InvalidInput, ItemUnavailable, NotFound, OutOfDeliveryArea
from services.merchants import hours
from services.merchants.records import StoreRecord, sql
from services.runtime import Runtime
from services.unit import Unit

MAX_LINES: Final = 50
MAX_QUANTITY: Final = 99


@dataclass(frozen=True, slots=True)
class RequestedLine:
    """One line as the consumer asks for it."""

    sku_id: UUID
    quantity: int
    option_ids: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class PricedLine:
    """One line with its price now, in minor units of the store's currency; ``unit_price`` includes the options."""

    sku_id: UUID
    item_id: UUID
    item_name: str
    sku_name: str
    options: list[str]
    quantity: int
    unit_price: int
    total: int


def is_open(store: StoreRecord, now: datetime) -> bool:
    """Whether the store takes orders at ``now``: its staff have it OPEN and its hours cover the instant."""
    return store.status is StoreStatus.OPEN and hours.open_at(store.hours, store.timezone, now)


def next_opening(store: StoreRecord, now: datetime) -> datetime | None:
    """When a store that its hours keep closed opens next; None when it is open, not OPEN by status, or has no hours."""
    if store.status is not StoreStatus.OPEN or hours.open_at(store.hours, store.timezone, now):
        return None
    return hours.next_open(store.hours, store.timezone, now)


def delivery_check(store: StoreRecord, point: Point) -> int:
    """Metres from the store to ``point``.

    Raises OutOfDeliveryArea outside its polygon, or its radius when it has none, and InvalidInput off the Earth.
    """
    if not is_on_earth(point.latitude, point.longitude):
        raise InvalidInput(field="location", reason="latitude must be within ±90 and longitude within ±180 degrees")
    here = to_gcj02(point)
    distance = distance_m(store.location, here)
    served = contains(store.delivery_area, here) if store.delivery_area else distance <= store.delivery_radius_m
    if not served:
        raise OutOfDeliveryArea(distance_metres=round(distance))
    return round(distance)


_OFFERS: Final = """
SELECT s.id, s.name, s.price, s.total - s.held - s.sold AS stock, i.id AS item_id, i.name AS item_name, i.available,
    (SELECT jsonb_agg(jsonb_build_object(
            'name', g.name, 'min', g.min_selected, 'max', g.max_selected,
            'options', (SELECT coalesce(jsonb_agg(jsonb_build_array(o.id, o.name, o.price_delta)
                                                  ORDER BY o.position, o.id), '[]')
                        FROM option o WHERE o.group_id = g.id))
        ORDER BY g.position, g.id) FROM option_group g WHERE g.item_id = i.id) AS groups
FROM sku s JOIN item i ON i.id = s.item_id WHERE s.id = ANY($1::uuid[]) AND i.store_id = $2
"""


async def quote_lines(source: Runtime | Unit, store: StoreRecord, lines: Sequence[RequestedLine]) -> list[PricedLine]:
    """``lines`` with today's prices, in their order; one SQL statement, in the caller's transaction given a Unit.

    Raises InvalidInput (no or too many lines, a quantity outside 1–99, options that are unknown, repeated, or too few
    or many for their group, the same line twice), NotFound for a SKU that is not this store's, ItemUnavailable, and
    InsufficientStock when less is left than all lines together ask for.
    """
    if not 1 <= len(lines) <= MAX_LINES:
        raise InvalidInput(field="lines", reason=f"must be 1 to {MAX_LINES} lines")
    asked: Counter[UUID] = Counter()
    seen: set[tuple[UUID, frozenset[UUID]]] = set()
    for index, line in enumerate(lines):
        if not 1 <= line.quantity <= MAX_QUANTITY:
            raise InvalidInput(field=f"lines.{index}.quantity", reason=f"must be 1 to {MAX_QUANTITY}")
        chosen = frozenset(line.option_ids)
        if len(chosen) != len(line.option_ids):
            raise InvalidInput(field=f"lines.{index}.options", reason="names an option twice")
        if (line.sku_id, chosen) in seen:
            raise InvalidInput(field=f"lines.{index}", reason="repeats another line; raise that line's quantity")
        seen.add((line.sku_id, chosen))
        asked[line.sku_id] += line.quantity
    offers = {row["id"]: row for row in await sql(source).fetch(_OFFERS, list(asked), store.id)}
    priced: list[PricedLine] = []
    for index, line in enumerate(lines):
        offer = offers.get(line.sku_id)
        if offer is None:
            raise NotFound(resource="Sku")
        priced.append(_price(index, line, offer))
    for sku_id, quantity in asked.items():
        offer = offers[sku_id]
        stock: int | None = offer["stock"]
        if stock is not None and stock < quantity:
            name = f"{offer['item_name']} {offer['name']}".strip()
            raise InsufficientStock(sku=sku_id, name=name, available=max(stock, 0), requested=quantity)
    return priced


def _price(index: int, line: RequestedLine, offer: Record) -> PricedLine:
    if not offer["available"]:
        raise ItemUnavailable(item=offer["item_id"], name=offer["item_name"])
    left = set(line.option_ids)
    names: list[str] = []
    unit_price: int = offer["price"]
    groups: list[dict[str, Any]] = orjson.loads(offer["groups"]) if offer["groups"] else []
    for group in groups:
        selected = 0
        for option_id, name, delta in group["options"]:
            key = UUID(option_id)
            if key in left:
                left.remove(key)
                names.append(name)
                unit_price += delta
                selected += 1
        if not group["min"] <= selected <= group["max"]:
            raise InvalidInput(
                field=f"lines.{index}.options",
                reason=f"{group['name']}: choose {group['min']} to {group['max']}, not {selected}",
            )
    if left:
        raise InvalidInput(field=f"lines.{index}.options", reason="names an option that the item does not have")
    return PricedLine(
        sku_id=line.sku_id,
        item_id=offer["item_id"],
        item_name=offer["item_name"],
        sku_name=offer["name"],
        options=names,
        quantity=line.quantity,
        unit_price=unit_price,
        total=unit_price * line.quantity,
    )
