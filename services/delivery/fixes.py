"""What a phone's positioning says, and which of it can be believed.

Each fix is judged by itself, never by the ones before it: so it does not matter in which order, how often and in
which batches a phone with a bad network sends them. That is why jumps are not filtered here: whether a fix is one
depends on what was heard before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from core.geo import Point, distance_m, is_on_earth

MAX_FIXES: Final = 100
CLOCK_SKEW: Final = timedelta(minutes=1)
"""A phone's clock may be this far ahead of ours."""
MAX_AGE: Final = timedelta(hours=12)
"""Older fixes, buffered by a phone without a network, are of no use to anybody."""
MAX_FROM_CITY_M: Final = 200_000
MAX_ACCURACY_M: Final = 2_000
"""A less accurate fix is that of a cell tower: it says in which town the rider is."""


@dataclass(frozen=True, slots=True)
class Fix:
    """One reading of a phone's positioning. ``recorded_at`` identifies it: a phone is at one place at a time."""

    location: Point
    recorded_at: datetime
    accuracy_metres: float | None
    heading: float | None
    speed: float | None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a rider was at ``recorded_at``, in GCJ-02; accuracy and speed in metres and metres per second, heading in
    degrees."""

    location: Point
    recorded_at: datetime
    accuracy_metres: float | None
    heading: float | None
    speed: float | None


class FixProblem(StrEnum):
    """Why a fix that may well have been read is not believed."""

    TOO_OLD = "TOO_OLD"
    INACCURATE = "INACCURATE"
    FAR_FROM_CITY = "FAR_FROM_CITY"


@dataclass(frozen=True, slots=True)
class ImplausibleFix:
    """``index`` in the batch."""

    index: int
    problem: FixProblem


@dataclass(frozen=True, slots=True)
class LocationReport:
    """``accepted`` fixes are newer than the last position before. ``ignored`` ones are known, older, or
    ``implausible``. ``received_at`` tells the phone how far its clock is off."""

    accepted: int
    ignored: int
    implausible: list[ImplausibleFix]
    last: Position | None
    received_at: datetime


def impossible(fix: Fix, now: datetime) -> str | None:
    """Why no phone can have read this, or None."""
    if not is_on_earth(fix.location.latitude, fix.location.longitude):
        return "is not a place on earth"
    if fix.recorded_at > now + CLOCK_SKEW:
        return "lies in the future"
    if fix.accuracy_metres is not None and not 0 <= fix.accuracy_metres <= 100_000:
        return "has an impossible accuracy"
    if fix.heading is not None and not 0 <= fix.heading <= 360:
        return "has an impossible heading"
    if fix.speed is not None and not 0 <= fix.speed <= 100:
        return "has an impossible speed"
    return None


def implausible(fix: Fix, now: datetime, city_at: Point) -> FixProblem | None:
    """Why the fix is not believed, or None. Distances of that size need no datum conversion."""
    if fix.recorded_at < now - MAX_AGE:
        return FixProblem.TOO_OLD
    if fix.accuracy_metres is not None and fix.accuracy_metres > MAX_ACCURACY_M:
        return FixProblem.INACCURATE
    if distance_m(city_at, fix.location) > MAX_FROM_CITY_M:
        return FixProblem.FAR_FROM_CITY
    return None


PROBLEMS: Final = {
    FixProblem.TOO_OLD: f"is older than {MAX_AGE // timedelta(hours=1)} h",
    FixProblem.INACCURATE: f"is less accurate than {MAX_ACCURACY_M} m",
    FixProblem.FAR_FROM_CITY: f"is more than {MAX_FROM_CITY_M // 1000} km from the city",
}


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def version_of(recorded_at: datetime) -> int:
    """Microseconds since 1970: the newer of two positions has the higher version."""
    return (recorded_at - _EPOCH) // _MICROSECOND


def instant_of(version: int) -> datetime:
    """Inverse of :func:`version_of`."""
    return _EPOCH + timedelta(microseconds=version)


def position_to_json(position: Position) -> dict[str, Any]:
    """Plain data that is the same before and after a trip through JSON."""
    return {
        "latitude": position.location.latitude,
        "longitude": position.location.longitude,
        "recorded_at": version_of(position.recorded_at),
        "accuracy_metres": position.accuracy_metres,
        "heading": position.heading,
        "speed": position.speed,
    }


def position_from_json(value: dict[str, Any]) -> Position:
    """Inverse of :func:`position_to_json`."""
    return Position(
        Point(value["latitude"], value["longitude"]),
        instant_of(value["recorded_at"]),
        value["accuracy_metres"],
        value["heading"],
        value["speed"],
    )
