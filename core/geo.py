"""Positions on the ground.

Everything inside is GCJ-02 (the datum of Chinese maps); WGS-84 from a raw GPS is converted where it enters.
Mixing them up is an error of 360–560 m, so a position never travels without its CRS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

EARTH_RADIUS_M = 6_371_008.8
"""Mean Earth radius in metres (IUGG R1)."""

_GCJ_A = 6_378_245.0
_GCJ_EE = 0.00669342162296594323
"""Krasovsky 1940 ellipsoid: semi-major axis in metres and squared eccentricity, as the GCJ-02 transform uses them."""


class Crs(StrEnum):
    """Coordinate reference system of a position."""

    GCJ02 = "GCJ02"
    WGS84 = "WGS84"


@dataclass(frozen=True, slots=True)
class Point:
    """Degrees, in GCJ-02 unless ``crs`` says otherwise."""

    latitude: float
    longitude: float
    crs: Crs = Crs.GCJ02


def is_on_earth(latitude: float, longitude: float) -> bool:
    """Whether the degrees are finite and within ±90 / ±180."""
    return math.isfinite(latitude) and math.isfinite(longitude) and abs(latitude) <= 90 and abs(longitude) <= 180


def to_gcj02(point: Point) -> Point:
    """The same place in GCJ-02. Outside China's bounding box the two datums are taken as equal."""
    if point.crs is Crs.GCJ02:
        return point
    lat, lng = point.latitude, point.longitude
    if not (0.8293 <= lat <= 55.8271 and 72.004 <= lng <= 137.8347):
        return Point(lat, lng)
    x, y = lng - 105.0, lat - 35.0
    wave = (20 * math.sin(6 * x * math.pi) + 20 * math.sin(2 * x * math.pi)) * 2 / 3
    d_lat = (
        -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * math.sqrt(abs(x)) + wave
        + (20 * math.sin(y * math.pi) + 40 * math.sin(y / 3 * math.pi)) * 2 / 3
        + (160 * math.sin(y / 12 * math.pi) + 320 * math.sin(y * math.pi / 30)) * 2 / 3
    )  # fmt: skip
    d_lng = (
        300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * math.sqrt(abs(x)) + wave
        + (20 * math.sin(x * math.pi) + 40 * math.sin(x / 3 * math.pi)) * 2 / 3
        + (150 * math.sin(x / 12 * math.pi) + 300 * math.sin(x / 30 * math.pi)) * 2 / 3
    )  # fmt: skip
    rad = math.radians(lat)
    magic = 1 - _GCJ_EE * math.sin(rad) ** 2
    root = math.sqrt(magic)
    return Point(
        lat + math.degrees(d_lat / (_GCJ_A * (1 - _GCJ_EE) / (magic * root))),
        lng + math.degrees(d_lng / (_GCJ_A / root * math.cos(rad))),
    )


def distance_m(a: Point, b: Point) -> float:
    """Great-circle distance in metres (haversine)."""
    lat_a, lat_b = math.radians(a.latitude), math.radians(b.latitude)
    h = (
        math.sin((lat_b - lat_a) / 2) ** 2
        + math.cos(lat_a) * math.cos(lat_b) * math.sin(math.radians(b.longitude - a.longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(h)))


def contains(polygon: Sequence[Point], point: Point) -> bool:
    """Whether ``point`` lies inside the closed ``polygon`` (even-odd rule; at city scale degrees are a plane)."""
    inside = False
    previous = polygon[-1]
    for corner in polygon:
        if (corner.latitude > point.latitude) != (previous.latitude > point.latitude):
            crossing = (previous.longitude - corner.longitude) * (point.latitude - corner.latitude) / (
                previous.latitude - corner.latitude
            ) + corner.longitude
            if point.longitude < crossing:
                inside = not inside
        previous = corner
    return inside
