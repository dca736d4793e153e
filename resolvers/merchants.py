"""Cities, merchants, stores: reads batched per operation, discovery pages, actions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from core.geo import Point
from models.merchants import StoreStatus
from models.ordering import FulfilmentMode
from resolvers.base import Page, action, key, make_page, or_none, page_size
from resolvers.context import Context, Info
from services import merchants, pricing
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

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


async def load_stores(context: Context, keys: list[UUID]) -> list[StoreRecord | None]:
    """For ``context.loader``: stores by id."""
    found = await merchants.stores_by_ids(context.runtime, keys)
    return [found.get(key) for key in keys]


async def load_cities(context: Context, keys: list[UUID]) -> list[CityRecord | None]:
    """For ``context.loader``: cities by id."""
    found = await merchants.cities_by_ids(context.runtime, keys)
    return [found.get(key) for key in keys]


async def load_merchants(context: Context, keys: list[UUID]) -> list[MerchantRecord | None]:
    """For ``context.loader``: merchants by id."""
    found = await merchants.merchants_by_ids(context.runtime, keys)
    return [found.get(key) for key in keys]


async def load_tags(context: Context, keys: list[UUID]) -> list[TagRecord | None]:
    """For ``context.loader``: tags by id."""
    found = await merchants.tags_by_ids(context.runtime, keys)
    return [found.get(key) for key in keys]


async def load_tables(context: Context, keys: list[UUID]) -> list[TableRecord | None]:
    """For ``context.loader``: dining tables by id."""
    found = await merchants.tables_by_ids(context.runtime, keys)
    return [found.get(key) for key in keys]


async def load_tables_of(context: Context, keys: list[UUID]) -> list[list[TableRecord]]:
    """For ``context.loader``: the dining tables of stores."""
    found = await merchants.tables_of_stores(context.runtime, keys)
    return [found[key] for key in keys]


async def existing(
    context: Context, load: Callable[[Context, list[K]], Awaitable[list[V | None]]], key: K, resource: str
) -> V:
    """What the loader ``load`` has under ``key``. Raises NotFound."""
    value = await context.loader(load).load(key)
    if value is None:
        raise NotFound(resource=resource)
    return value


# root fields


async def cities(context: Context) -> list[CityRecord]:
    return await merchants.cities(context.runtime)


async def city(context: Context, city: str) -> CityRecord | None:
    return await or_none(_by_public_id(context, load_cities, "City", city))


async def store(context: Context, store: str) -> StoreRecord | None:
    return await or_none(_by_public_id(context, load_stores, "Store", store))


async def store_tags(context: Context) -> list[TagRecord]:
    return await merchants.tags(context.runtime)


async def my_stores(context: Context) -> list[StoreRecord]:
    return await merchants.my_stores(context.runtime, context.principal)


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
    found = await merchants.stores_near(context.runtime, wanted, size + 1, after)
    cursors = {nearby.store.id: nearby.cursor for nearby in found}
    return make_page([nearby.store for nearby in found], size, lambda store: cursors[store.id], after=after)


async def _by_public_id(
    context: Context, load: Callable[[Context, list[UUID]], Awaitable[list[V | None]]], type_name: str, public_id: str
) -> V:
    return await existing(context, load, key(type_name, public_id), type_name)


# fields


async def store_of(root: Any, info: Info) -> StoreRecord:
    """The store behind ``root.store_id``."""
    return await existing(info.context, load_stores, cast(UUID, root.store_id), "Store")


async def city_of(root: Any, info: Info) -> CityRecord:
    """The city behind ``root.city_id``."""
    return await existing(info.context, load_cities, cast(UUID, root.city_id), "City")


async def merchant_of(root: Any, info: Info) -> MerchantRecord:
    """The merchant behind ``root.merchant_id``."""
    return await existing(info.context, load_merchants, cast(UUID, root.merchant_id), "Merchant")


async def tags_of(root: Any, info: Info) -> list[TagRecord]:
    """The tags of a store, in its order."""
    found = await info.context.loader(load_tags).load_many(cast(Sequence[UUID], root.tag_ids))
    return [tag for tag in found if tag is not None]


async def tables_of(root: Any, info: Info) -> list[TableRecord]:
    """The dining tables of a store, by code."""
    return await info.context.loader(load_tables_of).load(cast(UUID, root.id))


async def table_of(root: Any, info: Info) -> TableRecord | None:
    """The dining table behind ``root.table_id``, None when that is None."""
    table_id = cast(UUID | None, root.table_id)
    return None if table_id is None else await info.context.loader(load_tables).load(table_id)


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


async def stores_of_city(root: Any, info: Info, first: int, after: str | None = None) -> Page[StoreRecord]:
    """A page of a city's stores, oldest first."""
    size = page_size(first)
    rows = await merchants.stores_of_city(info.context.runtime, root.id, size + 1, _after(after))
    return make_page(rows, size, _cursor, after=after)


async def stores_of_merchant(root: Any, info: Info, first: int, after: str | None = None) -> Page[StoreRecord]:
    """A page of a merchant's stores, oldest first."""
    size = page_size(first)
    rows = await merchants.stores_of_merchant(info.context.runtime, root.id, size + 1, _after(after))
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


def _node(
    load: Callable[[Context, list[UUID]], Awaitable[list[Any]]],
) -> Callable[[Context, UUID], Awaitable[object | None]]:
    async def by_key(context: Context, key: UUID) -> object | None:
        return await context.loader(load).load(key)

    return by_key


NODES: Final[dict[str, Callable[[Context, UUID], Awaitable[object | None]]]] = {
    "City": _node(load_cities),
    "Merchant": _node(load_merchants),
    "Store": _node(load_stores),
    "StoreTag": _node(load_tags),
    "DiningTable": _node(load_tables),
}
