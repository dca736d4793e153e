"""Merchants and stores: who may do what, and what is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from auth.principals import ANONYMOUS, Held, Principal, PrincipalKind, View
from core.geo import Crs, Point, to_gcj02
from core.ids import encode, uuid7
from core.phones import normalise
from models.identity import GrantRole
from models.merchants import StoreStatus
from models.ordering import FulfilmentMode
from services import merchants
from services.errors import InvalidInput, NotFound
from services.merchants import NewTable, OpeningHours
from subscriptions import feeds
from tests.merchants.world import CENTER, World, new_store

HOURS = [OpeningHours(1, "09:00", "12:00")]
DINE_IN = [FulfilmentMode.DINE_IN]


def test_phones_have_one_spelling() -> None:
    for phone in ("13800138000", "+86 138 0013 8000", "0086-138-0013-8000", "１３８００１３８０００"):
        assert normalise(phone) == "+8613800138000"
    assert normalise("0571-87654321") == "+8657187654321"
    assert normalise("+1 415 555 2671") == "+14155552671"
    for phone in ("", "12", "hello", "138001380001", "1" * 300, "+999123456789", "13800138000 ext. 5"):
        assert normalise(phone) is None


async def test_a_merchant_is_registered_with_its_owner(world: World) -> None:
    before = await world.counts()
    first = await merchants.register_merchant(world.runtime, world.admin, world.city_id, " 王记 ", "139 0013 9000")
    second = await merchants.register_merchant(world.runtime, world.admin, world.city_id, "李记", "+8613900139000")
    assert first.name == "王记"
    assert first.owner_id == second.owner_id
    after = await world.counts()
    assert (after["person"], after["merchant"]) == (before["person"] + 1, before["merchant"] + 2)


async def test_owners_registered_at_the_same_time_are_one_person(world: World) -> None:
    registered = await asyncio.gather(
        *(
            merchants.register_merchant(world.runtime, world.admin, world.city_id, f"m{n}", "13900139001")
            for n in range(8)
        )
    )
    assert len({merchant.owner_id for merchant in registered}) == 1


async def test_registering_is_for_the_citys_admins(world: World) -> None:
    before = await world.counts()
    elsewhere = Principal(PrincipalKind.ADMIN, View.ADMIN, uuid7(), grants=(Held(GrantRole.CITY_ADMIN, None, uuid7()),))
    for principal in (elsewhere, world.owner, ANONYMOUS):
        with pytest.raises(NotFound):
            await merchants.register_merchant(world.runtime, principal, world.city_id, "m", "13900139000")
    for name, phone, field in (
        ("", "13900139000", "name"),
        ("m" * 81, "13900139000", "name"),
        ("m", "1", "ownerPhone"),
    ):
        with pytest.raises(InvalidInput) as caught:
            await merchants.register_merchant(world.runtime, world.admin, world.city_id, name, phone)
        assert caught.value.field == field
    assert await world.counts() == before


async def test_a_store_is_created_whole(world: World) -> None:
    tag = await world.tag("noodles", "面馆")
    corner = Point(30.25, 120.15, Crs.WGS84)
    tables = [NewTable("A1", 2), NewTable("A2", 1), NewTable("B1", 4), NewTable("C1", 12)]
    store = await world.store(
        name=" 老王面馆 ", tags=[tag], tables=tables, services=[FulfilmentMode.DELIVERY, FulfilmentMode.DINE_IN],
        hours=[OpeningHours(2, "09:00", "24:00"), OpeningHours(1, "18:00", "02:00")],
        delivery_area=[corner, Point(30.26, 120.15), Point(30.26, 120.17)],
    )  # fmt: skip
    assert await merchants.get_store(world.runtime, store.id) == store
    assert store.name == "老王面馆"
    assert (store.status, store.timezone, store.currency) == (StoreStatus.OPEN, "Asia/Shanghai", "CNY")
    assert store.phone == "+8613800138000"
    assert [entry.weekday for entry in store.hours] == [1, 2]
    assert store.delivery_area is not None
    assert store.delivery_area[0] == to_gcj02(corner)
    database = world.runtime.database
    grants = await database.fetch('SELECT person_id, role FROM "grant" WHERE store_id = $1', store.id)
    assert [tuple(row) for row in grants] == [(world.merchant.owner_id, "STORE_OWNER")]
    classes = await database.fetch(
        """SELECT code, min_party, max_party, table_count, turn_minutes FROM queue_class
           WHERE store_id = $1 ORDER BY code""",
        store.id,
    )
    assert [tuple(row) for row in classes] == [("A", 1, 2, 2, 45), ("B", 3, 4, 1, 60), ("C", 5, 12, 1, 75)]
    found = await merchants.tables_of_stores(world.runtime, [store.id])
    assert [(table.code, table.seats) for table in found[store.id]] == [("A1", 2), ("A2", 1), ("B1", 4), ("C1", 12)]
    published = world.runtime.signals.published  # type: ignore[attr-defined]
    assert feeds.CITY.of(world.city_id) in [signal.feed for signal in published]


async def test_queue_classes_come_with_tables_to_dine_at_only(world: World) -> None:
    await world.store(services=DINE_IN)
    await world.store(tables=[NewTable("A1", 2)])
    assert (await world.counts())["queue_class"] == 0
    await world.store(services=DINE_IN, tables=[NewTable("A1", 2)])
    classes = await world.runtime.database.fetch("SELECT max_party, table_count FROM queue_class ORDER BY code")
    assert [tuple(row) for row in classes] == [(2, 1)]  # nobody takes a number for a table that is not there


BAD_STORES: list[tuple[str, dict[str, Any]]] = [
    ("name", {"name": ""}),
    ("name", {"name": " \u3000 "}),
    ("name", {"name": "面" * 81}),
    ("name", {"name": "a\0b"}),
    ("name", {"name": "a\nb"}),
    ("name", {"name": "a\ud800"}),
    ("address", {"address": ""}),
    ("address", {"address": "a" * 201}),
    ("phone", {"phone": "12"}),
    ("location", {"location": Point(90.1, 0)}),
    ("location", {"location": Point(0, float("inf"))}),
    ("location", {"location": Point(float("nan"), 0, Crs.WGS84)}),
    ("hours.0.weekday", {"hours": [OpeningHours(0, "09:00", "10:00")]}),
    ("hours.1.opens", {"hours": [*HOURS, OpeningHours(1, "25:00", "10:00")]}),
    ("hours", {"hours": [*HOURS, OpeningHours(1, "11:59", "13:00")]}),
    (
        "hours",
        {"hours": [OpeningHours(1 + n // 30, f"{n % 30 % 24:02d}:00", f"{n % 30 % 24:02d}:30") for n in range(71)]},
    ),
    ("deliveryRadiusMetres", {"delivery_radius_m": 99}),
    ("deliveryRadiusMetres", {"delivery_radius_m": 50_001}),
    ("deliveryArea", {"delivery_area": []}),
    ("deliveryArea", {"delivery_area": [CENTER, CENTER]}),
    ("deliveryArea", {"delivery_area": [CENTER] * 201}),
    ("deliveryArea.2", {"delivery_area": [CENTER, CENTER, Point(0, 181)]}),
    ("minimumOrder", {"minimum_order": -1}),
    ("minimumOrder", {"minimum_order": 10**9}),
    ("deliveryFee", {"delivery_fee": -1}),
    ("deliveryFee", {"delivery_fee": 10**9}),
    ("prepMinutes", {"prep_minutes": 0}),
    ("prepMinutes", {"prep_minutes": 241}),
    ("services", {"services": []}),
    ("tables.1.code", {"tables": [NewTable("A1", 2), NewTable(" A1 ", 4)]}),
    ("tables.0.code", {"tables": [NewTable("", 2)]}),
    ("tables.0.code", {"tables": [NewTable("A" * 17, 2)]}),
    ("tables.0.seats", {"tables": [NewTable("A1", 0)]}),
    ("tables.0.seats", {"tables": [NewTable("A1", 51)]}),
    ("tables", {"tables": [NewTable(f"T{n}", 2) for n in range(201)]}),
]


async def test_a_bad_store_is_refused_and_nothing_is_written(world: World) -> None:
    before = await world.counts()
    for field, changes in BAD_STORES:
        with pytest.raises(InvalidInput) as caught:
            await world.store(**changes)
        assert caught.value.field == field, changes
    assert await world.counts() == before


async def test_the_extremes_are_accepted(world: World) -> None:
    await world.store(
        name="面" * 80, address="a" * 200, delivery_radius_m=100, minimum_order=0, delivery_fee=10**9 - 1,
        prep_minutes=240, tables=[NewTable(f"T{n}", 50) for n in range(200)], services=list(FulfilmentMode) * 2,
        hours=[OpeningHours(day, "00:00", "24:00") for day in range(7, 0, -1)],
    )  # fmt: skip
    assert (await world.counts())["queue_class"] == 3


async def test_unknown_tags_and_merchants_are_not_found(world: World) -> None:
    before = await world.counts()
    with pytest.raises(NotFound) as caught:
        await world.store(tags=[uuid7()])
    assert caught.value.resource == "StoreTag"
    with pytest.raises(NotFound) as caught:
        await merchants.create_store(world.runtime, world.owner, uuid7(), [], new_store())
    assert caught.value.resource == "Merchant"
    tag = await world.tag("t", "t")
    with pytest.raises(InvalidInput):
        await world.store(tags=[tag, tag])
    assert await world.counts() == before


async def test_stores_are_created_by_owner_and_city_admin_only(world: World) -> None:
    store = await merchants.create_store(world.runtime, world.admin, world.merchant.id, [], new_store())
    grants = await world.runtime.database.fetch('SELECT person_id FROM "grant" WHERE store_id = $1', store.id)
    assert [row["person_id"] for row in grants] == [world.merchant.owner_id]
    before = await world.counts()
    strangers = [
        ANONYMOUS,
        Principal(
            PrincipalKind.MERCHANT, View.MERCHANT, uuid7(), grants=(Held(GrantRole.STORE_OWNER, store.id, None),)
        ),
        Principal(PrincipalKind.CONSUMER, View.CONSUMER, world.merchant.owner_id),
        Principal(PrincipalKind.ADMIN, View.ADMIN, uuid7(), grants=(Held(GrantRole.CITY_ADMIN, None, uuid7()),)),
    ]
    for principal in strangers:
        with pytest.raises(NotFound):
            await merchants.create_store(world.runtime, principal, world.merchant.id, [], new_store())
    assert await world.counts() == before


async def test_staff_set_the_status_and_others_do_not(world: World) -> None:
    store, other = await world.store(), await world.store()
    clerk = world.staff(store.id, GrantRole.STORE_CLERK)
    for status in (StoreStatus.PAUSED, StoreStatus.CLOSED, StoreStatus.OPEN):
        assert (await merchants.set_store_status(world.runtime, clerk, store.id, status)).status is status
    for principal in (clerk, world.owner, world.admin, replace(world.staff(other.id), view=View.CONSUMER)):
        with pytest.raises(NotFound):
            await merchants.set_store_status(world.runtime, principal, other.id, StoreStatus.CLOSED)
    with pytest.raises(NotFound):
        gone = uuid7()
        await merchants.set_store_status(world.runtime, world.staff(gone), gone, StoreStatus.CLOSED)
    assert (await merchants.get_store(world.runtime, other.id)).status is StoreStatus.OPEN


async def test_my_stores_are_those_of_my_grants(world: World) -> None:
    mine, _other = await world.store(), await world.store()
    data = await world.ask("{ myStores { id } }", world.staff(mine.id, GrantRole.STORE_CLERK))
    assert data["myStores"] == [{"id": encode("Store", mine.id)}]


async def test_reads_in_the_graph(world: World) -> None:
    stores = [await world.store(name=f"s{n}") for n in range(3)]
    data = await world.ask(
        """query($city: ID!, $store: ID!) { cities { id } city(id: $city) { slug center { latitude crs } currency }
            store(id: $store) { name services hours { weekday opens closes } minimumOrder { amount currency }
                deliveryArea { latitude } distanceMetres merchant { name } }
            missing: store(id: "sto_00000000000000000000000000") { id } malformed: store(id: "x") { id }
            node(id: $store) { __typename id } }""",
        city=encode("City", world.city_id),
        store=encode("Store", stores[0].id),
    )
    assert data["cities"] == [{"id": encode("City", world.city_id)}]
    assert data["city"]["center"] == {"latitude": 30.25, "crs": "GCJ02"}
    assert data["store"]["minimumOrder"] == {"amount": 2000, "currency": "CNY"}
    assert data["store"]["services"] == ["DELIVERY"]
    assert (
        data["store"]["deliveryArea"] is data["store"]["distanceMetres"] is data["missing"] is data["malformed"] is None
    )
    assert len(data["store"]["hours"]) == 7
    assert data["node"] == {"__typename": "Store", "id": encode("Store", stores[0].id)}

    query = """query($merchant: ID!, $after: String) { node(id: $merchant) { ... on Merchant {
        stores(first: 2, after: $after) { nodes { name } pageInfo { endCursor hasNextPage } } } } }"""
    merchant = encode("Merchant", world.merchant.id)
    first = (await world.ask(query, merchant=merchant))["node"]["stores"]
    second = (await world.ask(query, merchant=merchant, after=first["pageInfo"]["endCursor"]))["node"]["stores"]
    assert [store["name"] for store in first["nodes"] + second["nodes"]] == ["s0", "s1", "s2"]
    assert first["pageInfo"]["hasNextPage"] and not second["pageInfo"]["hasNextPage"]

    query = """query($city: ID!) { city(id: $city) { stores(first: 10) { nodes { name } } } }"""
    listed = await world.ask(query, world.admin, city=encode("City", world.city_id))
    assert [store["name"] for store in listed["city"]["stores"]["nodes"]] == ["s0", "s1", "s2"]


async def test_actions_in_the_graph(world: World) -> None:
    data = await world.ask(
        """mutation($city: ID!) { registerMerchant(input: {city: $city, name: "李记", ownerPhone: "13900139005"}) {
            __typename ... on Merchant { id name } ... on UserError { code message } } }""",
        world.admin,
        city=encode("City", world.city_id),
    )
    assert data["registerMerchant"]["name"] == "李记"
    create = """mutation($merchant: ID!, $name: String!) { createStore(input: {merchant: $merchant, name: $name,
            address: "a", phone: "13800138000", location: {latitude: 30.25, longitude: 120.16, crs: WGS84},
            hours: [{weekday: 1, opens: "09:00", closes: "24:00"}], deliveryRadiusMetres: 3000,
            deliveryArea: [{latitude: 30, longitude: 120}, {latitude: 31, longitude: 120},
                {latitude: 31, longitude: 121}],
            minimumOrder: 0, deliveryFee: "500", prepMinutes: 10, tags: [], services: [DINE_IN, DELIVERY],
            tables: [{code: "A1", seats: 4}]}) {
        __typename ... on Store { id name status deliveryArea { latitude } services deliveryFee { amount }
            tables { code seats } } ... on InvalidInput { code field } ... on NotFound { resource } } }"""
    merchant = encode("Merchant", world.merchant.id)
    created = (await world.ask(create, world.owner, merchant=merchant, name="面馆"))["createStore"]
    assert created["__typename"] == "Store"
    assert created["tables"] == [{"code": "A1", "seats": 4}]
    assert created["services"] == ["DELIVERY", "DINE_IN"]
    assert created["deliveryFee"] == {"amount": 500}
    assert len(created["deliveryArea"]) == 3
    refused = (await world.ask(create, world.owner, merchant=merchant, name=""))["createStore"]
    assert refused == {"__typename": "InvalidInput", "code": "INVALID_INPUT", "field": "name"}
    refused = (await world.ask(create, ANONYMOUS, merchant=merchant, name="x"))["createStore"]
    assert refused == {"__typename": "NotFound", "resource": "Merchant"}
