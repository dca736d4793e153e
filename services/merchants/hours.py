"""Weekly opening hours, on the wall clock of the store's time zone.

Minutes of the week run from Monday 00:00 (0) to Sunday 24:00 (10,080). Hours that close at or before they open
end on the next day; Sunday's may end on Monday.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from services.errors import InvalidInput

DAY: Final = 24 * 60
WEEK: Final = 7 * DAY
MAX_HOURS: Final = 70
"""Entries of one store."""

_OPENS: Final = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_CLOSES: Final = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00")


@dataclass(frozen=True, slots=True)
class OpeningHours:
    """``weekday`` is ISO (Monday 1); ``opens`` and ``closes`` are local "HH:MM", ``closes`` up to "24:00"."""

    weekday: int
    opens: str
    closes: str

    @property
    def start(self) -> int:
        """Minute of the week."""
        return (self.weekday - 1) * DAY + _minute(self.opens)

    @property
    def length(self) -> int:
        """Minutes, 1–1440."""
        return (_minute(self.closes) - _minute(self.opens) - 1) % DAY + 1


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def check_hours(hours: Sequence[OpeningHours]) -> tuple[OpeningHours, ...]:
    """``hours`` in the order of the week. Raises InvalidInput for bad times, empty spans, overlaps."""
    if len(hours) > MAX_HOURS:
        raise InvalidInput(field="hours", reason=f"at most {MAX_HOURS} entries")
    for index, entry in enumerate(hours):
        if not 1 <= entry.weekday <= 7:
            raise InvalidInput(field=f"hours.{index}.weekday", reason="must be 1 (Monday) to 7 (Sunday)")
        if not _OPENS.fullmatch(entry.opens):
            raise InvalidInput(field=f"hours.{index}.opens", reason="must be HH:MM from 00:00 to 23:59")
        if not _CLOSES.fullmatch(entry.closes):
            raise InvalidInput(field=f"hours.{index}.closes", reason="must be HH:MM from 00:00 to 24:00")
        if entry.opens == entry.closes:
            raise InvalidInput(
                field=f"hours.{index}.closes", reason="must differ from opens; a whole day is 00:00 to 24:00"
            )
    ordered = sorted(hours, key=lambda entry: entry.start)
    for index, entry in enumerate(ordered):
        following = ordered[(index + 1) % len(ordered)]
        gap = (following.start - entry.start) % WEEK if len(ordered) > 1 else WEEK
        if entry.length > gap or gap == 0:
            raise InvalidInput(
                field="hours",
                reason=f"{entry.opens}–{entry.closes} on day {entry.weekday} overlaps "
                f"{following.opens}–{following.closes} on day {following.weekday}",
            )
    return tuple(ordered)


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def open_at(hours: Sequence[OpeningHours], timezone: str, at: datetime) -> bool:
    """Whether ``hours`` cover the instant ``at``."""
    local = at.astimezone(zone(timezone))
    minute = local.weekday() * DAY + local.hour * 60 + local.minute
    return any((minute - entry.start) % WEEK < entry.length for entry in hours)


def open_now_sql(store: str, at: str) -> str:
    """:func:`open_at` as an SQL condition on the ``store`` row (its alias) and the timestamptz ``at``."""
    local = f"({at} AT TIME ZONE {store}.timezone)"
    opens, closes = (f"(left(h.{name}, 2)::int * 60 + right(h.{name}, 2)::int)" for name in ("opens", "closes"))
    # OFFSET 0 has the minute of the week computed once per store instead of once per entry.
    return f"""EXISTS (
        SELECT FROM (
            SELECT floor(extract(epoch FROM {local} - date_trunc('week', {local})) / 60)::int AS minute OFFSET 0
        ) AS now, jsonb_to_recordset({store}.hours) AS h(weekday int, opens text, closes text)
        WHERE (now.minute - (h.weekday - 1) * {DAY} - {opens} + {WEEK}) % {WEEK}
            < ({closes} - {opens} - 1 + {DAY}) % {DAY} + 1)"""


def next_open(hours: Sequence[OpeningHours], timezone: str, after: datetime) -> datetime | None:
    """The first instant from ``after`` on that ``hours`` cover, in UTC; None when there is none in eight days.

    Where clocks are set forward or back, wall-clock times are skipped or repeated with them.
    """
    if open_at(hours, timezone, after):
        return after.astimezone(UTC)
    here = zone(timezone)
    today = after.astimezone(here).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    candidates = _clock_changes(here, after)
    for ahead in range(9):
        day = today + timedelta(days=ahead)
        for entry in hours:
            if entry.weekday == day.isoweekday():
                opens = (day + timedelta(minutes=_minute(entry.opens))).replace(tzinfo=here)
                candidates += [opens.astimezone(UTC), opens.replace(fold=1).astimezone(UTC)]
    return min((at for at in candidates if at >= after and open_at(hours, timezone, at)), default=None)


def _clock_changes(here: ZoneInfo, after: datetime) -> list[datetime]:
    """Instants within eight days at which the zone's offset from UTC changes."""
    found: list[datetime] = []
    early = after.astimezone(UTC).replace(microsecond=0)
    for _ in range(8):
        late = early + timedelta(days=1)
        low, high = early, late
        if low.astimezone(here).utcoffset() != high.astimezone(here).utcoffset():
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
                if middle.astimezone(here).utcoffset() == low.astimezone(here).utcoffset():
                    low = middle
                else:
                    high = middle
            found.append(high)
        early = late
    return found


def from_json(rows: list[dict[str, Any]]) -> tuple[OpeningHours, ...]:
    return tuple(OpeningHours(row["weekday"], row["opens"], row["closes"]) for row in rows)


def to_json(hours: Sequence[OpeningHours]) -> list[dict[str, Any]]:
    return [{"weekday": entry.weekday, "opens": entry.opens, "closes": entry.closes} for entry in hours]
