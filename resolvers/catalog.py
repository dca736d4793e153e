"""Menus: one statement for the whole menu of any number of stores; actions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, cast
from uuid import UUID

from resolvers.base import action, key
from resolvers.context import Context, Info
from resolvers.merchants import existing
from services import catalog
from services.catalog import (
    CategoryRecord,
    ItemRecord,
    NewItem,
    OptionGroupRecord,
    OptionRecord,
    SkuRecord,
)


async def load_menus(context: Context, keys: list[UUID]) -> list[list[CategoryRecord]]:
    """For ``context.loader``: the menus of stores. What they hold is known to the loaders by id from then on."""
    found = await catalog.menus_of_stores(context.runtime, keys)
    categories = context.loader(load_categories)
    for menu in found.values():
        categories.prime_many({category.id: category for category in menu})
    return [found[key] for key in keys]


async def load_categories(context: Context, keys: list[UUID]) -> list[CategoryRecord | None]:
    """For ``context.loader``: categories by id, with their items."""
    found = await catalog.categories_by_ids(context.runtime, keys)
    return [found.get(key) for key in keys]


async def load_items(context: Context, keys: list[UUID]) -> list[ItemRecord | None]:
    """For ``context.loader``: items by id, with their SKUs and options."""
    found = await catalog.items_by_ids(context.runtime, keys)
    return [found.get(key) for key in keys]


async def load_skus(context: Context, keys: list[UUID]) -> list[SkuRecord | None]:
    """For ``context.loader``: SKUs by id."""
    found = await catalog.skus_by_ids(context.runtime, keys)
    return [found.get(key) for key in keys]


async def load_option_groups(context: Context, keys: list[UUID]) -> list[OptionGroupRecord | None]:
    """For ``context.loader``: option groups by id, with their options."""
    found = await catalog.option_groups_by_ids(context.runtime, keys)
    return [found.get(key) for key in keys]


async def load_options(context: Context, keys: list[UUID]) -> list[OptionRecord | None]:
    """For ``context.loader``: options by id."""
    found = await catalog.options_by_ids(context.runtime, keys)
    return [found.get(key) for key in keys]


async def menu_of(root: Any, info: Info) -> list[CategoryRecord]:
    """The menu of a store."""
    return await info.context.loader(load_menus).load(cast(UUID, root.id))


async def category_of(root: Any, info: Info) -> CategoryRecord:
    """The category behind ``root.category_id``."""
    return await existing(info.context, load_categories, cast(UUID, root.category_id), "Category")


async def sku_of(root: Any, info: Info) -> SkuRecord | None:
    """The SKU behind ``root.sku_id``."""
    return await info.context.loader(load_skus).load(cast(UUID, root.sku_id))


@action
async def create_category(context: Context, store: str, name: str) -> CategoryRecord:
    return await catalog.create_category(context.runtime, context.principal, key("Store", store), name)


@action
async def create_item(context: Context, category: str, new: NewItem) -> ItemRecord:
    return await catalog.create_item(context.runtime, context.principal, key("Category", category), new)


@action
async def set_item_availability(context: Context, item: str, available: bool) -> ItemRecord:
    return await catalog.set_item_availability(context.runtime, context.principal, key("Item", item), available)


@action
async def set_stock(context: Context, sku: str, stock: int | None) -> SkuRecord:
    return await catalog.set_stock(context.runtime, context.principal, key("Sku", sku), stock)


def _node(
    load: Callable[[Context, list[UUID]], Awaitable[list[Any]]],
) -> Callable[[Context, UUID], Awaitable[object | None]]:
    async def by_key(context: Context, key: UUID) -> object | None:
        return await context.loader(load).load(key)

    return by_key


NODES: Final[dict[str, Callable[[Context, UUID], Awaitable[object | None]]]] = {
    "Category": _node(load_categories),
    "Item": _node(load_items),
    "Sku": _node(load_skus),
    "OptionGroup": _node(load_option_groups),
    "Option": _node(load_options),
}
