"""Generated days: the same from the same seed, and shaped like a city's day."""

from __future__ import annotations

import math
import statistics

import pytest

from core.geo import Point, distance_m
from replay.command import load
from replay.generator import DINNER, LUNCH, OPEN, PREP_LIMITS, REACH, generate
from replay.reader import DayInvalid


def test_the_same_seed_makes_the_same_day_and_another_seed_another() -> None:
    assert generate(7, 80) == generate(7, 80)
    assert generate(7, 80).orders != generate(8, 80).orders


def test_another_day_of_a_city_has_the_same_people_and_other_orders() -> None:
    first, second = generate(7, 80), generate(7, 80, number=1)
    assert (first.restaurants, first.couriers) == (second.restaurants, second.couriers)
    assert first.orders != second.orders


def test_meals_have_their_shares_and_the_rest_is_thin() -> None:
    placed = [o.placed for o in generate(3, 4000).orders]
    lunch = sum(LUNCH[0] <= m < LUNCH[1] for m in placed) / len(placed)
    dinner = sum(DINNER[0] <= m < DINNER[1] for m in placed) / len(placed)
    assert lunch == pytest.approx(0.45, abs=0.03)
    assert dinner == pytest.approx(0.40, abs=0.03)
    assert placed == sorted(placed)
    assert min(placed) >= OPEN[0] and max(placed) < OPEN[1]


def test_kitchens_need_a_lognormal_time_within_limits() -> None:
    prep = [o.ready - o.placed for o in generate(3, 4000).orders]
    assert min(prep) >= PREP_LIMITS[0] and max(prep) <= PREP_LIMITS[1]
    assert statistics.median(prep) == pytest.approx(14, abs=1)
    logs = [math.log(p) for p in prep]
    assert statistics.stdev(logs) == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize("orders", [1, 5, 30, 400])
def test_everybody_is_within_reach_and_shifts_cover_the_orders(orders: int) -> None:
    day = generate(11, orders)
    assert len(day.orders) == orders
    assert day.longest_trip <= REACH
    for order in day.orders:
        assert any(c.on <= order.placed < c.off for c in day.couriers)


def test_the_plane_keeps_distances_on_the_ground() -> None:
    day = generate(5, 50)
    plane = day.plane(Point(39.9042, 116.4074))
    for order in day.orders:
        shop = day.by_restaurant[order.restaurant]
        metres = math.hypot(order.x - shop.x, order.y - shop.y)
        assert distance_m(plane.point(order.x, order.y), plane.point(shop.x, shop.y)) == pytest.approx(metres, rel=2e-3)
        assert plane.metres(plane.point(order.x, order.y)) == pytest.approx((order.x, order.y), abs=0.05)


def test_a_trip_over_the_ground_and_back_costs_no_extra_minute() -> None:
    day = generate(5, 50)
    plane = day.plane(Point(39.9042, 116.4074))
    x, y = plane.metres(plane.point(1000 + 3200, 1000))
    assert day.travel_minutes(1000, 1000, x, y) == 10


@pytest.mark.parametrize("path", ["generated:", "generated:x", "generated:1:0", "generated:1:99999", "generated:1:2:3"])
def test_a_malformed_name_of_a_generated_day_is_refused(path: str) -> None:
    with pytest.raises(DayInvalid, match="generated:SEED"):
        load(path)
