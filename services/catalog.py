"""What stores sell: categories of items, their variants (SKUs) and options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Final, TypeVar
from uuid import UUID

from auth.principals import Principal
from services import idempotency
from services.columns import ALL, Chosen, Columns, Shape, Wanted
from services.errors import InvalidInput, NotFound, PermissionDenied
from services.merchants.actions import refresh_search
from services.merchants.checks import PRICE_LIMIT, amount, text, within
from services.runtime import Runtime
from services.unit import Unit, transaction

R = TypeVar("R")

MAX_CATEGORIES: Final = 100
MAX_ITEMS: Final = 2000
MAX_SKUS: Final = 50
MAX_OPTION_GROUPS: Final = 20
MAX_OPTIONS: Final = 50
"""Of a store; of a store; of an item; of an item; of a group."""


@dataclass(slots=True)
class SkuRecord:
    """``stock``: units that can still be bought, None when they are not counted."""

    id: UUID
    item_id: UUID
    name: str
    price: int
    currency: str
    stock: int | None


@dataclass(slots=True)
class OptionRecord:
    id: UUID
    name: str
    price_delta: int
    currency: str


@dataclass(slots=True)
class OptionGroupRecord:
    id: UUID
    item_id: UUID
    name: str
    min_selected: int
    max_selected: int
    options: tuple[OptionRecord, ...]


@dataclass(slots=True)
class ItemRecord:
    """``is_available`` is the staff's switch."""

    id: UUID
    store_id: UUID
    category_id: UUID
    name: str
    description: str
    is_available: bool
    skus: tuple[SkuRecord, ...]
    option_groups: tuple[OptionGroupRecord, ...]

    @property
    def is_sold_out(self) -> bool:
        """Every SKU is counted and has nothing left."""
        return all(sku.stock == 0 for sku in self.skus)


@dataclass(slots=True)
class CategoryRecord:
    id: UUID
    store_id: UUID
    name: str
    items: tuple[ItemRecord, ...]


@dataclass(frozen=True, slots=True)
class NewSku:
    """``stock`` None: not counted."""

    name: str
    price: int
    stock: int | None = None


@dataclass(frozen=True, slots=True)
class NewOption:
    name: str
    price_delta: int = 0


@dataclass(frozen=True, slots=True)
class NewOptionGroup:
    name: str
    min_selected: int
    max_selected: int
    options: Sequence[NewOption]


@dataclass(frozen=True, slots=True)
class NewItem:
    name: str
    description: str
    skus: Sequence[NewSku]
    option_groups: Sequence[NewOptionGroup] = ()


_SKUS: Final = Shape(
    SkuRecord,
    "s",
    always=("id", "stock"),
    sql={"stock": "s.total - s.held - s.sold", "currency": "t.currency"},
)
_OPTIONS: Final = Shape(OptionRecord, "o", sql={"currency": "t.currency"})
_CATEGORIES: Final = Shape(CategoryRecord, "c", always=("id", "store_id"), blank={"items": ()})


def _option_groups(columns: Columns) -> Chosen[OptionGroupRecord]:
    return _groups_of(columns.of(OptionGroupRecord), columns.of(OptionRecord))


@lru_cache(maxsize=256)
def _groups_of(of_group: Wanted, of_option: Wanted) -> Chosen[OptionGroupRecord]:
    option = _OPTIONS.choose(of_option)
    options = f"SELECT ROW({option.sql}) FROM option o WHERE o.group_id = g.id ORDER BY o.position, o.id"
    shape = Shape(
        OptionGroupRecord,
        "g",
        sql={"options": f"ARRAY({options})"},
        read={"options": lambda rows: tuple(map(option.record, rows))},
    )
    return shape.choose(of_group)


def _items(columns: Columns) -> Chosen[ItemRecord]:
    """Items with their variants and options as arrays of rows, so that a whole menu is one statement."""
    return _items_of(columns.of(ItemRecord), columns.of(SkuRecord), _option_groups(columns))


@lru_cache(maxsize=256)
def _items_of(of_item: Wanted, of_sku: Wanted, group: Chosen[OptionGroupRecord]) -> Chosen[ItemRecord]:
    sku = _SKUS.choose(of_sku)
    skus = f"SELECT ROW({sku.sql}) FROM sku s WHERE s.item_id = i.id ORDER BY s.position, s.id"
    groups = f"SELECT ROW({group.sql}) FROM option_group g WHERE g.item_id = i.id ORDER BY g.position, g.id"
    shape = Shape(
        ItemRecord,
        "i",
        sql={"is_available": "i.available", "skus": f"ARRAY({skus})", "option_groups": f"ARRAY({groups})"},
        read={
            "skus": lambda rows: tuple(map(sku.record, rows)),
            "option_groups": lambda rows: tuple(map(group.record, rows)),
        },
        derived={"is_sold_out": ("skus",)},
    )
    return shape.choose(of_item)


async def menus_of_stores(
    runtime: Runtime, store_ids: Sequence[UUID], columns: Columns = ALL
) -> dict[UUID, list[CategoryRecord]]:
    """The whole menu of each store, in its order. One statement."""
    found: dict[UUID, list[CategoryRecord]] = {store_id: [] for store_id in store_ids}
    for category in await _categories(runtime, "c.store_id = ANY($1::uuid[])", store_ids, columns):
        found[category.store_id].append(category)
    return found


async def categories_by_ids(
    runtime: Runtime, ids: Sequence[UUID], columns: Columns = ALL
) -> dict[UUID, CategoryRecord]:
    """With their items. One statement."""
    return {c.id: c for c in await _categories(runtime, "c.id = ANY($1::uuid[])", ids, columns)}


async def items_by_ids(runtime: Runtime, ids: Sequence[UUID], columns: Columns = ALL) -> dict[UUID, ItemRecord]:
    """With their SKUs and options. One statement."""
    chosen = _items(columns)
    return await _by_ids(runtime, chosen, "item i JOIN store t ON t.id = i.store_id WHERE i.id", ids)


async def skus_by_ids(runtime: Runtime, ids: Sequence[UUID], columns: Columns = ALL) -> dict[UUID, SkuRecord]:
    chosen = _SKUS.choose(columns.of(SkuRecord))
    source = "sku s JOIN item i ON i.id = s.item_id JOIN store t ON t.id = i.store_id WHERE s.id"
    return await _by_ids(runtime, chosen, source, ids)


async def option_groups_by_ids(
    runtime: Runtime, ids: Sequence[UUID], columns: Columns = ALL
) -> dict[UUID, OptionGroupRecord]:
    """With their options. One statement."""
    source = "option_group g JOIN item i ON i.id = g.item_id JOIN store t ON t.id = i.store_id WHERE g.id"
    return await _by_ids(runtime, _option_groups(columns), source, ids)


async def options_by_ids(runtime: Runtime, ids: Sequence[UUID], columns: Columns = ALL) -> dict[UUID, OptionRecord]:
    chosen = _OPTIONS.choose(columns.of(OptionRecord))
    source = """option o JOIN option_group g ON g.id = o.group_id
        JOIN item i ON i.id = g.item_id JOIN store t ON t.id = i.store_id WHERE o.id"""
    return await _by_ids(runtime, chosen, source, ids)


async def _by_ids(runtime: Runtime, chosen: Chosen[R], source: str, ids: Sequence[UUID]) -> dict[UUID, R]:
    rows = await runtime.database.fetch(f"SELECT {chosen.sql} FROM {source} = ANY($1::uuid[])", list(ids))
    return {row["id"]: chosen.record(row) for row in rows}


async def create_category(runtime: Runtime, principal: Principal, store_id: UUID, name: str) -> CategoryRecord:
    """A new category at the end of the menu. Raises NotFound, PermissionDenied (clerks), InvalidInput."""
    require_managing(principal, store_id, "Store")
    name = text("name", name, 40)
    async with transaction(runtime) as unit:
        await lock_store(unit, store_id)
        row = await unit.sql.fetchrow(
            "SELECT count(*) AS count, coalesce(max(position), 0) AS last FROM category WHERE store_id = $1", store_id
        )
        assert row is not None
        if row["count"] >= MAX_CATEGORIES:
            raise InvalidInput(field="store", reason=f"has {MAX_CATEGORIES} categories already")
        category = CategoryRecord(runtime.new_id(), store_id, name, ())
        await unit.sql.execute(
            "INSERT INTO category (id, store_id, name, position) VALUES ($1, $2, $3, $4)",
            category.id,
            store_id,
            name,
            row["last"] + 1,
        )
    return category


async def create_item(runtime: Runtime, principal: Principal, category_id: UUID, new: NewItem) -> ItemRecord:
    """A new item at the end of its category, available at once, and its store findable by its name.

    Raises NotFound (no such category, or of a store the principal does not work at), PermissionDenied (clerks),
    InvalidInput.
    """
    async with transaction(runtime) as unit:
        store_id: UUID | None = await unit.sql.fetchval("SELECT store_id FROM category WHERE id = $1", category_id)
        if store_id is None:
            raise NotFound(resource="Category")
        require_managing(principal, store_id, "Category")
        new = _checked_item(new)
        currency = await lock_store(unit, store_id)
        row = await unit.sql.fetchrow(
            """SELECT count(*) AS count, coalesce(max(position) FILTER (WHERE category_id = $2), 0) AS last
               FROM item WHERE store_id = $1""",
            store_id,
            category_id,
        )
        assert row is not None
        if row["count"] >= MAX_ITEMS:
            raise InvalidInput(field="category", reason=f"the store has {MAX_ITEMS} items already")
        item = _new_item(runtime, store_id, category_id, currency, new)
        await _insert_item(unit, item, row["last"] + 1)
        await refresh_search(unit, store_id)
    return item


async def set_item_availability(runtime: Runtime, principal: Principal, item_id: UUID, available: bool) -> ItemRecord:
    """Take the item off the menu or put it back; any staff of its store may. Raises NotFound."""
    async with transaction(runtime) as unit:
        changed = await unit.sql.execute(
            "UPDATE item SET available = $2 WHERE id = $1 AND store_id = ANY($3::uuid[])",
            item_id,
            available,
            _staffed(principal),
        )
        if not changed:
            raise NotFound(resource="Item")
    return (await items_by_ids(runtime, [item_id]))[item_id]


async def set_stock(runtime: Runtime, principal: Principal, sku_id: UUID, stock: int | None, key: str) -> SkuRecord:
    """``stock`` units can be bought from now on, besides those held and sold; None: stop counting.

    Any staff of the store may. A repetition under the same ``key`` sells again nothing that was sold in between.
    Raises NotFound, InvalidInput, IdempotencyConflict.
    """
    if stock is not None:
        within("stock", stock, 0, PRICE_LIMIT)
    async with transaction(runtime) as unit:
        answer = await idempotency.recall(unit, principal, key, "setStock", [sku_id, stock])
        if answer is not None:
            return SkuRecord(**dict(answer, id=UUID(answer["id"]), item_id=UUID(answer["item_id"])))
        # One statement: orders that hold or sell units at this moment are before it or after it.
        row = await unit.sql.fetchrow(
            """UPDATE sku s SET total = s.held + s.sold + $2::bigint
               FROM item i JOIN store t ON t.id = i.store_id
               WHERE s.id = $1 AND i.id = s.item_id AND i.store_id = ANY($3::uuid[])
               RETURNING s.id, s.item_id, s.name, s.price, t.currency, s.total - s.held - s.sold AS stock""",
            sku_id,
            stock,
            _staffed(principal),
        )
        if row is None:
            raise NotFound(resource="Sku")
        sku = SkuRecord(**row)
        await idempotency.remember(unit, principal, key, asdict(sku))
    return sku


def require_managing(principal: Principal, store_id: UUID, resource: str) -> None:
    """Raises NotFound for who does not work at the store, PermissionDenied for its clerks."""
    if not principal.works_at(store_id):
        raise NotFound(resource=resource)
    if not principal.works_at(store_id, managing=True):
        raise PermissionDenied(reason="managers and owners of the store only")


def _staffed(principal: Principal) -> list[UUID]:
    return [store_id for store_id in principal.store_ids if principal.works_at(store_id)]


async def lock_store(unit: Unit, store_id: UUID) -> str:
    """One change of what a store shows at a time, so that positions and limits are right; the store's currency."""
    currency: str | None = await unit.sql.fetchval(
        "SELECT currency FROM store WHERE id = $1 FOR NO KEY UPDATE", store_id
    )
    if currency is None:
        raise NotFound(resource="Store")
    return currency


def _checked_item(new: NewItem) -> NewItem:
    within("skus", len(new.skus), 1, MAX_SKUS)
    within("optionGroups", len(new.option_groups), 0, MAX_OPTION_GROUPS)
    shortest = 1 if len(new.skus) > 1 else 0  # the only variant needs no name
    skus = [
        NewSku(
            text(f"skus.{index}.name", sku.name, 40, shortest),
            amount(f"skus.{index}.price", sku.price),
            None if sku.stock is None else within(f"skus.{index}.stock", sku.stock, 0, PRICE_LIMIT),
        )
        for index, sku in enumerate(new.skus)
    ]
    _require_different("skus", [sku.name for sku in skus])
    groups = [_checked_group(f"optionGroups.{index}", group) for index, group in enumerate(new.option_groups)]
    _require_different("optionGroups", [group.name for group in groups])
    cheapest = min(sku.price for sku in skus) + sum(_lowest_delta(group) for group in groups)
    if cheapest < 0:
        raise InvalidInput(field="optionGroups", reason="some choice of options would make the price negative")
    name, description = text("name", new.name, 80), text("description", new.description, 500, 0, multiline=True)
    return NewItem(name, description, skus, groups)


def _checked_group(field: str, group: NewOptionGroup) -> NewOptionGroup:
    within(f"{field}.options", len(group.options), 1, MAX_OPTIONS)
    within(f"{field}.maxSelected", group.max_selected, 1, len(group.options))
    within(f"{field}.minSelected", group.min_selected, 0, group.max_selected)
    options = [
        NewOption(
            text(f"{field}.options.{index}.name", option.name, 40),
            within(f"{field}.options.{index}.priceDelta", option.price_delta, 1 - PRICE_LIMIT, PRICE_LIMIT - 1),
        )
        for index, option in enumerate(group.options)
    ]
    _require_different(f"{field}.options", [option.name for option in options])
    return NewOptionGroup(text(f"{field}.name", group.name, 40), group.min_selected, group.max_selected, options)


def _lowest_delta(group: NewOptionGroup) -> int:
    """What the cheapest allowed choice in the group adds to the price."""
    deltas = sorted(option.price_delta for option in group.options)
    forced, free = deltas[: group.min_selected], deltas[group.min_selected : group.max_selected]
    return sum(forced) + sum(delta for delta in free if delta < 0)


def _require_different(field: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise InvalidInput(field=field, reason="two have the same name")


def _new_item(runtime: Runtime, store_id: UUID, category_id: UUID, currency: str, new: NewItem) -> ItemRecord:
    key = runtime.new_id()
    return ItemRecord(
        key,
        store_id,
        category_id,
        new.name,
        new.description,
        True,
        tuple(SkuRecord(runtime.new_id(), key, sku.name, sku.price, currency, sku.stock) for sku in new.skus),
        tuple(
            OptionGroupRecord(
                runtime.new_id(),
                key,
                group.name,
                group.min_selected,
                group.max_selected,
                tuple(OptionRecord(runtime.new_id(), o.name, o.price_delta, currency) for o in group.options),
            )
            for group in new.option_groups
        ),
    )


async def _insert_item(unit: Unit, item: ItemRecord, position: int) -> None:
    await unit.sql.execute(
        """INSERT INTO item (id, store_id, category_id, name, description, position, available)
           VALUES ($1, $2, $3, $4, $5, $6, true)""",
        item.id,
        item.store_id,
        item.category_id,
        item.name,
        item.description,
        position,
    )
    await unit.sql.executemany(
        """INSERT INTO sku (id, item_id, name, price, position, total, held, sold)
           VALUES ($1, $2, $3, $4, $5, $6, 0, 0)""",
        [(sku.id, item.id, sku.name, sku.price, place, sku.stock) for place, sku in enumerate(item.skus)],
    )
    await unit.sql.executemany(
        """INSERT INTO option_group (id, item_id, name, min_selected, max_selected, position)
           VALUES ($1, $2, $3, $4, $5, $6)""",
        [
            (group.id, item.id, group.name, group.min_selected, group.max_selected, place)
            for place, group in enumerate(item.option_groups)
        ],
    )
    await unit.sql.executemany(
        "INSERT INTO option (id, group_id, name, price_delta, position) VALUES ($1, $2, $3, $4, $5)",
        [
            (option.id, group.id, option.name, option.price_delta, place)
            for group in item.option_groups
            for place, option in enumerate(group.options)
        ],
    )


async def _categories(runtime: Runtime, condition: str, keys: Sequence[UUID], columns: Columns) -> list[CategoryRecord]:
    wanted = columns.of(CategoryRecord)
    head = _CATEGORIES.choose(wanted)
    if wanted is not None and "items" not in wanted:
        sql = f"SELECT {head.sql} FROM category c WHERE {condition} ORDER BY c.position, c.id"
        return list(map(head.record, await runtime.database.fetch(sql, list(keys))))
    item, split = _items(columns), len(head.names)
    rows = await runtime.database.fetch(
        f"""SELECT {head.sql}, {item.sql}
            FROM category c JOIN store t ON t.id = c.store_id LEFT JOIN item i ON i.category_id = c.id
            WHERE {condition} ORDER BY c.position, c.id, i.position, i.id""",
        list(keys),
    )
    found: list[CategoryRecord] = []
    for _, of_category in groupby(rows, itemgetter(0)):
        part = list(of_category)
        category = head.record(part[0][:split])
        category.items = tuple(item.record(row[split:]) for row in part if row[split] is not None)
        found.append(category)
    return found
