"""Menus: one statement for the whole menu of any number of stores; actions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Final
from uuid import UUID

from resolvers.base import action, key
from resolvers.context import Context, batched
from resolvers.merchants import by_id, node
from services import catalog
from services.catalog import CategoryRecord, ItemRecord, NewItem, SkuRecord


async def load_menus(context: Context, keys: list[UUID]) -> list[list[CategoryRecord]]:
    """For ``context.loader``: the menus of stores. What they hold is known to the loaders by id from then on."""
    found = await catalog.menus_of_stores(context.runtime, keys, context.columns)
    categories = context.loader(load_categories)
    for menu in found.values():
        categories.prime({category.id: category for category in menu})
    return [found[key] for key in keys]


load_categories = by_id(catalog.categories_by_ids, "Category")
load_items = by_id(catalog.items_by_ids, "Item")
load_option_groups = by_id(catalog.option_groups_by_ids, "OptionGroup")
load_options = by_id(catalog.options_by_ids, "Option")


async def load_skus(context: Context, keys: list[UUID]) -> list[SkuRecord | None]:
    """For ``context.loader``: SKUs by id, None for one that was removed."""
    found = await catalog.skus_by_ids(context.runtime, keys, context.columns)
    return [found.get(key) for key in keys]


menu_of = batched(load_menus, attrgetter("id"))
category_of = batched(load_categories, attrgetter("category_id"))
sku_of = batched(load_skus, attrgetter("sku_id"))


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
async def set_stock(context: Context, sku: str, stock: int | None, idempotency_key: str) -> SkuRecord:
    return await catalog.set_stock(context.runtime, context.principal, key("Sku", sku), stock, idempotency_key)


NODES: Final[dict[str, Callable[[Context, UUID], Awaitable[object | None]]]] = {
    "Category": node(load_categories),
    "Item": node(load_items),
    "Sku": node(load_skus),
    "OptionGroup": node(load_option_groups),
    "Option": node(load_options),
}
