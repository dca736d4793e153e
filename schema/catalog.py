"""Menus in the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import strawberry

from resolvers import catalog as resolvers
from resolvers import files, merchants
from resolvers.context import ID, Info
from schema import enums as _enums  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schema.base import (
    A,
    C,
    Int64,
    M,
    Money,
    Node,
    P,
    R,
    computed,
    exposes,
    money_field,
    mutation,
    node_id,
    result,
    shared,
    sized,
)  # fmt: skip
from services import catalog, errors

if TYPE_CHECKING:
    from schema.files import Picture
    from schema.merchants import Store

VIEWS = frozenset({C, M, R, A, P})


@exposes(catalog.SkuRecord, views=VIEWS, shared=True)
@strawberry.type(description="A variant of an item; what is bought.")
class Sku(Node):
    id: strawberry.ID = node_id("Sku")
    name: str = strawberry.field(description="May be empty for the only variant.")
    price: Money = money_field("price")
    stock: int | None = strawberry.field(description="Units that can still be bought; null when not counted.")


@exposes(catalog.OptionRecord, views=VIEWS, shared=True)
@strawberry.type
class Option(Node):
    id: strawberry.ID = node_id("Option")
    name: str
    price_delta: Money = money_field("price_delta", description="Added to the price; may be negative.")


@exposes(catalog.OptionGroupRecord, views=VIEWS, shared=True)
@strawberry.type(description="Between `minSelected` and `maxSelected` of the options are chosen.")
class OptionGroup(Node):
    id: strawberry.ID = node_id("OptionGroup")
    name: str
    min_selected: int
    max_selected: int
    options: list[Option] = sized(5)


@exposes(catalog.ItemRecord, views=VIEWS, shared=True)
@strawberry.type
class Item(Node):
    id: strawberry.ID = node_id("Item")
    name: str
    description: str
    store: Annotated[Store, strawberry.lazy("schema.merchants")] = shared(
        computed(merchants.store_of, needs=("store_id",))
    )
    category: Annotated[Category, strawberry.lazy("schema.catalog")] = shared(
        computed(resolvers.category_of, needs=("category_id",))
    )
    picture: Annotated[Picture, strawberry.lazy("schema.files")] | None = shared(
        computed(files.picture_of_item, needs=("id",))
    )
    is_available: bool = strawberry.field(description="The staff's switch.")
    is_sold_out: bool = strawberry.field(description="Nothing is left of any variant.")
    skus: list[Sku] = sized(3)
    option_groups: list[OptionGroup] = sized(2)


@exposes(catalog.CategoryRecord, views=VIEWS, shared=True)
@strawberry.type(description="A part of a store's menu.")
class Category(Node):
    id: strawberry.ID = node_id("Category")
    name: str
    items: list[Item] = sized(20)


@strawberry.input
class SkuInput:
    name: str
    price: Int64
    stock: int | None = None


@strawberry.input
class OptionInput:
    name: str
    price_delta: Int64


@strawberry.input
class OptionGroupInput:
    name: str
    min_selected: int
    max_selected: int
    options: list[OptionInput]


@strawberry.input
class CreateItemInput:
    category: ID
    name: str
    skus: list[SkuInput]
    description: str = ""
    option_groups: list[OptionGroupInput] = strawberry.field(default_factory=list[OptionGroupInput])

    def to_item(self) -> catalog.NewItem:
        return catalog.NewItem(
            self.name,
            self.description,
            [catalog.NewSku(sku.name, sku.price, sku.stock) for sku in self.skus],
            [
                catalog.NewOptionGroup(
                    group.name,
                    group.min_selected,
                    group.max_selected,
                    [catalog.NewOption(option.name, option.price_delta) for option in group.options],
                )
                for group in self.option_groups
            ],
        )


class CatalogMutation:
    @mutation(result("CreateCategoryResult", Category), M)
    async def create_category(self, info: Info, store: ID, name: str) -> object:
        """Add a category at the end of a store's menu."""
        return await resolvers.create_category(info.context, store, name)

    @mutation(result("CreateItemResult", Item), M)
    async def create_item(self, info: Info, input: CreateItemInput) -> object:
        """Add an item at the end of a category."""
        return await resolvers.create_item(info.context, input.category, input.to_item())

    @mutation(result("SetItemAvailabilityResult", Item), M)
    async def set_item_availability(self, info: Info, item: ID, available: bool) -> object:
        """Take an item off the menu for the moment, or put it back."""
        return await resolvers.set_item_availability(info.context, item, available)

    @mutation(result("SetStockResult", Sku, errors.IdempotencyConflict), M)
    async def set_stock(self, info: Info, sku: ID, idempotency_key: str, stock: int | None = None) -> object:
        """Say how many units can still be bought from now on; null stops counting."""
        return await resolvers.set_stock(info.context, sku, stock, idempotency_key)
