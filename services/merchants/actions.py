"""What admins and staff do to merchants and stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson

from auth.principals import Principal, View
from core import phones, textsearch
from core.geo import Point
from models.identity import GrantRole
from models.merchants import StoreStatus
from models.ordering import FulfilmentMode
from services import access
from services.errors import InvalidInput, NotFound
from services.merchants.checks import amount, place, text, within
from services.merchants.hours import OpeningHours, check_hours, to_json
from services.merchants.records import (
    STORES,
    CityRecord,
    MerchantRecord,
    StoreRecord,
    cities_by_ids,
    get_store,
    merchants_by_ids,
    tags_by_ids,
)
from services.runtime import Runtime
from services.unit import Unit, transaction
from subscriptions import feeds

MAX_TABLES: Final = 200
MAX_TAGS: Final = 20
MAX_CORNERS: Final = 200
"""Points of a delivery area."""

QUEUE_CLASSES: Final = (("A", 1, 2, 45), ("B", 3, 4, 60), ("C", 5, 8, 75))
"""Code, smallest and largest party, minutes a table stays taken. The last one grows to the largest table."""


@dataclass(frozen=True, slots=True)
class NewTable:
    code: str
    seats: int


@dataclass(frozen=True, slots=True)
class NewStore:
    """A store as its owner describes it; positions in any CRS, money in minor units of the city's currency."""

    name: str
    address: str
    phone: str
    location: Point
    hours: Sequence[OpeningHours]
    delivery_radius_m: int
    delivery_area: Sequence[Point] | None
    minimum_order: int
    delivery_fee: int
    prep_minutes: int
    services: Sequence[FulfilmentMode]
    tables: Sequence[NewTable] = ()


async def register_merchant(
    runtime: Runtime, principal: Principal, city_id: UUID, name: str, owner_phone: str
) -> MerchantRecord:
    """A new merchant; its owner is the person with that phone, who is created if nobody has it.

    Raises NotFound for a city that the principal does not administer, InvalidInput.
    """
    if not principal.administers(city_id):
        raise NotFound(resource="City")
    name = text("name", name, 80)
    phone = phones.normalise(owner_phone)
    if phone is None:
        raise InvalidInput(field="ownerPhone", reason="is not a phone number")
    async with transaction(runtime) as unit:
        # The update that changes nothing makes the statement return the row in both cases.
        owner_id: UUID = await unit.sql.fetchval(
            """INSERT INTO person (id, phone, created_at) VALUES ($1, $2, $3)
               ON CONFLICT (phone) DO UPDATE SET phone = excluded.phone RETURNING id""",
            runtime.new_id(),
            phone,
            unit.now,
        )
        merchant = MerchantRecord(runtime.new_id(), city_id, owner_id, name)
        await unit.sql.execute(
            "INSERT INTO merchant (id, city_id, owner_id, name, created_at) VALUES ($1, $2, $3, $4, $5)",
            merchant.id,
            city_id,
            owner_id,
            name,
            unit.now,
        )
    return merchant


async def create_store(
    runtime: Runtime, principal: Principal, merchant_id: UUID, tag_ids: Sequence[UUID], new: NewStore
) -> StoreRecord:
    """A new store, OPEN by status, with its tables, default queue classes, and its owner's grant.

    The merchant's owner and admins of its city may do it. Raises NotFound (merchant, tag), InvalidInput.
    """
    async with transaction(runtime) as unit:
        merchant = (await merchants_by_ids(unit, [merchant_id])).get(merchant_id)
        if merchant is None or not _may_open_stores(principal, merchant):
            raise NotFound(resource="Merchant")
        city = (await cities_by_ids(unit, [merchant.city_id]))[merchant.city_id]
        tags = await _tag_names(unit, tag_ids)
        tables = _checked_tables(new.tables)
        store = _checked_store(unit, merchant, city, tag_ids, new)
        await _insert_store(unit, store, textsearch.index([store.name, *tags]))
        await unit.sql.execute(
            """INSERT INTO "grant" (id, person_id, role, store_id, created_at) VALUES ($1, $2, $3, $4, $5)""",
            runtime.new_id(),
            merchant.owner_id,
            GrantRole.STORE_OWNER.value,
            store.id,
            unit.now,
        )
        await unit.sql.executemany(
            "INSERT INTO dining_table (id, store_id, code, seats) VALUES ($1, $2, $3, $4)",
            [(runtime.new_id(), store.id, table.code, table.seats) for table in tables],
        )
        if tables and FulfilmentMode.DINE_IN in store.services:
            await _insert_queue_classes(unit, store.id, tables)
        unit.signal(feeds.CITY.of(store.city_id))
    await access.changed(runtime, merchant.owner_id)
    return store


async def set_store_status(runtime: Runtime, principal: Principal, store_id: UUID, status: StoreStatus) -> StoreRecord:
    """Open, pause or close the store by hand; any of its staff may. Raises NotFound."""
    if not principal.works_at(store_id):
        raise NotFound(resource="Store")
    whole = STORES.choose()
    async with transaction(runtime) as unit:
        row = await unit.sql.fetchrow(
            f"UPDATE store s SET status = $2 WHERE s.id = $1 RETURNING {whole.sql}", store_id, status.value
        )
        if row is None:
            raise NotFound(resource="Store")
        store = whole.record(row)
        unit.signal(feeds.CITY.of(store.city_id))
    return store


async def refresh_search(unit: Unit, store_id: UUID) -> None:
    """Make the store findable by what it, its tags and its items are called now.

    Locks the store's row: of two concurrent changes the second sees the names of the first.
    """
    await unit.sql.fetchval("SELECT 1 FROM store WHERE id = $1 FOR NO KEY UPDATE", store_id)
    store = await get_store(unit, store_id)
    tags = await _tag_names(unit, store.tag_ids)
    rows = await unit.sql.fetch("SELECT name FROM item WHERE store_id = $1 ORDER BY position, id", store_id)
    entry = textsearch.index([store.name, *tags, *(row["name"] for row in rows)])
    await unit.sql.execute(
        "UPDATE store SET search_text = $2, search_grams = $3 WHERE id = $1", store_id, entry.text, entry.grams
    )


def _may_open_stores(principal: Principal, merchant: MerchantRecord) -> bool:
    owns = principal.view is View.MERCHANT and principal.subject == merchant.owner_id
    return owns or principal.administers(merchant.city_id)


async def _tag_names(unit: Unit, tag_ids: Sequence[UUID]) -> list[str]:
    if len(tag_ids) > MAX_TAGS or len(set(tag_ids)) != len(tag_ids):
        raise InvalidInput(field="tags", reason=f"must be at most {MAX_TAGS} different tags")
    found = await tags_by_ids(unit, tag_ids) if tag_ids else {}
    if len(found) != len(tag_ids):
        raise NotFound(resource="StoreTag")
    return [found[tag_id].name for tag_id in tag_ids]


def _checked_store(
    unit: Unit, merchant: MerchantRecord, city: CityRecord, tag_ids: Sequence[UUID], new: NewStore
) -> StoreRecord:
    phone = phones.normalise(new.phone)
    if phone is None:
        raise InvalidInput(field="phone", reason="is not a phone number")
    location = place("location", new.location)
    area = None
    if new.delivery_area is not None:
        if not 3 <= len(new.delivery_area) <= MAX_CORNERS:
            raise InvalidInput(field="deliveryArea", reason=f"must have 3 to {MAX_CORNERS} points")
        area = tuple(place(f"deliveryArea.{index}", corner) for index, corner in enumerate(new.delivery_area))
    if not new.services:
        raise InvalidInput(field="services", reason="must name at least one")
    return StoreRecord(
        id=unit.runtime.new_id(),
        merchant_id=merchant.id,
        city_id=city.id,
        name=text("name", new.name, 80),
        address=text("address", new.address, 200),
        phone=phone,
        latitude=location.latitude,
        longitude=location.longitude,
        timezone=city.timezone,
        currency=city.currency,
        status=StoreStatus.OPEN,
        hours=check_hours(new.hours),
        services=frozenset(new.services),
        tag_ids=tuple(tag_ids),
        delivery_radius_m=within("deliveryRadiusMetres", new.delivery_radius_m, 100, 50_000),
        delivery_area=area,
        minimum_order=amount("minimumOrder", new.minimum_order),
        delivery_fee=amount("deliveryFee", new.delivery_fee),
        prep_minutes=within("prepMinutes", new.prep_minutes, 1, 240),
        queue_open=True,
    )


def _checked_tables(tables: Sequence[NewTable]) -> list[NewTable]:
    if len(tables) > MAX_TABLES:
        raise InvalidInput(field="tables", reason=f"at most {MAX_TABLES} tables")
    checked: dict[str, NewTable] = {}
    for index, table in enumerate(tables):
        code = text(f"tables.{index}.code", table.code, 16)
        if code in checked:
            raise InvalidInput(field=f"tables.{index}.code", reason=f"{code} is the code of another table")
        checked[code] = NewTable(code, within(f"tables.{index}.seats", table.seats, 1, 50))
    return list(checked.values())


async def _insert_store(unit: Unit, store: StoreRecord, search: textsearch.Index) -> None:
    area = [[corner.latitude, corner.longitude] for corner in store.delivery_area] if store.delivery_area else None
    row: dict[str, Any] = {
        "id": store.id,
        "merchant_id": store.merchant_id,
        "city_id": store.city_id,
        "name": store.name,
        "address": store.address,
        "phone": store.phone,
        "latitude": store.latitude,
        "longitude": store.longitude,
        "timezone": store.timezone,
        "currency": store.currency,
        "status": store.status.value,
        "hours": orjson.dumps(to_json(store.hours)).decode(),
        "services": orjson.dumps(store.offered).decode(),
        "tag_ids": orjson.dumps(store.tag_ids, default=str).decode(),  # asyncpg has a UUID class of its own
        "delivery_radius_m": store.delivery_radius_m,
        "delivery_area": orjson.dumps(area).decode() if area else None,
        "minimum_order": store.minimum_order,
        "delivery_fee": store.delivery_fee,
        "prep_minutes": store.prep_minutes,
        "queue_open": store.queue_open,
        "search_text": search.text,
        "search_grams": search.grams,
        "created_at": unit.now,
    }
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await unit.sql.execute(f"INSERT INTO store ({', '.join(row)}) VALUES ({places})", *row.values())


async def _insert_queue_classes(unit: Unit, store_id: UUID, tables: Sequence[NewTable]) -> None:
    """A class for every party size that some table seats; where none has just that size, larger tables serve it."""
    seats = [table.seats for table in tables]
    rows: list[tuple[object, ...]] = []
    for code, low, high, turn_minutes in QUEUE_CLASSES:
        if low > max(seats):
            break
        top = max(seats) if code == QUEUE_CLASSES[-1][0] else min(high, max(seats))
        count = sum(low <= n <= top for n in seats) or sum(n > top for n in seats)
        rows.append((unit.runtime.new_id(), store_id, code, low, top, count, turn_minutes))
    await unit.sql.executemany(
        """INSERT INTO queue_class (id, store_id, code, min_party, max_party, table_count, turn_minutes)
           VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        rows,
    )
