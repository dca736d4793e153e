"""Prices of lines, and the delivery area."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.geo import Crs, Point, distance_m
from core.ids import uuid7
from services import catalog, pricing
from services.catalog import ItemRecord, NewItem, NewOption, NewOptionGroup, NewSku
from services.errors import InsufficientStock, InvalidInput, ItemUnavailable, NotFound, OutOfDeliveryArea
from services.merchants import StoreRecord
from services.pricing import RequestedLine, quote_lines
from services.unit import transaction
from tests.merchants.test_hours import STORE
from tests.merchants.world import World

NOODLES = NewItem(
    "牛肉面",
    "",
    [NewSku("小", 1800, 3), NewSku("大", 2200)],
    [
        NewOptionGroup("辣度", 1, 1, [NewOption("不辣"), NewOption("特辣", 100)]),
        NewOptionGroup("加料", 0, 2, [NewOption("煎蛋", 300), NewOption("香菜"), NewOption("少面", -200)]),
    ],
)


class Menu:
    def __init__(self, world: World, store: StoreRecord, noodles: ItemRecord, tea: ItemRecord) -> None:
        self.world, self.store, self.noodles, self.tea = world, store, noodles, tea
        self.small, self.large = (sku.id for sku in noodles.skus)
        self.mild, self.hot = (option.id for option in noodles.option_groups[0].options)
        self.egg, self.herb, self.less = (option.id for option in noodles.option_groups[1].options)

    async def quote(self, *lines: RequestedLine) -> list[pricing.PricedLine]:
        return await quote_lines(self.world.runtime, self.store, lines)


@pytest.fixture
async def menu(world: World) -> Menu:
    store = await world.store()
    staff = world.staff(store.id)
    category = await catalog.create_category(world.runtime, staff, store.id, "热菜")
    noodles = await catalog.create_item(world.runtime, staff, category.id, NOODLES)
    tea = await catalog.create_item(world.runtime, staff, category.id, NewItem("茶", "", [NewSku("", 500)]))
    return Menu(world, store, noodles, tea)


def line(sku_id: UUID, quantity: int = 1, *options: UUID) -> RequestedLine:
    return RequestedLine(sku_id, quantity, options)


async def test_lines_are_priced_with_their_options_by_one_statement(menu: Menu) -> None:
    async with menu.world.statements() as statements:
        noodles, plain, tea = await menu.quote(
            line(menu.large, 2, menu.less, menu.egg, menu.hot),
            line(menu.small, 1, menu.mild),
            line(menu.tea.skus[0].id, 99),
        )
    assert len(statements) == 1
    assert noodles == pricing.PricedLine(
        menu.large, menu.noodles.id, "牛肉面", "大", ["特辣", "煎蛋", "少面"], 2, 2400, 4800
    )
    assert (plain.unit_price, plain.options) == (1800, ["不辣"])
    assert (tea.sku_name, tea.unit_price, tea.total, tea.options) == ("", 500, 49_500, [])
    async with transaction(menu.world.runtime) as unit:
        assert await quote_lines(unit, menu.store, [line(menu.tea.skus[0].id)]) == [replace(tea, quantity=1, total=500)]


async def test_bad_lines_are_refused(menu: Menu) -> None:
    tea = menu.tea.skus[0].id
    cases: list[tuple[str, list[RequestedLine]]] = [
        ("lines", []),
        ("lines", [line(tea)] * 51),
        ("lines.0.quantity", [line(tea, 0)]),
        ("lines.1.quantity", [line(menu.large, 1, menu.hot), line(tea, 100)]),
        ("lines.0.options", [line(menu.large)]),
        ("lines.0.options", [line(menu.large, 1, menu.hot, menu.mild)]),
        ("lines.0.options", [line(menu.large, 1, menu.hot, menu.hot)]),
        ("lines.0.options", [line(menu.large, 1, menu.hot, menu.egg, menu.herb, menu.less)]),
        ("lines.0.options", [line(tea, 1, menu.egg)]),
        ("lines.0.options", [line(menu.large, 1, menu.hot, uuid7())]),
        ("lines.1", [line(menu.large, 1, menu.hot, menu.egg), line(menu.large, 2, menu.egg, menu.hot)]),
    ]
    for field, lines in cases:
        with pytest.raises(InvalidInput) as caught:
            await menu.quote(*lines)
        assert caught.value.field == field, lines


async def test_other_stores_skus_are_not_found(menu: Menu) -> None:
    other = await menu.world.store()
    for store, sku in ((other, menu.tea.skus[0].id), (menu.store, uuid7())):
        with pytest.raises(NotFound):
            await quote_lines(menu.world.runtime, store, [line(sku)])


async def test_unavailable_items_and_missing_stock_are_told_with_their_facts(menu: Menu) -> None:
    wanted = [line(menu.small, 2, menu.hot), line(menu.small, 2, menu.mild)]
    with pytest.raises(InsufficientStock) as caught:
        await menu.quote(*wanted)
    assert (caught.value.sku, caught.value.available, caught.value.requested) == (menu.small, 3, 4)
    assert caught.value.name == "牛肉面 小"
    staff = menu.world.staff(menu.store.id)
    await catalog.set_stock(menu.world.runtime, staff, menu.small, None, "uncount")
    assert len(await menu.quote(*wanted)) == 2
    await catalog.set_item_availability(menu.world.runtime, staff, menu.noodles.id, False)
    with pytest.raises(ItemUnavailable) as unavailable:
        await menu.quote(*wanted)
    assert (unavailable.value.item, unavailable.value.name) == (menu.noodles.id, "牛肉面")


def test_delivery_within_the_radius() -> None:
    store = replace(STORE, latitude=30.25, longitude=120.16, delivery_radius_m=1000)
    near, far = Point(30.258, 120.16), Point(30.26, 120.16)
    assert pricing.delivery_check(store, near) == round(distance_m(store.location, near)) == 890
    with pytest.raises(OutOfDeliveryArea) as caught:
        pricing.delivery_check(store, far)
    assert caught.value.distance_metres == 1112
    bad: Any
    for bad in (Point(91, 0), Point(float("nan"), 0), Point(0, float("-inf"), Crs.WGS84)):
        with pytest.raises(InvalidInput):
            pricing.delivery_check(store, bad)


def test_a_polygon_replaces_the_radius() -> None:
    area = (Point(30.2, 120.1), Point(30.2, 120.3), Point(30.3, 120.3), Point(30.3, 120.1))
    store = replace(STORE, latitude=30.25, longitude=120.16, delivery_radius_m=100, delivery_area=area)
    assert pricing.delivery_check(store, Point(30.29, 120.29)) > 10_000
    with pytest.raises(OutOfDeliveryArea):
        pricing.delivery_check(store, Point(30.25, 120.099))


@given(st.floats(-0.03, 0.03), st.floats(-0.03, 0.03))
def test_wgs84_addresses_are_converted_before_measuring(dlat: float, dlng: float) -> None:
    from core.geo import to_gcj02

    store = replace(STORE, latitude=30.25, longitude=120.16, delivery_radius_m=50_000)
    raw = Point(30.25 + dlat, 120.16 + dlng, Crs.WGS84)
    assert pricing.delivery_check(store, raw) == pricing.delivery_check(store, to_gcj02(raw))
