"""Reads a day in the format of the Meal Delivery Routing Problem's instances, strictly.

A folder with ``restaurants.txt``, ``couriers.txt``, ``orders.txt`` and ``instance_parameters.txt``, tab separated,
one header line each. Everything is checked before anything is returned, so that a day with one broken row is
refused as a whole; see ``docs/replay.md`` for the columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from replay.day import Courier, Day, OrderPlan, Parameters, Restaurant

RESTAURANTS: Final = "restaurants.txt"
COURIERS: Final = "couriers.txt"
ORDERS: Final = "orders.txt"
PARAMETERS: Final = "instance_parameters.txt"

MAX_MINUTE: Final = 2 * 24 * 60
"""A day may run over midnight, but not for longer than another day."""
MAX_METRES: Final = 200_000
"""Of a position from the plane's origin and of the city's extent: more is a wrong unit, not a city."""

_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?", re.ASCII)


class DayInvalid(Exception):
    """A file of the day cannot be used; ``line`` counts from 1 with the header, None when the file as a whole."""

    def __init__(self, file: str, line: int | None, reason: str) -> None:
        super().__init__(f"{file}: {reason}" if line is None else f"{file}:{line}: {reason}")
        self.file = file
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table, by column name."""

    file: str
    line: int
    cells: dict[str, str]

    def fail(self, reason: str) -> DayInvalid:
        return DayInvalid(self.file, self.line, reason)

    def name(self, column: str) -> str:
        """A non-empty identifier of at most 40 printable characters."""
        value = self.cells[column].strip()
        if not value:
            raise self.fail(f"{column} is empty")
        if len(value) > 40 or not value.isprintable():
            raise self.fail(f"{column} must be at most 40 printable characters")
        return value

    def number(self, column: str) -> float:
        """A finite decimal number."""
        text = self.cells[column].strip()
        if not text:
            raise self.fail(f"{column} is empty")
        if _NUMBER.fullmatch(text) is None:
            raise self.fail(f"{column} is not a finite number: {text[:40]!r}")
        return float(text)

    def metres(self, column: str) -> float:
        value = self.number(column)
        if abs(value) > MAX_METRES:
            raise self.fail(f"{column} is more than {MAX_METRES} m from the origin: {value:g}")
        return value

    def minute(self, column: str) -> float:
        value = self.number(column)
        if not 0 <= value <= MAX_MINUTE:
            raise self.fail(f"{column} is not a minute from 0 to {MAX_MINUTE}: {value:g}")
        return value

    def at_least(self, column: str, minimum: float, *, above: bool = False) -> float:
        value = self.number(column)
        if value < minimum or (above and value == minimum):
            raise self.fail(f"{column} must be {'above' if above else 'at least'} {minimum:g}: {value:g}")
        return value


def read(folder: Path) -> Day:
    """The day in ``folder``. Raises DayInvalid with file, line and reason."""
    if not folder.is_dir():
        raise DayInvalid(str(folder), None, "is not a folder")
    restaurants = _restaurants(folder)
    couriers = _couriers(folder)
    orders = _orders(folder, {r.name for r in restaurants})
    parameters = _parameters(folder)
    for axis in ("x", "y"):
        at = [getattr(thing, axis) for thing in (*restaurants, *couriers, *orders)]
        if max(at) - min(at) > MAX_METRES:
            raise DayInvalid(str(folder), None, f"the city is more than {MAX_METRES} m wide in {axis}")
    orders.sort(key=lambda order: order.placed)
    return Day(folder.name, tuple(restaurants), tuple(couriers), tuple(orders), parameters)


def _restaurants(folder: Path) -> list[Restaurant]:
    found: dict[str, Restaurant] = {}
    for row in _table(folder, RESTAURANTS, ("restaurant", "x", "y")):
        name = _unique(row, "restaurant", found)
        found[name] = Restaurant(name, row.metres("x"), row.metres("y"))
    return list(found.values())


def _couriers(folder: Path) -> list[Courier]:
    found: dict[str, Courier] = {}
    for row in _table(folder, COURIERS, ("courier", "x", "y", "on_time", "off_time")):
        name = _unique(row, "courier", found)
        courier = Courier(name, row.metres("x"), row.metres("y"), row.minute("on_time"), row.minute("off_time"))
        if courier.off <= courier.on:
            raise row.fail(f"off_time {courier.off:g} is not after on_time {courier.on:g}")
        found[name] = courier
    return list(found.values())


def _orders(folder: Path, restaurants: set[str]) -> list[OrderPlan]:
    found: dict[str, OrderPlan] = {}
    for row in _table(folder, ORDERS, ("order", "x", "y", "placement_time", "restaurant", "ready_time")):
        name = _unique(row, "order", found)
        restaurant = row.name("restaurant")
        if restaurant not in restaurants:
            raise row.fail(f"unknown restaurant {restaurant!r}")
        placed, ready = row.minute("placement_time"), row.minute("ready_time")
        if ready < placed:
            raise row.fail(f"ready_time {ready:g} is before placement_time {placed:g}")
        found[name] = OrderPlan(name, row.metres("x"), row.metres("y"), placed, restaurant, ready)
    return list(found.values())


def _parameters(folder: Path) -> Parameters:
    columns = (
        "meters_per_minute",
        "pickup service minutes",
        "dropoff service minutes",
        "target click-to-door",
        "maximum click-to-door",
        "pay per order",
        "guaranteed pay per hour",
    )
    rows = list(_table(folder, PARAMETERS, columns))
    if len(rows) > 1:
        raise rows[1].fail("there must be exactly one row of parameters")
    row = rows[0]
    target = row.at_least("target click-to-door", 0, above=True)
    maximum = row.at_least("maximum click-to-door", 0, above=True)
    if maximum < target:
        raise row.fail(f"maximum click-to-door {maximum:g} is below the target {target:g}")
    return Parameters(
        metres_per_minute=row.at_least("meters_per_minute", 0, above=True),
        pickup_service=row.at_least("pickup service minutes", 0),
        dropoff_service=row.at_least("dropoff service minutes", 0),
        target_click_to_door=target,
        maximum_click_to_door=maximum,
        pay_per_order=row.at_least("pay per order", 0),
        guaranteed_pay_per_hour=row.at_least("guaranteed pay per hour", 0),
    )


def _unique(row: Row, column: str, found: Mapping[str, object]) -> str:
    name = row.name(column)
    if name in found:
        raise row.fail(f"duplicate {column} {name!r}")
    return name


def _table(folder: Path, file: str, columns: tuple[str, ...]) -> Iterator[Row]:
    """The rows of one file: at least one, each with a cell for every column of the header."""
    try:
        text = (folder / file).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DayInvalid(file, None, "is missing") from None
    except OSError as error:
        raise DayInvalid(file, None, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DayInvalid(file, error.object[: error.start].count(b"\n") + 1, "is not UTF-8 text") from None
    lines = [line.rstrip("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DayInvalid(file, None, "is empty")
    header = [name.strip() for name in lines[0].split("\t")]
    if missing := [name for name in columns if name not in header]:
        raise DayInvalid(file, 1, f"missing column {', '.join(missing)}")
    if len(set(header)) < len(header):
        raise DayInvalid(file, 1, "a column appears twice")
    if len(lines) == 1:
        raise DayInvalid(file, None, "has no rows")
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        if len(cells) != len(header):
            raise DayInvalid(file, number, f"has {len(cells)} cells, the header {len(header)}")
        yield Row(file, number, dict(zip(header, cells, strict=True)))
