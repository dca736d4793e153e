"""What discovery finds, and what it refuses."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from auth.principals import ANONYMOUS
from core.geo import Crs, Point, to_gcj02
from core.ids import encode
from models.merchants import StoreStatus
from services import catalog, merchants
from services.catalog import NewItem, NewSku
from services.errors import InvalidInput
from services.merchants import Discovery, OpeningHours
from tests.merchants.world import CENTER, World


async def test_search_covers_store_tag_and_item_names_at_once(world: World) -> None:
    sweet = await world.tag("sweet", "甜品 Dessert")
    store = await world.store(name="张记·牛肉面 ＮＯＯＤＬＥ", tags=[sweet])
    other = await world.store(name="Other")

    async def found(search: str) -> set[UUID]:
        page = await merchants.stores_near(world.runtime, Discovery(CENTER, 1000, search=search), 10)
        return {nearby.store.id for nearby in page}

    for search in ("牛", "肉面", "张记牛肉", "noodle", "NOOD", "面 noo", "甜", "dessert", "ｄｅｓ", "牛肉面 甜品"):
        assert await found(search) == {store.id}, search
    assert await found("虾") == await found("!!!") == await found("%") == await found("_") == set()
    assert await found("  ") == {store.id, other.id}

    staff = world.staff(other.id)
    category = await catalog.create_category(world.runtime, staff, other.id, "热菜")
    await catalog.create_item(world.runtime, staff, category.id, NewItem("十三香小龙虾", "", [NewSku("", 100)]))
    await catalog.create_item(world.runtime, staff, category.id, NewItem("Iced Latte", "", [NewSku("", 100)]))
    for search in ("虾", "小龙虾", "latte", "龙虾 other", "other iced"):
        assert await found(search) == {other.id}, search


async def test_open_now_and_tag_are_applied_before_paging(world: World) -> None:
    spicy, sweet = await world.tag("spicy", "川味"), await world.tag("sweet", "甜品")
    evening = [OpeningHours(1, "18:00", "02:00")]
    lunch = [OpeningHours(1, "11:00", "14:00")]
    stores = [
        await world.store(
            name=f"s{n}",
            location=Point(CENTER.latitude + n / 10_000, CENTER.longitude),
            hours=lunch if n % 3 else evening,
            tags=[spicy] if n % 2 else [spicy, sweet],
        )
        for n in range(12)
    ]
    paused = stores[4]
    await merchants.set_store_status(world.runtime, world.staff(paused.id), paused.id, StoreStatus.PAUSED)
    expected = [s.id for n, s in enumerate(stores) if n % 3 and n % 2 == 0 and s is not paused]
    wanted = Discovery(CENTER, 5000, open_now=True, tag_id=sweet)
    assert [key for key, _ in await world.walk(wanted, 2)] == expected

    world.runtime.clock.advance(timedelta(hours=13))  # type: ignore[attr-defined]  # Tuesday 01:00
    expected = [s.id for n, s in enumerate(stores) if n % 3 == 0]
    assert [key for key, _ in await world.walk(Discovery(CENTER, 5000, open_now=True), 2)] == expected


async def test_the_place_may_be_given_in_wgs84(world: World) -> None:
    raw = Point(30.2475, 120.155, Crs.WGS84)
    store = await world.store(location=raw)
    moved = to_gcj02(raw)
    assert (store.latitude, store.longitude) == (moved.latitude, moved.longitude)
    [found] = await merchants.stores_near(world.runtime, Discovery(raw, 5), 10)
    assert found.store.distance_metres == 0
    assert await merchants.stores_near(world.runtime, Discovery(Point(30.2475, 120.155), 100), 10) == []


@pytest.mark.parametrize(
    ("wanted", "after", "field"),
    [
        (Discovery(Point(91, 0), 100), None, "near"),
        (Discovery(Point(0, float("nan")), 100), None, "near"),
        (Discovery(CENTER, 0), None, "radiusMetres"),
        (Discovery(CENTER, 50_001), None, "radiusMetres"),
        (Discovery(CENTER, 100, search="x" * 81), None, "search"),
        (Discovery(CENTER, 100), "", "after"),
        (Discovery(CENTER, 100), "x", "after"),
        (Discovery(CENTER, 100), "bmFufDAw", "after"),
        (Discovery(CENTER, 100), "café", "after"),
    ],
)
async def test_bad_input_is_refused(world: World, wanted: Discovery, after: str | None, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await merchants.stores_near(world.runtime, wanted, 10, after)
    assert caught.value.field == field


async def test_strange_searches_do_no_harm(world: World) -> None:
    await world.store()
    for search in ("\0", "\ud800", "'; DROP TABLE store; --", "\\", "{}", "\u202e", "a" * 80):
        await merchants.stores_near(world.runtime, Discovery(CENTER, 100, search=search), 10)


async def test_stores_in_the_graph(world: World) -> None:
    tag = await world.tag("noodles", "面馆")
    near = await world.store(name="near", tags=[tag])
    far = await world.store(name="far", location=Point(CENTER.latitude + 0.01, CENTER.longitude))
    query = """query($after: String, $tag: ID, $search: String) {
        stores(near: {latitude: 30.25, longitude: 120.16}, first: 1, after: $after, tag: $tag, search: $search) {
            nodes { id name isOpen opensAt distanceMetres tags { name } }
            edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage endCursor } } }"""
    first = (await world.ask(query))["stores"]
    assert first["nodes"] == [
        {
            "id": encode("Store", near.id), "name": "near", "isOpen": True, "opensAt": None, "distanceMetres": 0,
            "tags": [{"name": "面馆"}],
        }
    ]  # fmt: skip
    assert first["pageInfo"]["hasNextPage"] and not first["pageInfo"]["hasPreviousPage"]
    second = (await world.ask(query, ANONYMOUS, after=first["pageInfo"]["endCursor"]))["stores"]
    assert second["nodes"][0]["id"] == encode("Store", far.id)
    assert second["nodes"][0]["distanceMetres"] == 1112
    assert second["pageInfo"] == {
        "hasNextPage": False, "hasPreviousPage": True, "endCursor": second["edges"][0]["cursor"]
    }  # fmt: skip
    assert (await world.ask(query, tag=encode("StoreTag", tag)))["stores"]["nodes"][0]["name"] == "near"
    assert (await world.ask(query, search="fa"))["stores"]["nodes"][0]["name"] == "far"
    assert (await world.ask("{ storeTags { slug } }"))["storeTags"] == [{"slug": "noodles"}]
