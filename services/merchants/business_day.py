"""The day that a store counts in: numbers of its queue and of its orders begin anew with each."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

from services.merchants.hours import zone

DAY_STARTS: Final = timedelta(hours=4)
"""A business date begins at 04:00 local time, so that nothing is cut off at midnight in a shop open late."""


def business_date(timezone: str, now: datetime) -> date:
    """The business date at ``now``: the local calendar day, counted from DAY_STARTS."""
    return (now.astimezone(zone(timezone)).replace(tzinfo=None) - DAY_STARTS).date()


def business_date_sql(at: str, timezone: str) -> str:
    """:func:`business_date` as an SQL expression."""
    return f"(({at} AT TIME ZONE {timezone}) - interval '{DAY_STARTS // timedelta(hours=1)} hours')::date"


def business_day_end(timezone: str, day: date) -> datetime:
    """The instant at which the business date ``day`` is over, in UTC."""
    starts = (datetime.min + DAY_STARTS).time()
    return datetime.combine(day + timedelta(days=1), starts, zone(timezone)).astimezone(UTC)
