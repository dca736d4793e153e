"""Among thousands of stores: right ones, right order, stable pages, by index."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.geo import Point, distance_m
from services import merchants
from services.merchants import Discovery, discovery
from tests.merchants.world import CENTER, World, make_world
from tests.support import NOON, make_runtime

LETTERS = "川味面馆牛肉火锅小龙虾烧烤奶茶咖啡寿司拉粥饭汤包子馒头饺炒菜"


@pytest.fixture(scope="module")
async def city(module_database_url: str) -> AsyncIterator[World]:
    """Five thousand stores within some 30 km."""
    rng = random.Random(7)
    async with make_runtime(module_database_url) as runtime:
        world = await make_world(runtime)
        names = ["".join(rng.choices(LETTERS, k=4)) + f" Shop{n}" for n in range(5000)]
        points = [
            Point(CENTER.latitude + rng.uniform(-0.3, 0.3), CENTER.longitude + rng.uniform(-0.3, 0.3)) for _ in names
        ]
        points[100:120] = [points[100]] * 20  # a shopping centre: same place, order by id
        await world.many_stores(names, points)
        await runtime.database.execute("VACUUM ANALYZE store")  # also empties the GIN index's list of pending rows
        yield world


async def test_pages_hold_every_store_of_the_circle_once_nearest_first(city: World) -> None:
    rows = await city.runtime.database.fetch("SELECT id, latitude, longitude FROM store")
    crowded = next(r for r in rows if sum(r["latitude"] == s["latitude"] for s in rows) == 20)
    for near, radius in (
        (CENTER, 3000),
        (Point(CENTER.latitude - 0.2, CENTER.longitude + 0.25), 5000),
        (Point(crowded["latitude"], crowded["longitude"]), 1),
    ):
        distances = {r["id"]: distance_m(near, Point(r["latitude"], r["longitude"])) for r in rows}
        expected = {key: d for key, d in distances.items() if d <= radius}
        found = await city.walk(Discovery(near, radius), 7)
        assert len(found) == len(expected) > 15
        assert {key for key, _ in found} == set(expected)
        for key, distance in found:
            assert distance == pytest.approx(expected[key], abs=0.01)
        assert [d for _, d in found] == sorted(d for _, d in found)
        if radius == 1:
            assert [key for key, _ in found] == sorted(expected)


async def test_a_new_store_moves_no_store_to_another_page(city: World) -> None:
    wanted = Discovery(Point(CENTER.latitude + 0.1, CENTER.longitude), 6000)
    before = await city.walk(wanted, 100)
    first = await merchants.stores_near(city.runtime, wanted, 10)
    [added] = await city.many_stores(["新店"], [wanted.near])
    second = await merchants.stores_near(city.runtime, wanted, 100, first[-1].cursor)
    assert [nearby.store.id for nearby in second] == [key for key, _ in before[10:110]]
    assert (await merchants.stores_near(city.runtime, wanted, 1))[0].store.id == added
    await city.runtime.database.execute("DELETE FROM store WHERE id = $1", added)


async def explain(world: World, wanted: Discovery, after: tuple[float, UUID] | None = None) -> list[dict[str, Any]]:
    """The nodes of the plan, outermost first."""
    sql, args = discovery.statement(wanted, NOON, 21, after)
    [plan] = orjson.loads(await world.runtime.database.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *args))
    nodes, waiting = [], [plan["Plan"]]
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        waiting += node.get("Plans", [])
    return nodes


async def test_a_page_reads_the_place_index_in_order_and_stops_early(city: World) -> None:
    page = await merchants.stores_near(city.runtime, Discovery(CENTER, 50_000), 21)
    position = (page[-1].chord, page[-1].store.id)
    for wanted, after in (
        (Discovery(CENTER, 5000), None),
        (Discovery(CENTER, 50_000), None),
        (Discovery(CENTER, 50_000), position),
        (Discovery(CENTER, 50_000, open_now=True), None),
    ):
        nodes = await explain(city, wanted, after)
        [scan] = [node for node in nodes if node.get("Relation Name") == "store"]
        assert scan["Node Type"] == "Index Scan"
        assert scan["Index Name"] == "store_earth"
        assert "Order By" in scan or "Index Cond" in scan
        assert scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0) < 250


async def test_rare_words_read_the_search_index_and_common_ones_the_place_index(city: World) -> None:
    def read(nodes: list[dict[str, Any]]) -> dict[str, float]:
        """Index → rows it gave."""
        return {
            n["Index Name"]: n["Actual Rows"] * n["Actual Loops"]
            for n in nodes
            if n.get("Actual Loops") and "Index Name" in n
        }

    rare = read(await explain(city, Discovery(CENTER, 50_000, search="Shop4321")))
    assert rare["store_search"] < 10
    assert "store_earth" not in rare
    common = read(await explain(city, Discovery(CENTER, 50_000, search="shop")))
    assert common["store_earth"] < 100


async def test_both_ways_of_searching_find_the_same(city: World) -> None:
    rows = await city.runtime.database.fetch("SELECT id, name, latitude, longitude FROM store")
    near, radius = Point(CENTER.latitude + 0.05, CENTER.longitude), 15_000
    for search, rare in (("面", False), ("shop1", False), ("面 shop1", True), ("shop99", True), ("馆牛", True)):
        hits = [r for r in rows if all(term in r["name"].casefold() for term in search.split())]
        assert (len(hits) <= discovery.RARE) is rare
        expected = {r["id"] for r in hits if distance_m(near, Point(r["latitude"], r["longitude"])) <= radius}
        found = await city.walk(Discovery(near, radius, search=search), 40)
        assert len(found) == len(expected) > 0
        assert {key for key, _ in found} == expected
        assert [d for _, d in found] == sorted(d for _, d in found)


async def test_any_piece_of_a_name_finds_the_store(city: World) -> None:
    rows = await city.runtime.database.fetch("SELECT id, name, latitude, longitude FROM store ORDER BY name, id")
    cases: list[tuple[int, bool, int, int]] = []

    @settings(max_examples=40, database=None)
    @given(st.tuples(st.integers(0, 4999), st.booleans(), st.integers(0, 3), st.integers(2, 6)))
    def collect(case: tuple[int, bool, int, int]) -> None:
        cases.append(case)

    collect()
    for number, ideographs, start, length in cases:
        row = rows[number]
        han, latin = row["name"].split(" ")
        piece = han[start : start + length - 1] if ideographs else latin[start : start + length]
        near = Point(row["latitude"], row["longitude"])
        found = await merchants.stores_near(city.runtime, Discovery(near, 1, search=piece), 100)
        assert row["id"] in {nearby.store.id for nearby in found}, (row["name"], piece)
        wide = await merchants.stores_near(city.runtime, Discovery(near, 50_000, search=piece), 100)
        assert all(piece.casefold() in nearby.store.name.casefold() for nearby in wide)
