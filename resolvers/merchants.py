"""Cities, merchants, stores: reads batched per operation, discovery pages, actions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from itertools import chain
from operator import attrgetter
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from core.geo import Point
from models.merchants import StoreStatus
from models.ordering import FulfilmentMode
from resolvers.base import Page, action, key, make_page, or_none, page_size
from resolvers.context import Context, Info, Load, batched, by_arguments
from services import merchants, presence, pricing
from services.columns import Columns
from services.errors import InvalidInput, NotFound
from services.merchants import (
    CityRecord,
    Discovery,
    MerchantRecord,
    NewStore,
    StoreRecord,
    TableRecord,
    TagRecord,
)
from services.runtime import Runtime

V = TypeVar("V")


def by_id(read: Callable[[Runtime, list[UUID], Columns], Awaitable[dict[UUID, V]]], resource: str) -> Load[UUID, V]:
    """For ``context.loader``: what ``read`` finds by id; NotFound under a key without a ``resource``."""

    async def load(context: Context, keys: list[UUID]) -> list[V | Exception]:
        found = await read(context.runtime, keys, context.columns)
        return [found.get(key) or NotFound(resource=resource) for key in keys]

    return load


load_stores = by_id(merchants.stores_by_ids, "Store")
load_cities = by_id(merchants.cities_by_ids, "City")
load_merchants = by_id(merchants.merchants_by_ids, "Merchant")
load_tags = by_id(merchants.tags_by_ids, "StoreTag")
load_tables = by_id(merchants.tables_by_ids, "DiningTable")


async def _load_terminals(context: Context, store_ids: list[UUID]) -> list[int | None]:
    return await presence.terminals_online(context.runtime, context.principal, store_ids)


terminals_online = batched(_load_terminals, attrgetter("id"))


# root fields


async def cities(context: Context) -> list[CityRecord]:
    return await merchants.cities(context.runtime, context.columns)


async def city(context: Context, city: str) -> CityRecord | None:
    return await or_none(_by_public_id(context, load_cities, "City", city))


async def store(context: Context, store: str) -> StoreRecord | None:
    return await or_none(_by_public_id(context, load_stores, "Store", store))


async def store_tags(context: Context) -> list[TagRecord]:
    return await merchants.tags(context.runtime, context.columns)


async def my_stores(context: Context) -> list[StoreRecord]:
    return await merchants.my_stores(context.runtime, context.principal, context.columns)


async def stores(
    context: Context,
    near: Point,
    radius_metres: int,
    open_now: bool,
    tag: str | None,
    search: str | None,
    first: int,
    after: str | None,
) -> Page[StoreRecord]:
    """A page of stores around ``near``, nearest first."""
    size = page_size(first)
    wanted = Discovery(near, radius_metres, open_now, key("StoreTag", tag) if tag is not None else None, search)
    found = await merchants.stores_near(context.runtime, wanted, size + 1, after, context.columns)
    cursors = {nearby.store.id: nearby.cursor for nearby in found}
    return make_page([nearby.store for nearby in found], size, lambda store: cursors[store.id], after=after)


async def _by_public_id(context: Context, load: Load[UUID, V], type_name: str, public_id: str) -> V:
    return await context.loader(load).load(key(type_name, public_id))


# fields

store_of = batched(load_stores, attrgetter("store_id"))
city_of = batched(load_cities, attrgetter("city_id"))
merchant_of = batched(load_merchants, attrgetter("merchant_id"))
table_of = batched(load_tables, attrgetter("table_id"))


async def _load_tags_of(context: Context, keys: list[tuple[UUID, ...]]) -> list[list[TagRecord]]:
    wanted = list(dict.fromkeys(chain.from_iterable(keys)))
    found = dict(zip(wanted, await context.loader(load_tags).load_many(wanted), strict=True))
    # A tag that was removed is no longer one of the store's.
    return [[tag for id in tags if isinstance(tag := found[id], TagRecord)] for tags in keys]


async def _load_tables_of(context: Context, keys: list[UUID]) -> list[list[TableRecord]]:
    found = await merchants.tables_of_stores(context.runtime, keys, context.columns)
    return [found[key] for key in keys]


tags_of = batched(_load_tags_of, attrgetter("tag_ids"))
tables_of = batched(_load_tables_of, attrgetter("id"))


def delivery_radius(root: Any) -> int:
    """Metres."""
    return cast(StoreRecord, root).delivery_radius_m


def services_of(root: Any) -> list[FulfilmentMode]:
    """What the store offers, in the order of declaration."""
    return cast(StoreRecord, root).offered


async def is_open(root: Any, info: Info) -> bool:
    """Whether the store takes orders now."""
    return pricing.is_open(root, info.context.runtime.clock.now())


async def opens_at(root: Any, info: Info) -> datetime | None:
    """When the store opens next, while its hours keep it closed."""
    return pricing.next_opening(root, info.context.runtime.clock.now())


Window = tuple[int, UUID | None]
"""How many, after which."""


async def _stores_of_cities(context: Context, keys: list[UUID], window: Window) -> dict[UUID, list[StoreRecord]]:
    return await merchants.stores_of_cities(context.runtime, keys, *window, context.columns)


async def _stores_of_merchants(context: Context, keys: list[UUID], window: Window) -> dict[UUID, list[StoreRecord]]:
    return await merchants.stores_of_merchants(context.runtime, keys, *window, context.columns)


_load_stores_of_cities = by_arguments(_stores_of_cities)
_load_stores_of_merchants = by_arguments(_stores_of_merchants)


async def stores_of_city(root: Any, info: Info, first: int, after: str | None = None) -> Page[StoreRecord]:
    """A page of a city's stores, oldest first."""
    return await _page_of(info.context, _load_stores_of_cities, root.id, first, after)


async def stores_of_merchant(root: Any, info: Info, first: int, after: str | None = None) -> Page[StoreRecord]:
    """A page of a merchant's stores, oldest first."""
    return await _page_of(info.context, _load_stores_of_merchants, root.id, first, after)


async def _page_of(
    context: Context, load: Load[tuple[UUID, Window], list[StoreRecord]], owner: UUID, first: int, after: str | None
) -> Page[StoreRecord]:
    size = page_size(first)
    rows = await context.loader(load).load((owner, (size + 1, _after(after))))
    return make_page(rows, size, _cursor, after=after)


def _cursor(store: StoreRecord) -> str:
    return store.id.hex


def _after(cursor: str | None) -> UUID | None:
    try:
        return UUID(hex=cursor) if cursor is not None else None
    except ValueError as error:
        raise InvalidInput(field="after", reason="is not a cursor of this list") from error


# actions


@action
async def register_merchant(context: Context, city: str, name: str, owner_phone: str) -> MerchantRecord:
    return await merchants.register_merchant(context.runtime, context.principal, key("City", city), name, owner_phone)


@action
async def create_store(context: Context, merchant: str, tags: Sequence[str], new: NewStore) -> StoreRecord:
    return await merchants.create_store(
        context.runtime, context.principal, key("Merchant", merchant), [key("StoreTag", tag) for tag in tags], new
    )


@action
async def set_store_status(context: Context, store: str, status: StoreStatus) -> StoreRecord:
    return await merchants.set_store_status(context.runtime, context.principal, key("Store", store), status)


def node(load: Load[UUID, Any]) -> Callable[[Context, UUID], Awaitable[object | None]]:
    """For NODES: what ``load`` reads, for everybody."""

    async def by_key(context: Context, key: UUID) -> object | None:
        return await context.loader(load).load(key)

    return by_key


NODES: Final[dict[str, Callable[[Context, UUID], Awaitable[object | None]]]] = {
    "City": node(load_cities),
    "Merchant": node(load_merchants),
    "Store": node(load_stores),
    "StoreTag": node(load_tags),
    "DiningTable": node(load_tables),
}
