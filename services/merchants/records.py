"""Stores, merchants, cities, tags and tables as cheap records, read by plain SQL: one statement per call.

Given a Unit as their source, the functions read inside its transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

import orjson

from auth.principals import Principal
from core.geo import Point
from models.database import Connection, Database
from models.merchants import StoreStatus
from models.ordering import FulfilmentMode
from services.columns import ALL, Columns, Shape, by_value
from services.errors import NotFound
from services.merchants.hours import OpeningHours, from_json
from services.pages import of_each
from services.runtime import Runtime
from services.unit import Unit

R = TypeVar("R")


@dataclass(slots=True)
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


@dataclass(slots=True)
class MerchantRecord:
    id: UUID
    city_id: UUID
    owner_id: UUID
    name: str


@dataclass(slots=True)
class TagRecord:
    id: UUID
    slug: str
    name: str


@dataclass(slots=True)
class TableRecord:
    id: UUID
    store_id: UUID
    code: str
    seats: int


@dataclass(slots=True)
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


def _modes(json: str) -> frozenset[FulfilmentMode]:
    return frozenset(map(FulfilmentMode, orjson.loads(json)))


def _tags(json: str) -> tuple[UUID, ...]:
    return tuple(map(UUID, orjson.loads(json)))


def _area(json: str) -> tuple[Point, ...] | None:
    corners: list[list[float]] | None = orjson.loads(json)
    return tuple(Point(latitude, longitude) for latitude, longitude in corners) if corners else None


STORES: Final = Shape(
    StoreRecord,
    "s",
    read={
        "status": by_value(StoreStatus),
        "hours": lambda json: from_json(orjson.loads(json)),
        "services": _modes,
        "tag_ids": _tags,
        "delivery_area": _area,
    },
    derived={"location": ("latitude", "longitude"), "distance_metres": (), "offered": ("services",)},
    blank={"distance_m": None},
)
_CITIES: Final = Shape(CityRecord, "c", derived={"center": ("latitude", "longitude")})
_MERCHANTS: Final = Shape(MerchantRecord, "m")
_TAGS: Final = Shape(TagRecord, "t")
_TABLES: Final = Shape(TableRecord, "t", always=("id", "store_id"))


def sql(source: Runtime | Unit) -> Connection | Database:
    """The unit's own connection, so that a read inside a transaction does not wait for a second one."""
    return source.sql if isinstance(source, Unit) else source.database


async def stores_by_ids(source: Runtime | Unit, ids: Sequence[UUID], columns: Columns = ALL) -> dict[UUID, StoreRecord]:
    """The stores among ``ids`` that exist, by id."""
    return await _by_ids(source, STORES, "store s", ids, columns)


async def get_store(source: Runtime | Unit, store_id: UUID) -> StoreRecord:
    """Raises NotFound."""
    found = await stores_by_ids(source, [store_id])
    if store_id not in found:
        raise NotFound(resource="Store")
    return found[store_id]


async def my_stores(runtime: Runtime, principal: Principal, columns: Columns = ALL) -> list[StoreRecord]:
    """The stores the principal is staff of, oldest first."""
    stores = await stores_by_ids(runtime, principal.store_ids, columns)
    return sorted(stores.values(), key=lambda store: store.id)


async def stores_of_merchants(
    runtime: Runtime, merchant_ids: Sequence[UUID], limit: int, after: UUID | None = None, columns: Columns = ALL
) -> dict[UUID, list[StoreRecord]]:
    """Of each merchant up to ``limit`` stores in the order of their ids, after ``after``."""
    return await _stores_of(runtime, "merchant_id", merchant_ids, limit, after, columns)


async def stores_of_cities(
    runtime: Runtime, city_ids: Sequence[UUID], limit: int, after: UUID | None = None, columns: Columns = ALL
) -> dict[UUID, list[StoreRecord]]:
    """Of each city up to ``limit`` stores in the order of their ids, after ``after``."""
    return await _stores_of(runtime, "city_id", city_ids, limit, after, columns)


async def _stores_of(
    runtime: Runtime, owner: str, keys: Sequence[UUID], limit: int, after: UUID | None, columns: Columns
) -> dict[UUID, list[StoreRecord]]:
    chosen = STORES.choose(columns.of(StoreRecord))
    page = f"""SELECT {chosen.sql} FROM store s WHERE s.{owner} = k.key AND ($2::uuid IS NULL OR s.id > $2)
        ORDER BY s.id LIMIT $3"""
    found = await of_each(runtime, keys, "uuid", page, "page.id", after, limit)
    return {key: [chosen.record(row[:-1]) for row in rows] for key, rows in found.items()}


async def _by_ids(
    source: Runtime | Unit, shape: Shape[R], table: str, ids: Sequence[UUID], columns: Columns
) -> dict[UUID, R]:
    chosen = shape.choose(columns.of(shape.record))
    rows = await sql(source).fetch(
        f"SELECT {chosen.sql} FROM {table} WHERE {shape.alias}.id = ANY($1::uuid[])", list(ids)
    )
    return {row["id"]: chosen.record(row) for row in rows}


async def cities(runtime: Runtime, columns: Columns = ALL) -> list[CityRecord]:
    """All cities by name."""
    chosen = _CITIES.choose(columns.of(CityRecord))
    rows = await runtime.database.fetch(f"SELECT {chosen.sql} FROM city c ORDER BY c.name, c.id")
    return list(map(chosen.record, rows))


async def cities_by_ids(source: Runtime | Unit, ids: Sequence[UUID], columns: Columns = ALL) -> dict[UUID, CityRecord]:
    return await _by_ids(source, _CITIES, "city c", ids, columns)


async def merchants_by_ids(
    source: Runtime | Unit, ids: Sequence[UUID], columns: Columns = ALL
) -> dict[UUID, MerchantRecord]:
    return await _by_ids(source, _MERCHANTS, "merchant m", ids, columns)


async def tags(runtime: Runtime, columns: Columns = ALL) -> list[TagRecord]:
    """All discovery categories by slug."""
    chosen = _TAGS.choose(columns.of(TagRecord))
    rows = await runtime.database.fetch(f"SELECT {chosen.sql} FROM store_tag t ORDER BY t.slug")
    return list(map(chosen.record, rows))


async def tags_by_ids(source: Runtime | Unit, ids: Sequence[UUID], columns: Columns = ALL) -> dict[UUID, TagRecord]:
    return await _by_ids(source, _TAGS, "store_tag t", ids, columns)


async def tables_by_ids(source: Runtime | Unit, ids: Sequence[UUID], columns: Columns = ALL) -> dict[UUID, TableRecord]:
    return await _by_ids(source, _TABLES, "dining_table t", ids, columns)


async def tables_of_stores(
    runtime: Runtime, store_ids: Sequence[UUID], columns: Columns = ALL
) -> dict[UUID, list[TableRecord]]:
    """The tables of each store, by code."""
    chosen = _TABLES.choose(columns.of(TableRecord))
    rows = await runtime.database.fetch(
        f"""SELECT {chosen.sql} FROM dining_table t WHERE t.store_id = ANY($1::uuid[])
            ORDER BY length(t.code), t.code""",
        list(store_ids),
    )
    found: dict[UUID, list[TableRecord]] = {store_id: [] for store_id in store_ids}
    for table in map(chosen.record, rows):
        found[table.store_id].append(table)
    return found
