"""Menus: who may change them, what is refused, and how cheaply they are read."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auth.principals import ANONYMOUS
from core.ids import encode, uuid7
from models.identity import GrantRole
from services import catalog, inventory, merchants
from services.catalog import CategoryRecord, NewItem, NewOption, NewOptionGroup, NewSku
from services.errors import InvalidInput, NotFound, PermissionDenied
from services.merchants import StoreRecord
from services.pricing import RequestedLine, quote_lines
from services.unit import transaction
from tests.merchants.world import World

TEA = NewItem("茶", "", [NewSku("", 500)])


class Shop:
    def __init__(self, world: World, store: StoreRecord, category: CategoryRecord) -> None:
        self.world, self.store, self.category = world, store, category
        self.owner = world.staff(store.id)
        self.manager = world.staff(store.id, GrantRole.STORE_MANAGER)
        self.clerk = world.staff(store.id, GrantRole.STORE_CLERK)


async def open_shop(world: World) -> Shop:
    store = await world.store()
    category = await catalog.create_category(world.runtime, world.staff(store.id), store.id, "饮料")
    return Shop(world, store, category)


@pytest.fixture
async def shop(world: World) -> Shop:
    return await open_shop(world)


def groups(*options: NewOption, low: int = 0, high: int = 1) -> list[NewOptionGroup]:
    return [NewOptionGroup("g", low, high, options)]


async def test_a_menu_is_read_as_it_was_made(shop: Shop) -> None:
    runtime = shop.world.runtime
    new = NewItem(
        " 奶茶 ", "第一行\n第二行", [NewSku("中杯", 1200, 5), NewSku("大杯", 1500)],
        [NewOptionGroup("糖", 1, 1, [NewOption("全糖"), NewOption("半糖", -100)])],
    )  # fmt: skip
    milk_tea = await catalog.create_item(runtime, shop.manager, shop.category.id, new)
    tea = await catalog.create_item(runtime, shop.owner, shop.category.id, TEA)
    empty = await catalog.create_category(runtime, shop.owner, shop.store.id, "甜品")
    other = await shop.world.store()
    menus = await catalog.menus_of_stores(runtime, [other.id, shop.store.id])
    assert menus == {
        other.id: [],
        shop.store.id: [replace(shop.category, items=(milk_tea, tea)), empty],
    }
    assert (milk_tea.name, milk_tea.description, milk_tea.is_available) == ("奶茶", "第一行\n第二行", True)
    assert [(sku.name, sku.price, sku.stock, sku.currency) for sku in milk_tea.skus] == [
        ("中杯", 1200, 5, "CNY"), ("大杯", 1500, None, "CNY"),
    ]  # fmt: skip
    assert [(o.name, o.price_delta) for o in milk_tea.option_groups[0].options] == [("全糖", 0), ("半糖", -100)]


async def test_an_item_is_sold_out_when_nothing_of_any_sku_is_left(shop: Shop) -> None:
    runtime = shop.world.runtime
    new = NewItem("面", "", [NewSku("小", 1, 2), NewSku("大", 1, 0)])
    item = await catalog.create_item(runtime, shop.owner, shop.category.id, new)
    assert not item.is_sold_out
    async with transaction(runtime) as unit:
        await inventory.hold(unit, {item.skus[0].id: 2})
    item = (await catalog.items_by_ids(runtime, [item.id]))[item.id]
    assert item.is_sold_out
    assert [sku.stock for sku in item.skus] == [0, 0]
    await catalog.set_stock(runtime, shop.owner, item.skus[1].id, None, "uncount")
    assert not (await catalog.items_by_ids(runtime, [item.id]))[item.id].is_sold_out


async def test_managers_change_the_menu_and_clerks_availability_only(shop: Shop) -> None:
    runtime = shop.world.runtime
    item = await catalog.create_item(runtime, shop.manager, shop.category.id, TEA)
    before = await shop.world.counts()
    with pytest.raises(PermissionDenied):
        await catalog.create_category(runtime, shop.clerk, shop.store.id, "x")
    with pytest.raises(PermissionDenied):
        await catalog.create_item(runtime, shop.clerk, shop.category.id, TEA)
    for principal in (ANONYMOUS, shop.world.owner, shop.world.admin, shop.world.staff(uuid7())):
        with pytest.raises(NotFound):
            await catalog.create_category(runtime, principal, shop.store.id, "x")
        with pytest.raises(NotFound):
            await catalog.create_item(runtime, principal, shop.category.id, TEA)
        with pytest.raises(NotFound):
            await catalog.set_item_availability(runtime, principal, item.id, False)
    with pytest.raises(NotFound):
        await catalog.create_item(runtime, shop.owner, uuid7(), TEA)
    assert await shop.world.counts() == before
    assert (await catalog.items_by_ids(runtime, [item.id]))[item.id].is_available
    assert not (await catalog.set_item_availability(runtime, shop.clerk, item.id, False)).is_available
    assert (await catalog.set_item_availability(runtime, shop.clerk, item.id, True)).is_available


BAD_ITEMS: list[tuple[str, dict[str, Any]]] = [
    ("name", {"name": ""}),
    ("name", {"name": "a" * 81}),
    ("name", {"name": "a\u202eb"}),
    ("description", {"description": "a" * 501}),
    ("description", {"description": "a\0"}),
    ("skus", {"skus": []}),
    ("skus", {"skus": [NewSku(f"v{n}", 1) for n in range(51)]}),
    ("skus", {"skus": [NewSku("a", 1), NewSku(" a", 2)]}),
    ("skus.1.name", {"skus": [NewSku("a", 1), NewSku("", 2)]}),
    ("skus.0.name", {"skus": [NewSku("a" * 41, 1)]}),
    ("skus.0.price", {"skus": [NewSku("a", -1)]}),
    ("skus.0.price", {"skus": [NewSku("a", 10**9)]}),
    ("skus.0.stock", {"skus": [NewSku("a", 1, -1)]}),
    ("optionGroups", {"option_groups": [NewOptionGroup(f"g{n}", 0, 1, [NewOption("o")]) for n in range(21)]}),
    ("optionGroups", {"option_groups": groups(NewOption("o")) * 2}),
    ("optionGroups.0.name", {"option_groups": [NewOptionGroup("", 0, 1, [NewOption("o")])]}),
    ("optionGroups.0.options", {"option_groups": groups()}),
    ("optionGroups.0.options", {"option_groups": groups(NewOption("o"), NewOption("o"))}),
    ("optionGroups.0.options.0.name", {"option_groups": groups(NewOption(""))}),
    ("optionGroups.0.options.0.priceDelta", {"option_groups": groups(NewOption("o", 10**9))}),
    ("optionGroups.0.minSelected", {"option_groups": groups(NewOption("o"), low=-1)}),
    ("optionGroups.0.minSelected", {"option_groups": groups(NewOption("o"), NewOption("p"), low=2, high=1)}),
    ("optionGroups.0.maxSelected", {"option_groups": groups(NewOption("o"), high=2)}),
    ("optionGroups", {"option_groups": groups(NewOption("o", -501))}),
    ("optionGroups", {"option_groups": groups(NewOption("o", -300), NewOption("p", -201), high=2)}),
]


async def test_a_bad_item_is_refused_and_nothing_is_written(shop: Shop) -> None:
    before = await shop.world.counts()
    for field, changes in BAD_ITEMS:
        with pytest.raises(InvalidInput) as caught:
            await catalog.create_item(shop.world.runtime, shop.owner, shop.category.id, replace(TEA, **changes))
        assert caught.value.field == field, changes
    assert await shop.world.counts() == before


async def test_a_bad_category_is_refused(shop: Shop) -> None:
    for name in ("", " ", "a" * 41, "a\tb"):
        with pytest.raises(InvalidInput):
            await catalog.create_category(shop.world.runtime, shop.owner, shop.store.id, name)
    for n in range(99):
        await catalog.create_category(shop.world.runtime, shop.owner, shop.store.id, f"c{n}")
    with pytest.raises(InvalidInput):
        await catalog.create_category(shop.world.runtime, shop.owner, shop.store.id, "one too many")


OPTIONS = st.lists(st.integers(-40, 20), min_size=1, max_size=4)
GROUPS = st.lists(
    OPTIONS.flatmap(
        lambda deltas: st.integers(1, len(deltas)).flatmap(
            lambda high: st.tuples(st.just(deltas), st.integers(0, high), st.just(high))
        )
    ),
    max_size=3,
)


async def test_an_accepted_item_has_no_choice_with_a_negative_price(shop: Shop) -> None:
    cases: list[tuple[int, list[tuple[list[int], int, int]]]] = []

    @settings(max_examples=60, database=None)
    @given(st.integers(0, 60), GROUPS)
    def collect(price: int, drawn: list[tuple[list[int], int, int]]) -> None:
        cases.append((price, drawn))

    collect()
    runtime = shop.world.runtime
    for price, drawn in cases:
        cheapest = price
        for deltas, low, high in drawn:  # by brute force over how many of the cheapest are chosen
            cheapest += min(sum(sorted(deltas)[:count]) for count in range(low, high + 1))
        new = NewItem("x", "", [NewSku("", price)], [
            NewOptionGroup(f"g{n}", low, high, [NewOption(f"o{i}", d) for i, d in enumerate(deltas)])
            for n, (deltas, low, high) in enumerate(drawn)
        ])  # fmt: skip
        if cheapest < 0:
            with pytest.raises(InvalidInput):
                await catalog.create_item(runtime, shop.owner, shop.category.id, new)
            continue
        item = await catalog.create_item(runtime, shop.owner, shop.category.id, new)
        chosen = []
        for group, (_, low, high) in zip(item.option_groups, drawn, strict=True):
            by_price = sorted(group.options, key=lambda o: o.price_delta)
            best = min(range(low, high + 1), key=lambda n, o=by_price: sum(x.price_delta for x in o[:n]))
            chosen += [option.id for option in by_price[:best]]
        [line] = await quote_lines(runtime, shop.store, [RequestedLine(item.skus[0].id, 1, tuple(chosen))])
        assert line.unit_price == cheapest >= 0


async def test_items_added_at_the_same_time_all_stay_findable_and_in_one_order(shop: Shop) -> None:
    runtime = shop.world.runtime
    names = [f"dish{n}" for n in range(12)]
    await asyncio.gather(
        *(catalog.create_item(runtime, shop.owner, shop.category.id, replace(TEA, name=name)) for name in names)
    )
    text = await runtime.database.fetchval("SELECT search_text FROM store WHERE id = $1", shop.store.id)
    assert set(names) <= set(text.split("\n"))
    positions = await runtime.database.fetch("SELECT position FROM item ORDER BY position")
    assert [row["position"] for row in positions] == list(range(1, 13))


PAGE = """query($id: ID!) { store(id: $id) { name merchant { name } city { name } tags { name } tables { code } isOpen
    menu { id name items { id name isSoldOut category { id name } store { id name city { slug } }
        skus { id name price { amount currency } stock }
        optionGroups { id name minSelected maxSelected options { id name priceDelta { amount } } } } } } }"""


async def test_a_store_page_with_its_menu_is_a_constant_number_of_statements(shop: Shop) -> None:
    runtime = shop.world.runtime
    new = NewItem(
        "菜", "", [NewSku("小", 100), NewSku("大", 200)],
        [NewOptionGroup("g", 0, 1, [NewOption("a"), NewOption("b", 50)])],
    )  # fmt: skip

    async def count() -> int:
        async with shop.world.statements() as statements:
            page = await shop.world.ask(PAGE, id=encode("Store", shop.store.id))
        assert [item["store"]["name"] for item in page["store"]["menu"][0]["items"]] == ["Noodle 面馆"] * items
        return len(statements)

    items = 1
    await catalog.create_item(runtime, shop.owner, shop.category.id, new)
    small = await count()
    for number in range(3):
        category = await catalog.create_category(runtime, shop.owner, shop.store.id, f"c{number}")
        for _ in range(4):
            await catalog.create_item(runtime, shop.owner, category.id, new)
    assert await count() == small <= 6


async def test_nodes_and_actions_in_the_graph(shop: Shop) -> None:
    ask = shop.world.ask
    created = await ask(
        """mutation($store: ID!) { createCategory(store: $store, name: "面") { ... on Category { id name items { id } }
            ... on UserError { code } } }""",
        shop.owner,
        store=encode("Store", shop.store.id),
    )
    category = created["createCategory"]
    assert category["items"] == []
    data = await ask(
        """mutation($category: ID!) { createItem(input: {category: $category, name: "牛肉面", description: "d",
            skus: [{name: "大", price: "2200", stock: 3}],
            optionGroups: [{name: "辣度", minSelected: 0, maxSelected: 1, options: [{name: "特辣", priceDelta: 100}]}]
            }) {
            __typename ... on UserError { code message }
            ... on Item { id isAvailable skus { id stock price { amount } } category { id }
                optionGroups { id options { id } } } } }""",
        shop.owner,
        category=category["id"],
    )
    item = data["createItem"]
    assert item["category"] == {"id": category["id"]}
    assert item["skus"][0]["stock"] == 3
    group = item["optionGroups"][0]
    for key, kind in (
        (category["id"], "Category"), (item["id"], "Item"), (item["skus"][0]["id"], "Sku"),
        (group["id"], "OptionGroup"), (group["options"][0]["id"], "Option"),
    ):  # fmt: skip
        node = await ask("query($id: ID!) { node(id: $id) { __typename id } }", id=key)
        assert node["node"] == {"__typename": kind, "id": key}
    data = await ask(
        """mutation($item: ID!, $sku: ID!) {
            off: setItemAvailability(item: $item, available: false) { ... on Item { isAvailable } }
            some: setStock(sku: $sku, stock: 8, idempotencyKey: "some") { ... on Sku { stock } }
            bad: setStock(sku: $sku, stock: -8, idempotencyKey: "bad") { ... on InvalidInput { field } }
            free: setStock(sku: $sku, idempotencyKey: "free") { ... on Sku { stock } }
            wrong: setStock(sku: $item, stock: 1, idempotencyKey: "wrong") { ... on NotFound { resource } } }""",
        shop.clerk,
        item=item["id"],
        sku=item["skus"][0]["id"],
    )
    assert data == {
        "off": {"isAvailable": False}, "some": {"stock": 8}, "bad": {"field": "stock"}, "free": {"stock": None},
        "wrong": {"resource": "Sku"},
    }  # fmt: skip


async def test_batches_read_what_single_reads_do(shop: Shop) -> None:
    runtime = shop.world.runtime
    item = await catalog.create_item(
        runtime, shop.owner, shop.category.id, replace(TEA, option_groups=groups(NewOption("o")))
    )
    sku, group = item.skus[0], item.option_groups[0]
    missing = uuid7()
    assert await catalog.items_by_ids(runtime, [item.id, missing]) == {item.id: item}
    assert await catalog.skus_by_ids(runtime, [missing, sku.id]) == {sku.id: sku}
    assert await catalog.option_groups_by_ids(runtime, [group.id]) == {group.id: group}
    assert await catalog.options_by_ids(runtime, [group.options[0].id]) == {group.options[0].id: group.options[0]}
    assert (await catalog.categories_by_ids(runtime, [shop.category.id]))[shop.category.id].items == (item,)
    assert await merchants.stores_by_ids(runtime, [missing]) == {}
