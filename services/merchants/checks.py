"""Checks of single input values. All raise InvalidInput with the path of the value in the input."""

from __future__ import annotations

from typing import Final

from core.geo import Point, is_on_earth, to_gcj02
from services.errors import InvalidInput

PRICE_LIMIT: Final = 10**9
"""Amounts of the catalogue are below this many minor units."""


def text(field: str, value: str, longest: int, shortest: int = 1) -> str:
    """``value`` without the spaces around it, if it then has ``shortest`` to ``longest`` printable characters."""
    stripped = value.strip()
    if not shortest <= len(stripped) <= longest:
        raise InvalidInput(field=field, reason=f"must have {shortest} to {longest} characters")
    if not all(char.isprintable() or char in "\n\u200d" for char in stripped):
        raise InvalidInput(field=field, reason="must have printable characters only")
    return stripped


def within(field: str, value: int, low: int, high: int) -> int:
    """``value`` if it is ``low`` to ``high``, both included."""
    if not low <= value <= high:
        raise InvalidInput(field=field, reason=f"must be {low} to {high}")
    return value


def amount(field: str, value: int) -> int:
    """``value`` if it can be a price."""
    return within(field, value, 0, PRICE_LIMIT - 1)


def place(field: str, point: Point) -> Point:
    """``point`` in GCJ-02, if it is on the Earth."""
    if not is_on_earth(point.latitude, point.longitude):
        raise InvalidInput(field=field, reason="latitude must be within ±90 and longitude within ±180 degrees")
    return to_gcj02(point)
