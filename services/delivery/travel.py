"""How far, how long.

Riders are taken to ride straight lines at ``rider_speed_m_per_min`` with ``handling_minutes`` at each door, the
model of the Meal Delivery Routing Problem (Reyes et al. 2018). A road network would replace this module.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from core.geo import Point, distance_m
from core.settings import Settings
from services.ordering.records import DeliveryRecord


def road_metres(a: Point, b: Point) -> float:
    """Metres a rider travels from ``a`` to ``b``."""
    return distance_m(a, b)


def ride(settings: Settings, metres: float) -> timedelta:
    """Riding time for ``metres``."""
    return timedelta(minutes=metres / settings.rider_speed_m_per_min)


def handling(settings: Settings) -> timedelta:
    return timedelta(minutes=settings.handling_minutes)


def pickup_point(delivery: DeliveryRecord) -> Point:
    return Point(delivery.pickup_latitude, delivery.pickup_longitude)


def pickup_eta(settings: Settings, delivery: DeliveryRecord, rider_at: Point, now: datetime) -> datetime:
    """When the rider reaches the store."""
    return now + ride(settings, road_metres(rider_at, pickup_point(delivery)))


def delivery_eta(settings: Settings, delivery: DeliveryRecord, ready_at: datetime, now: datetime) -> datetime:
    """When the order reaches the door: leave the store once it is ready and the rider is there, then ride.

    Without a rider yet, one is assumed to arrive by the time the food is ready.
    """
    at_store = max(delivery.pickup_eta or now, now) + handling(settings)
    leave = max(at_store, ready_at, now) + handling(settings)
    return leave + ride(settings, delivery.distance_m) + handling(settings)
