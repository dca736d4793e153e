"""The numbers that people call at the counter: one for each paid order of a store's business day."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson

from models.ordering import FulfilmentMode
from services import retention
from services.ordering import actions, reading
from services.ordering.records import OrderRecord, order_from_json, order_to_json
from tests.ordering.world import City, build


async def number_of(city: City, order: OrderRecord) -> int | None:
    return (await reading.get(city.runtime, city.consumer, order.id)).pickup_number


async def days(city: City) -> list[tuple[UUID, int]]:
    rows = await city.runtime.database.fetch(
        "SELECT store_id, paid_orders FROM store_day WHERE store_id = $1 ORDER BY business_date", city.store_id
    )
    return [tuple(row) for row in rows]


async def test_payments_at_once_get_each_its_own_and_none_is_left_out(city: City) -> None:
    orders = [await city.place(mode=FulfilmentMode.PICKUP) for _ in range(12)]
    assert [order.pickup_number for order in orders] == [None] * 12
    await asyncio.gather(*(city.pay(order) for order in orders))
    assert sorted([await number_of(city, order) or 0 for order in orders]) == list(range(1, 13))


async def test_it_stays_and_only_the_first_notification_takes_one(city: City) -> None:
    first, second = await city.place(), await city.place()
    trade = await city.pay(first)
    await asyncio.gather(*(city.notify_paid(trade) for _ in range(5)))
    await actions.accept(city.runtime, city.clerk, first.id, 10)
    await city.pay(second)
    assert [await number_of(city, order) for order in (first, second)] == [1, 2]


async def test_who_does_not_pay_or_pays_too_late_has_none(city: City) -> None:
    forgotten, late = await city.place(), await city.place()
    await actions.cancel(city.runtime, city.consumer, late.id, "changed my mind", "key")
    await city.run_jobs("order_payment_deadline")
    paid = await city.place()
    await city.pay(paid)
    assert [await number_of(city, order) for order in (forgotten, late, paid)] == [None, None, 1]


async def test_each_store_and_each_business_day_counts_for_itself(city: City) -> None:
    other = await build(city.runtime, city.provider)
    one, two = await city.place(), await other.place()
    await city.pay(one)
    await other.pay(two)
    assert (await number_of(city, one), await number_of(other, two)) == (1, 1)
    # The day is the store's, from four in the morning; this is the minute before.
    local = city.clock.now() + timedelta(hours=8)
    four = datetime(local.year, local.month, local.day, 4, tzinfo=UTC) + timedelta(days=1)
    city.clock.advance(four - local - timedelta(minutes=1))
    before = await city.place()
    await city.pay(before)
    city.later(minutes=2)
    after = await city.place()
    await city.pay(after)
    assert (await number_of(city, before), await number_of(city, after)) == (2, 1)
    assert await days(city) == [(city.store_id, 2), (city.store_id, 1)]


async def test_the_counters_of_days_that_are_over_go(city: City) -> None:
    await city.pay(await city.place())
    assert (await retention.forget(city.runtime))["store_day"] == 0
    city.later(days=5)
    assert (await retention.forget(city.runtime))["store_day"] == 1


async def test_events_from_before_there_were_numbers_are_read(city: City) -> None:
    stored = orjson.loads(orjson.dumps(order_to_json(await city.place()), default=str))
    del stored["pickup_number"]
    assert order_from_json(stored).pickup_number is None
