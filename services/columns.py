"""Reading no more columns than somebody looks at: which are wanted, and rows that become records of those.

A record read this way has no value in the fields that were not asked for: looking at one raises AttributeError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final, Generic, TypeAlias, TypeVar

E = TypeVar("E", bound=StrEnum)
R = TypeVar("R")

Wanted: TypeAlias = frozenset[str] | None
"""Fields of one record class; None: perhaps every one."""

_REMEMBERED: Final = 256


class Columns:
    """The fields that somebody will look at, by record class."""

    __slots__ = ("_wanted",)

    def __init__(self, wanted: Mapping[type, Wanted] | None = None) -> None:
        self._wanted = wanted

    def of(self, record: type) -> Wanted:
        return None if self._wanted is None else self._wanted.get(record, frozenset())


ALL: Final = Columns()


def by_value(kind: type[E]) -> Callable[[str], E]:
    """Members of an enum by value: several times as fast as calling it."""
    return {member.value: member for member in kind}.__getitem__


@dataclass(frozen=True, slots=True)
class Chosen(Generic[R]):
    """Some columns of a table."""

    names: tuple[str, ...]
    sql: str
    """For a SELECT."""
    record: Callable[[Any], R]
    """Of a row of exactly these columns."""


class Shape(Generic[R]):
    """How the rows of the table ``alias`` become records of a slotted dataclass that is not frozen."""

    def __init__(
        self,
        record: type[R],
        alias: str,
        *,
        always: Iterable[str] = ("id",),
        sql: Mapping[str, str] | None = None,
        read: Mapping[str, Callable[[Any], Any]] | None = None,
        derived: Mapping[str, Iterable[str]] | None = None,
        blank: Mapping[str, Any] | None = None,
    ) -> None:
        """Of ``record``, whose fields are columns except those in ``blank`` (field → its value at first).

        ``always``: read even if nobody asks. ``sql``: a column's expression, where it is not its name. ``read``: makes
        a field's value of what is in the row, unless that is null. ``derived``: the columns behind a property.
        """
        self.record = record
        self.alias = alias
        self.sql = sql or {}
        self.read = read or {}
        self.blank = blank or {}
        self.columns = tuple(f.name for f in fields(record) if f.name not in self.blank)  # pyright: ignore[reportArgumentType]
        self._always = frozenset(always)
        self._derived = {name: frozenset(behind) for name, behind in (derived or {}).items()}
        self._known: dict[Wanted, Chosen[R]] = {}

    def choose(self, wanted: Wanted = None) -> Chosen[R]:
        """The columns behind the fields ``wanted``; all of them without it, or where one is unknown."""
        chosen = self._known.get(wanted)
        if chosen is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            chosen = self._known[wanted] = self._choose(self._behind(wanted))
        return chosen

    def explains(self, name: str) -> bool:
        """Whether it is known which columns the field or property ``name`` needs."""
        return name in self.columns or name in self._derived or name in self.blank

    def _behind(self, wanted: Wanted) -> tuple[str, ...]:
        if wanted is None or not all(map(self.explains, wanted)):
            return self.columns
        needed = set(self._always)
        for name in wanted:
            needed |= self._derived.get(name) or {name}
        return tuple(name for name in self.columns if name in needed)

    def _choose(self, names: tuple[str, ...]) -> Chosen[R]:
        sql = ", ".join(self.sql.get(name) or f"{self.alias}.{name}" for name in names)
        return Chosen(names, sql, self._maker(names))

    def _maker(self, names: tuple[str, ...]) -> Callable[[Any], R]:
        """A function written out for these columns: five times as fast as a loop over them."""
        scope: dict[str, Any] = {"cls": self.record, "new": self.record.__new__}
        lines = ["def make(row):", " r = new(cls)", f" {', '.join(f'r.{name}' for name in names)}, = row"]
        for name in names:
            if name in self.read:
                scope[f"read_{name}"] = self.read[name]
                lines.append(f" if r.{name} is not None: r.{name} = read_{name}(r.{name})")
        for name, value in self.blank.items():
            scope[f"blank_{name}"] = value
            lines.append(f" r.{name} = blank_{name}")
        exec("\n".join([*lines, " return r"]), scope)
        return scope["make"]
