"""A day to play: who is there, what they will want, and the plane they move on.

Positions are metres on a plane, times are minutes from midnight of the day's start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from core.geo import EARTH_RADIUS_M, Point


@dataclass(frozen=True, slots=True)
class Restaurant:
    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Courier:
    """A rider's start and shift."""

    name: str
    x: float
    y: float
    on: float
    off: float


@dataclass(frozen=True, slots=True)
class OrderPlan:
    """What one consumer will order, when, where it goes, and when the kitchen will have it ready.

    ``note``: what is written on the order; None: the name by which the kitchen finds its plan.
    """

    name: str
    x: float
    y: float
    placed: float
    restaurant: str
    ready: float
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Parameters:
    """How fast people are. Service times and click-to-door limits in minutes, pay in currency units."""

    metres_per_minute: float
    pickup_service: float
    dropoff_service: float
    target_click_to_door: float
    maximum_click_to_door: float
    pay_per_order: float
    guaranteed_pay_per_hour: float


@dataclass(frozen=True, slots=True)
class Plane:
    """Equirectangular map of the day's plane onto the ground around ``centre``; (``x``, ``y``) lies on it."""

    centre: Point
    x: float
    y: float

    def point(self, x: float, y: float) -> Point:
        """Degrees of a position in metres, in GCJ-02 like the city's centre."""
        north = math.degrees((y - self.y) / EARTH_RADIUS_M)
        east = math.degrees((x - self.x) / (EARTH_RADIUS_M * math.cos(math.radians(self.centre.latitude))))
        return Point(round(self.centre.latitude + north, 7), round(self.centre.longitude + east, 7))

    def metres(self, point: Point) -> tuple[float, float]:
        """The position in metres of a place on the ground; inverse of :meth:`point` but for its rounding."""
        north = math.radians(point.latitude - self.centre.latitude) * EARTH_RADIUS_M
        east = math.radians(point.longitude - self.centre.longitude) * EARTH_RADIUS_M
        return self.x + east * math.cos(math.radians(self.centre.latitude)), self.y + north


@dataclass(frozen=True, slots=True)
class Day:
    """One instance. ``orders`` are in order of placement."""

    name: str
    restaurants: tuple[Restaurant, ...]
    couriers: tuple[Courier, ...]
    orders: tuple[OrderPlan, ...]
    parameters: Parameters
    by_restaurant: dict[str, Restaurant] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_restaurant", {r.name: r for r in self.restaurants})

    def plane(self, centre: Point) -> Plane:
        """The day's plane with the middle of its restaurants put on ``centre``."""
        xs = [r.x for r in self.restaurants]
        ys = [r.y for r in self.restaurants]
        return Plane(centre, (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)

    @property
    def start(self) -> float:
        """The first minute at which anything happens."""
        return min([c.on for c in self.couriers] + [o.placed for o in self.orders])

    @property
    def longest_trip(self) -> float:
        """Metres between a restaurant and its farthest customer."""
        return max(
            math.hypot(o.x - self.by_restaurant[o.restaurant].x, o.y - self.by_restaurant[o.restaurant].y)
            for o in self.orders
        )

    def travel_minutes(self, x1: float, y1: float, x2: float, y2: float) -> float:
        """Whole minutes between two positions: Euclid at the day's speed, rounded up."""
        # Positions that went over the ground are a centimetre off: that must not cost a minute.
        return max(0, math.ceil(math.hypot(x2 - x1, y2 - y1) / self.parameters.metres_per_minute - 1e-4))
