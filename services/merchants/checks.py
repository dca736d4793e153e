"""Checks of single input values. All raise InvalidInput with the path of the value in the input."""

from __future__ import annotations

import unicodedata
from typing import Final

from core.geo import Point, is_on_earth, to_gcj02
from services.errors import InvalidInput

PRICE_LIMIT: Final = 10**9
"""Amounts of the catalogue are below this many minor units."""


_JOINERS: Final = "\u200c\u200d"
"""Invisible, but parts of words and pictographs."""


def text(field: str, value: str, longest: int, shortest: int = 1, *, multiline: bool = False) -> str:
    """``value`` without the spaces around it, if it then has ``shortest`` to ``longest`` visible characters.

    In texts of several lines, which people paste from anywhere, tabs become spaces, and lines end by ``\\n``.
    """
    stripped = (value.replace("\r\n", "\n").replace("\t", " ") if multiline else value).strip()
    if not shortest <= len(stripped) <= longest:
        raise InvalidInput(field=field, reason=f"must have {shortest} to {longest} characters")
    for char in stripped:
        allowed = char in _JOINERS or (multiline and char == "\n")
        if not allowed and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            raise InvalidInput(field=field, reason="has a control character")
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
