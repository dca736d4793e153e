"""Makes a day of a city that never was, from a seed: the same seed, the same day.

Shape (see ``docs/replay.md``): meals at lunch (45 % of the orders, 11:30–13:00) and dinner (40 %, 17:30–19:30) with
a thin rest from 7:00 to 22:00; kitchens need a lognormal time; restaurants stand in a few districts and are
unequally popular; riders' shifts cover the peaks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Final

from replay.day import Courier, Day, OrderPlan, Parameters, Restaurant

PARAMETERS: Final = Parameters(
    metres_per_minute=320,
    pickup_service=4,
    dropoff_service=4,
    target_click_to_door=40,
    maximum_click_to_door=90,
    pay_per_order=10,
    guaranteed_pay_per_hour=15,
)
CITY_METRES: Final = 9_000
"""Side of the square that the city lies in."""
LUNCH: Final = (690.0, 780.0)
DINNER: Final = (1050.0, 1170.0)
OPEN: Final = (420.0, 1320.0)
LUNCH_SHARE: Final = 0.45
DINNER_SHARE: Final = 0.40

PREP_MEDIAN: Final = 14.0
PREP_SIGMA: Final = 0.40
PREP_LIMITS: Final = (4.0, 45.0)
"""Kitchen minutes: lognormal with this median and log standard deviation, cut to the limits."""
REACH: Final = 5_000.0
"""Nobody orders from farther away, metres."""
TRIP_MINUTES: Final = 32.0
"""What one order keeps a rider busy, for sizing the shifts."""


def generate(seed: int, orders: int = 250, number: int = 0) -> Day:
    """A day of the city of ``seed`` with ``orders`` orders (1–5000). Raises ValueError.

    Restaurants and riders depend on the seed and the size alone, what is ordered on the day's ``number`` as well.
    """
    if not 1 <= orders <= 5000:
        raise ValueError("a generated day has 1 to 5000 orders")
    random = Random(f"hutong-city:{seed}:{orders}")
    districts = _districts(random, 4 + min(4, orders // 200))
    restaurants = _restaurants(random, districts, max(3, round(orders**0.78)))
    homes = _districts(random, len(districts) + 3)
    couriers = _couriers(random, districts, orders)
    plans = _orders(Random(f"hutong-day:{seed}:{orders}:{number}"), restaurants, homes, orders)
    return Day(f"generated:{seed}:{orders}", tuple(restaurants), tuple(couriers), tuple(plans), PARAMETERS)


def _districts(random: Random, count: int) -> list[tuple[float, float, float]]:
    """Centres with a spread each (x, y, standard deviation), away from the city's edge."""
    inner = (0.2 * CITY_METRES, 0.8 * CITY_METRES)
    return [(random.uniform(*inner), random.uniform(*inner), random.uniform(250, 900)) for _ in range(count)]


def _near(random: Random, place: tuple[float, float, float], stretch: float = 1.0) -> tuple[float, float]:
    x, y, spread = place
    return (
        round(min(max(random.gauss(x, spread * stretch), 0), CITY_METRES)),
        round(min(max(random.gauss(y, spread * stretch), 0), CITY_METRES)),
    )


def _restaurants(random: Random, districts: Sequence[tuple[float, float, float]], count: int) -> list[Restaurant]:
    return [Restaurant(f"r{i + 1}", *_near(random, random.choice(districts))) for i in range(count)]


def _placement(random: Random) -> float:
    """A minute of the day; inside a meal the middle is likelier than the ends."""
    share = random.random()
    if share < LUNCH_SHARE:
        return math.floor(random.triangular(*LUNCH))
    if share < LUNCH_SHARE + DINNER_SHARE:
        return math.floor(random.triangular(*DINNER))
    while True:
        minute = math.floor(random.uniform(*OPEN))
        if not (LUNCH[0] <= minute < LUNCH[1] or DINNER[0] <= minute < DINNER[1]):
            return minute


def _orders(
    random: Random, restaurants: Sequence[Restaurant], homes: Sequence[tuple[float, float, float]], count: int
) -> list[OrderPlan]:
    # Zipf with exponent 0.7: the most popular kitchen of fifty gets about every tenth order.
    popularity = [1 / (rank + 1) ** 0.7 for rank in range(len(restaurants))]
    made: list[tuple[float, float, float, str, float]] = []
    for _ in range(count):
        placed = _placement(random)
        prep = min(max(random.lognormvariate(math.log(PREP_MEDIAN), PREP_SIGMA), PREP_LIMITS[0]), PREP_LIMITS[1])
        restaurant = random.choices(restaurants, popularity)[0]
        x, y = _home(random, homes, restaurant)
        made.append((placed, x, y, restaurant.name, placed + round(prep)))
    made.sort()
    return [OrderPlan(f"o{i + 1}", x, y, placed, shop, ready) for i, (placed, x, y, shop, ready) in enumerate(made)]


def _home(random: Random, homes: Sequence[tuple[float, float, float]], restaurant: Restaurant) -> tuple[float, float]:
    """Where a customer of the restaurant lives: in a quarter, within reach; nearer ones order more often."""
    for _ in range(50):
        x, y = _near(random, random.choice(homes), 1.5)
        distance = math.hypot(x - restaurant.x, y - restaurant.y)
        if distance <= REACH and random.random() < math.exp(-distance / 4000):
            return x, y
    angle, distance = random.uniform(0, 2 * math.pi), random.uniform(300, 1500)
    return (round(restaurant.x + distance * math.cos(angle)), round(restaurant.y + distance * math.sin(angle)))


def _couriers(random: Random, districts: Sequence[tuple[float, float, float]], orders: int) -> list[Courier]:
    """Shifts: a few all day, the rest around the meals, as many as the meals' rates keep busy."""
    base = max(2, math.ceil((1 - LUNCH_SHARE - DINNER_SHARE) * orders * TRIP_MINUTES / 690))
    lunch = math.ceil(LUNCH_SHARE * orders * TRIP_MINUTES / (LUNCH[1] - LUNCH[0]))
    dinner = math.ceil(DINNER_SHARE * orders * TRIP_MINUTES / (DINNER[1] - DINNER[0]))
    shifts = [(OPEN[0], 900.0)] * base + [(870.0, OPEN[1] + 60)] * base
    shifts += [(LUNCH[0] - 45, LUNCH[1] + 75)] * max(1, lunch - base)
    shifts += [(DINNER[0] - 45, DINNER[1] + 75)] * max(1, dinner - base)
    couriers: list[Courier] = []
    for i, (on, off) in enumerate(shifts):
        shift = random.randrange(-15, 16, 5) if on > OPEN[0] else 0
        couriers.append(Courier(f"c{i + 1}", *_near(random, random.choice(districts)), on + shift, off + shift))
    return couriers
