"""Stores, merchants, cities, tags and tables as cheap records, read by plain SQL: one statement per call.

Given a Unit as their source, the functions read inside its transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import orjson

from auth.principals import Principal
from core.geo import Point
from models.database import Connection, Database, Record
from models.merchants import StoreStatus
from models.ordering import FulfilmentMode
from services.errors import NotFound
from services.merchants.hours import OpeningHours, from_json
from services.runtime import Runtime
from services.unit import Unit


@dataclass(frozen=True, slots=True)
class CityRecord:
    id: UUID
    slug: str
    name: str
    latitude: float
    longitude: float
    timezone: str
    currency: str

    @property
    def center(self) -> Point:
        return Point(self.latitude, self.longitude)


@dataclass(frozen=True, slots=True)
class MerchantRecord:
    id: UUID
    city_id: UUID
    owner_id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class TagRecord:
    id: UUID
    slug: str
    name: str


@dataclass(frozen=True, slots=True)
class TableRecord:
    id: UUID
    store_id: UUID
    code: str
    seats: int


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """One store. Coordinates are GCJ-02, money is in minor units of ``currency``.

    ``delivery_area`` None: the circle of ``delivery_radius_m``. ``distance_m`` is set by discovery only.
    """

    id: UUID
    merchant_id: UUID
    city_id: UUID
    name: str
    address: str
    phone: str
    latitude: float
    longitude: float
    timezone: str
    currency: str
    status: StoreStatus
    hours: tuple[OpeningHours, ...]
    services: frozenset[FulfilmentMode]
    tag_ids: tuple[UUID, ...]
    delivery_radius_m: int
    delivery_area: tuple[Point, ...] | None
    minimum_order: int
    delivery_fee: int
    prep_minutes: int
    queue_open: bool
    distance_m: float | None = None

    @property
    def location(self) -> Point:
        return Point(self.latitude, self.longitude)

    @property
    def distance_metres(self) -> int | None:
        return None if self.distance_m is None else round(self.distance_m)

    @property
    def offered(self) -> list[FulfilmentMode]:
        """``services`` in the order of their declaration."""
        return [mode for mode in FulfilmentMode if mode in self.services]


STORE_COLUMNS: Final = """s.id, s.merchant_id, s.city_id, s.name, s.address, s.phone, s.latitude, s.longitude,
    s.timezone, s.currency, s.status, s.hours, s.services, s.tag_ids, s.delivery_radius_m, s.delivery_area,
    s.minimum_order, s.delivery_fee, s.prep_minutes, s.queue_open"""


def store_of(row: Record, distance_m: float | None = None) -> StoreRecord:
    """The record of a row of ``STORE_COLUMNS``."""
    area: list[list[float]] | None = orjson.loads(row["delivery_area"]) if row["delivery_area"] else None
    return StoreRecord(
        id=row["id"],
        merchant_id=row["merchant_id"],
        city_id=row["city_id"],
        name=row["name"],
        address=row["address"],
        phone=row["phone"],
        latitude=row["latitude"],
        longitude=row["longitude"],
        timezone=row["timezone"],
        currency=row["currency"],
        status=StoreStatus(row["status"]),
        hours=from_json(orjson.loads(row["hours"])),
        services=frozenset(FulfilmentMode(mode) for mode in orjson.loads(row["services"])),
        tag_ids=tuple(UUID(tag) for tag in orjson.loads(row["tag_ids"])),
        delivery_radius_m=row["delivery_radius_m"],
        delivery_area=tuple(Point(lat, lng) for lat, lng in area) if area else None,
        minimum_order=row["minimum_order"],
        delivery_fee=row["delivery_fee"],
        prep_minutes=row["prep_minutes"],
        queue_open=row["queue_open"],
        distance_m=distance_m,
    )


def sql(source: Runtime | Unit) -> Connection | Database:
    """The unit's own connection, so that a read inside a transaction does not wait for a second one."""
    return source.sql if isinstance(source, Unit) else source.database


async def stores_by_ids(source: Runtime | Unit, ids: Sequence[UUID]) -> dict[UUID, StoreRecord]:
    """The stores among ``ids`` that exist, by id."""
    rows = await sql(source).fetch(f"SELECT {STORE_COLUMNS} FROM store s WHERE s.id = ANY($1::uuid[])", list(ids))
    return {row["id"]: store_of(row) for row in rows}


async def get_store(source: Runtime | Unit, store_id: UUID) -> StoreRecord:
    """Raises NotFound."""
    row = await sql(source).fetchrow(f"SELECT {STORE_COLUMNS} FROM store s WHERE s.id = $1", store_id)
    if row is None:
        raise NotFound(resource="Store")
    return store_of(row)


async def my_stores(runtime: Runtime, principal: Principal) -> list[StoreRecord]:
    """The stores the principal is staff of, oldest first."""
    stores = await stores_by_ids(runtime, principal.store_ids)
    return sorted(stores.values(), key=lambda store: store.id)


async def stores_of_merchant(
    runtime: Runtime, merchant_id: UUID, limit: int, after: UUID | None = None
) -> list[StoreRecord]:
    """Up to ``limit`` stores in the order of their ids, after ``after``."""
    rows = await runtime.database.fetch(
        f"""SELECT {STORE_COLUMNS} FROM store s WHERE s.merchant_id = $1 AND ($2::uuid IS NULL OR s.id > $2)
            ORDER BY s.id LIMIT $3""",
        merchant_id,
        after,
        limit,
    )
    return [store_of(row) for row in rows]


async def stores_of_city(runtime: Runtime, city_id: UUID, limit: int, after: UUID | None = None) -> list[StoreRecord]:
    """Up to ``limit`` stores in the order of their ids, after ``after``."""
    rows = await runtime.database.fetch(
        f"""SELECT {STORE_COLUMNS} FROM store s WHERE s.city_id = $1 AND ($2::uuid IS NULL OR s.id > $2)
            ORDER BY s.id LIMIT $3""",
        city_id,
        after,
        limit,
    )
    return [store_of(row) for row in rows]


_CITY_COLUMNS: Final = "id, slug, name, latitude, longitude, timezone, currency"


async def cities(runtime: Runtime) -> list[CityRecord]:
    """All cities by name."""
    rows = await runtime.database.fetch(f"SELECT {_CITY_COLUMNS} FROM city ORDER BY name, id")
    return [CityRecord(**row) for row in rows]


async def cities_by_ids(source: Runtime | Unit, ids: Sequence[UUID]) -> dict[UUID, CityRecord]:
    rows = await sql(source).fetch(f"SELECT {_CITY_COLUMNS} FROM city WHERE id = ANY($1::uuid[])", list(ids))
    return {row["id"]: CityRecord(**row) for row in rows}


async def merchants_by_ids(source: Runtime | Unit, ids: Sequence[UUID]) -> dict[UUID, MerchantRecord]:
    rows = await sql(source).fetch(
        "SELECT id, city_id, owner_id, name FROM merchant WHERE id = ANY($1::uuid[])", list(ids)
    )
    return {row["id"]: MerchantRecord(**row) for row in rows}


async def tags(runtime: Runtime) -> list[TagRecord]:
    """All discovery categories by slug."""
    rows = await runtime.database.fetch("SELECT id, slug, name FROM store_tag ORDER BY slug")
    return [TagRecord(**row) for row in rows]


async def tags_by_ids(source: Runtime | Unit, ids: Sequence[UUID]) -> dict[UUID, TagRecord]:
    rows = await sql(source).fetch("SELECT id, slug, name FROM store_tag WHERE id = ANY($1::uuid[])", list(ids))
    return {row["id"]: TagRecord(**row) for row in rows}


async def tables_by_ids(source: Runtime | Unit, ids: Sequence[UUID]) -> dict[UUID, TableRecord]:
    rows = await sql(source).fetch(
        "SELECT id, store_id, code, seats FROM dining_table WHERE id = ANY($1::uuid[])", list(ids)
    )
    return {row["id"]: TableRecord(**row) for row in rows}


async def tables_of_stores(runtime: Runtime, store_ids: Sequence[UUID]) -> dict[UUID, list[TableRecord]]:
    """The tables of each store, by code."""
    rows = await runtime.database.fetch(
        """SELECT id, store_id, code, seats FROM dining_table WHERE store_id = ANY($1::uuid[])
           ORDER BY length(code), code""",
        list(store_ids),
    )
    found: dict[UUID, list[TableRecord]] = {store_id: [] for store_id in store_ids}
    for row in rows:
        found[row["store_id"]].append(TableRecord(**row))
    return found
