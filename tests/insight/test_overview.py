"""The city overview on prepared rows: every figure, the local day, other cities, who may look."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auth.principals import ANONYMOUS
from core.clock import ManualClock
from core.ids import uuid7
from core.money import Money
from models.ordering import OrderState
from services import insight, merchants, pricing, queueing
from services.errors import NotFound
from services.pages import statement
from services.runtime import Runtime
from tests.queueing.world import NOON_TO_TEN, admin_of, consumer, open_city, open_shop, staff_of, take
from tests.support import NOON, make_runtime

MIDNIGHT = NOON - timedelta(hours=12)


@pytest.fixture
async def runtime(module_database_url: str) -> AsyncIterator[Runtime]:
    async with make_runtime(module_database_url) as runtime:
        yield runtime


async def insert(runtime: Runtime, table: str, row: dict[str, Any]) -> None:
    names = ", ".join(row)
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await runtime.database.execute(f'INSERT INTO "{table}" ({names}) VALUES ({places})', *row.values())


async def add_order(
    runtime: Runtime,
    city_id: UUID,
    state: str,
    placed_at: datetime = NOON,
    *,
    total: int = 1000,
    took: timedelta | None = None,
    mode: str = "DELIVERY",
    refunded: int = 0,
) -> UUID:
    order_id = uuid7()
    await insert(runtime, "order", {
        "id": order_id, "number": "1", "state": state, "mode": mode, "version": 1, "city_id": city_id,
        "store_id": uuid7(), "consumer_id": uuid7(), "quote_id": uuid7(), "note": "", "currency": "CNY",
        "subtotal": total, "delivery_fee": 0, "total": total, "refunded": refunded, "placed_at": placed_at,
        "pay_by": placed_at + timedelta(minutes=15), "paid_at": None if state in ("PLACED", "EXPIRED") else placed_at,
        "delivered_at": None if took is None else placed_at + took,
    })  # fmt: skip
    return order_id


async def add_rider(
    runtime: Runtime, city_id: UUID, *, online: bool = True, busy: bool = False, located: bool = True
) -> UUID:
    rider_id = uuid7()
    await insert(runtime, "rider", {
        "id": rider_id, "person_id": uuid7(), "city_id": city_id, "name": "R", "phone": "+8613800138000",
        "online": online, "active_delivery_id": uuid7() if busy else None,
        "latitude": 31.2 if located else None, "longitude": 121.4 if located else None,
        "located_at": NOON if located else None, "created_at": NOON,
    })  # fmt: skip
    return rider_id


async def add_delivery(runtime: Runtime, city_id: UUID, state: str) -> None:
    order_id = await add_order(runtime, city_id, "PAID", NOON - timedelta(days=3))
    await insert(runtime, "delivery", {
        "id": uuid7(), "order_id": order_id, "city_id": city_id, "store_id": uuid7(), "state": state,
        "declined_by": "[]", "pickup_latitude": 31.2, "pickup_longitude": 121.4, "dropoff_latitude": 31.3,
        "dropoff_longitude": 121.4, "distance_m": 10_000, "currency": "CNY", "fee": 500, "created_at": NOON,
    })  # fmt: skip


async def look(runtime: Runtime, city_id: UUID) -> insight.CityOverview:
    return await insight.overview(runtime, admin_of(city_id), city_id)


async def test_an_empty_city(runtime: Runtime) -> None:
    city_id = await open_city(runtime)
    assert await look(runtime, city_id) == insight.CityOverview(
        city_id=city_id,
        at=NOON,
        orders_by_state=[insight.OrderStateCount(state, 0) for state in OrderState],
        orders_today=0,
        active_orders=0,
        riders_online=0,
        riders_busy=0,
        deliveries_waiting=0,
        stores_open=0,
        queue_waiting=0,
        gross_today=Money(0, "CNY"),
        click_to_door_mean_seconds=None,
        click_to_door_p90_seconds=None,
        rider_connections=0,
    )


async def test_orders_of_the_local_day(runtime: Runtime) -> None:
    city_id, other = await open_city(runtime), await open_city(runtime)
    for state in OrderState:
        await add_order(runtime, city_id, state, MIDNIGHT, total=100, refunded=0)
    await add_order(runtime, city_id, "DELIVERED", NOON, total=7, refunded=7)
    await add_order(runtime, city_id, "PREPARING", MIDNIGHT - timedelta(microseconds=1), total=100_000)
    await add_order(runtime, city_id, "COMPLETED", MIDNIGHT - timedelta(hours=1), total=100_000)
    await add_order(runtime, other, "PAID", NOON, total=100_000)
    seen = await look(runtime, city_id)
    assert {c.state: c.count for c in seen.orders_by_state} == {s: 2 if s == "DELIVERED" else 1 for s in OrderState}
    assert seen.orders_today == sum(c.count for c in seen.orders_by_state) == 12
    assert seen.active_orders == 6  # PAID, ACCEPTED, PREPARING (today and yesterday), READY, PICKED_UP
    assert seen.gross_today == Money(7 * 100 + 7, "CNY")


async def test_the_day_is_the_citys_own(runtime: Runtime) -> None:
    shanghai, berlin = await open_city(runtime), await open_city(runtime, "Europe/Berlin")
    for city_id in (shanghai, berlin):
        for hours in range(12):
            await add_order(runtime, city_id, "PAID", NOON - timedelta(hours=hours, minutes=30))
    assert (await look(runtime, shanghai)).orders_today == 12
    assert (await look(runtime, berlin)).orders_today == 5  # 05:00 in Berlin


async def test_click_to_door_of_todays_deliveries(runtime: Runtime) -> None:
    city_id = await open_city(runtime)
    for minutes in (20, 30, 40, 50, 60):
        await add_order(runtime, city_id, "DELIVERED", NOON - timedelta(hours=2), took=timedelta(minutes=minutes))
    await add_order(runtime, city_id, "COMPLETED", MIDNIGHT - timedelta(hours=5), took=timedelta(hours=9))
    await add_order(runtime, city_id, "DELIVERED", NOON, took=timedelta(hours=9), mode="PICKUP")
    await add_order(runtime, city_id, "PICKED_UP", NOON)
    seen = await look(runtime, city_id)
    assert (seen.click_to_door_mean_seconds, seen.click_to_door_p90_seconds) == (40 * 60, 56 * 60)


@settings(max_examples=20)
@given(st.lists(st.integers(60, 7200), min_size=1, max_size=12))
async def test_click_to_door_matches_the_definition(runtime: Runtime, took: list[int]) -> None:
    city_id = await open_city(runtime)
    for seconds in took:
        await add_order(runtime, city_id, "DELIVERED", NOON - timedelta(hours=3), took=timedelta(seconds=seconds))
    seen = await look(runtime, city_id)
    rank = 0.9 * (len(took) - 1)
    ordered = [*sorted(took), 0]
    p90 = ordered[int(rank)] + (rank % 1) * (ordered[int(rank) + 1] - ordered[int(rank)])
    assert seen.click_to_door_mean_seconds == pytest.approx(sum(took) / len(took), abs=0.51)
    assert seen.click_to_door_p90_seconds == pytest.approx(p90, abs=0.51)


async def test_riders_and_deliveries(runtime: Runtime) -> None:
    city_id = await open_city(runtime)
    free, busy = await add_rider(runtime, city_id), await add_rider(runtime, city_id, busy=True)
    await add_rider(runtime, city_id, online=False, busy=True)
    await add_rider(runtime, city_id, located=False)
    await add_rider(runtime, await open_city(runtime))
    for state in ("SEARCHING", "OFFERED", "ASSIGNED", "AT_STORE", "PICKED_UP", "DELIVERED", "CANCELLED"):
        await add_delivery(runtime, city_id, state)
    seen = await look(runtime, city_id)
    assert (seen.riders_online, seen.riders_busy, seen.deliveries_waiting) == (3, 1, 2)
    admin = admin_of(city_id)
    assert {r.id for r in await insight.riders(runtime, admin, city_id)} == {free, busy}
    live = await insight.deliveries(runtime, admin, city_id)
    assert sorted(d.state for d in live) == ["ASSIGNED", "AT_STORE", "OFFERED", "PICKED_UP", "SEARCHING"]


async def test_stores_open_agrees_with_the_rule_for_one_store(runtime: Runtime) -> None:
    city_id = await open_city(runtime)
    overnight = [{"weekday": d, "opens": "18:00", "closes": "02:00"} for d in range(1, 8)]
    for hours, status in (
        (NOON_TO_TEN, "OPEN"), (NOON_TO_TEN, "PAUSED"), (overnight, "OPEN"), (overnight, "CLOSED"), ([], "OPEN"),
    ):  # fmt: skip
        await open_shop(runtime, city_id=city_id, hours=cast(Any, hours), status=status)
    clock = cast(ManualClock, runtime.clock)
    stores = (await merchants.stores_of_cities(runtime, [city_id], 100))[city_id]
    assert {s.id for s in await insight.stores(runtime, admin_of(city_id), city_id)} == {s.id for s in stores}
    counts: list[int] = []
    for _ in range(48):
        seen = await look(runtime, city_id)
        assert seen.stores_open == sum(pricing.is_open(s, clock.at) for s in stores)
        counts.append(seen.stores_open)
        clock.advance(timedelta(minutes=30))
    assert set(counts) == {0, 1, 2}


async def test_queue_waiting_counts_todays_lines(runtime: Runtime) -> None:
    city_id = await open_city(runtime)
    shops = [await open_shop(runtime, city_id=city_id) for _ in range(2)]
    for shop in (*shops, await open_shop(runtime)):
        for _ in range(3):
            await take(runtime, shop.clerk, shop)
    await queueing.call_next(runtime, shops[0].clerk, shops[0].id, shops[0].classes["A"], str(uuid7()))
    assert (await look(runtime, city_id)).queue_waiting == 5
    cast(ManualClock, runtime.clock).advance(timedelta(days=1))
    assert (await look(runtime, city_id)).queue_waiting == 0


async def test_only_admins_of_the_city_look(runtime: Runtime) -> None:
    city_id = await open_city(runtime)
    shop = await open_shop(runtime, city_id=city_id)
    for stranger in (ANONYMOUS, consumer(), staff_of(shop.id), admin_of(await open_city(runtime))):
        for service in (insight.overview, insight.stores, insight.riders, insight.deliveries):
            with pytest.raises(NotFound):
                await service(runtime, stranger, city_id)
    nowhere = uuid7()
    with pytest.raises(NotFound):
        await insight.overview(runtime, admin_of(nowhere), nowhere)


async def test_the_overview_reads_orders_through_indexes(runtime: Runtime) -> None:
    city_id = await open_city(runtime)
    async with runtime.database.transaction() as connection:
        await connection.execute("SET LOCAL enable_seqscan = off")
        sent = statement("uuid", insight._OVERVIEW, "k.place")
        plan = await connection.fetch("EXPLAIN " + sent, [city_id], NOON)
    text = "\n".join(row[0] for row in plan)
    for index in ("order_by_day", "order_open_by_city", "delivery_open", "rider_online"):
        assert index in text, text
