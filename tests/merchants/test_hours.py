"""Opening hours against a table with one entry per minute."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models.database import Database
from models.merchants import StoreStatus
from services import pricing
from services.errors import InvalidInput
from services.merchants import OpeningHours, StoreRecord, open_now_sql
from services.merchants.hours import check_hours, to_json
from tests.support import NOON

DAY, WEEK = 1440, 10080

STORE = StoreRecord(
    id=uuid4(), merchant_id=uuid4(), city_id=uuid4(), name="n", address="a", phone="p", latitude=30, longitude=120,
    timezone="Asia/Shanghai", currency="CNY", status=StoreStatus.OPEN, hours=(), services=frozenset(), tag_ids=(),
    delivery_radius_m=1000, delivery_area=None, minimum_order=0, delivery_fee=0, prep_minutes=1, queue_open=True,
)  # fmt: skip

ZONES = st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])
# Berlin, New York and Lord Howe Island change their clocks in this time.
INSTANTS = st.datetimes(datetime(2026, 3, 1), datetime(2026, 4, 10), timezones=st.just(UTC)) | st.datetimes(
    datetime(2026, 9, 28), datetime(2026, 11, 5), timezones=st.just(UTC)
)


def text_of(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


MINUTES = st.integers(0, DAY - 1) | st.sampled_from([0, 90, 120, 150, 180])
HOURS = st.lists(
    st.builds(
        lambda day, opens, closes: OpeningHours(day, text_of(opens), text_of(closes)),
        st.integers(1, 7),
        MINUTES,
        st.integers(0, DAY),
    ),
    max_size=8,
)


def table_of(hours: list[OpeningHours]) -> list[int]:
    """How many entries cover each minute of the week."""
    table = [0] * WEEK
    for entry in hours:
        opens, closes = (int(t[:2]) * 60 + int(t[3:]) for t in (entry.opens, entry.closes))
        minute = opens
        while True:
            table[((entry.weekday - 1) * DAY + minute) % WEEK] += 1
            minute += 1
            if minute % DAY == closes % DAY:
                break
    return table


def minute_of(at: datetime, zone: str) -> int:
    local = at.astimezone(ZoneInfo(zone))
    return local.weekday() * DAY + local.hour * 60 + local.minute


@given(HOURS)
def test_hours_are_accepted_exactly_when_no_minute_is_covered_twice(hours: list[OpeningHours]) -> None:
    assume(all(entry.opens != entry.closes for entry in hours))
    if max(table_of(hours)) <= 1:
        assert sorted(to_json(check_hours(hours)), key=str) == sorted(to_json(hours), key=str)
    else:
        with pytest.raises(InvalidInput):
            check_hours(hours)


@settings(max_examples=300)
@given(HOURS, ZONES, INSTANTS)
def test_open_and_next_opening_are_those_of_the_minute_table(
    hours: list[OpeningHours], zone: str, at: datetime
) -> None:
    assume(all(entry.opens != entry.closes for entry in hours))
    table = table_of(hours)
    store = replace(STORE, hours=tuple(hours), timezone=zone)
    is_open = table[minute_of(at, zone)] > 0
    assert pricing.is_open(store, at) is is_open
    expected = None
    if not is_open:
        minute = at.replace(second=0, microsecond=0)
        for step in range(1, WEEK + DAY):
            if table[minute_of(minute + timedelta(minutes=step), zone)]:
                expected = minute + timedelta(minutes=step)
                break
    found = pricing.next_opening(store, at)
    assert found == expected
    assert found is None or pricing.is_open(store, found)


def test_examples() -> None:
    late = OpeningHours(1, "18:00", "02:00")
    store = replace(STORE, hours=(late,))
    assert not pricing.is_open(store, NOON)
    assert pricing.next_opening(store, NOON) == NOON + timedelta(hours=6)
    assert pricing.is_open(store, NOON + timedelta(hours=13, minutes=59))
    assert not pricing.is_open(store, NOON + timedelta(hours=14))
    assert pricing.next_opening(store, NOON + timedelta(hours=14)) == NOON + timedelta(days=7, hours=6)
    for status in (StoreStatus.PAUSED, StoreStatus.CLOSED):
        shut = replace(store, status=status)
        assert not pricing.is_open(shut, NOON + timedelta(hours=7))
        assert pricing.next_opening(shut, NOON) is None
    assert pricing.next_opening(STORE, NOON) is None


@pytest.mark.parametrize(
    ("weekday", "opens", "closes"),
    [
        (0, "09:00", "10:00"),
        (8, "09:00", "10:00"),
        (1, "9:00", "10:00"),
        (1, "24:00", "10:00"),
        (1, "09:00", "24:01"),
        (1, "09:60", "10:00"),
        (1, "09:00", "09:00"),
        (1, "09:00\n", "10:00"),
        (1, "٠9:00", "10:00"),
    ],
)
def test_bad_hours_are_refused(weekday: int, opens: str, closes: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_hours([OpeningHours(weekday, opens, closes)])
    assert caught.value.field.startswith("hours.0.")


def test_hours_may_touch_across_midnight_and_the_week() -> None:
    hours = [OpeningHours(7, "20:00", "02:00"), OpeningHours(1, "02:00", "24:00"), OpeningHours(2, "00:00", "01:00")]
    assert [entry.weekday for entry in check_hours(hours)] == [1, 2, 7]
    with pytest.raises(InvalidInput):
        check_hours([OpeningHours(7, "20:00", "02:01"), OpeningHours(1, "02:00", "24:00")])


@pytest.fixture(scope="module")
async def database(module_database_url: str) -> AsyncIterator[Database]:
    database = Database(module_database_url, 2)
    await database.open()
    yield database
    await database.close()


async def test_the_sql_condition_agrees_with_is_open(database: Database) -> None:
    cases: list[tuple[list[OpeningHours], str, datetime]] = []

    @settings(max_examples=400, database=None)
    @given(HOURS, ZONES, INSTANTS)
    def collect(hours: list[OpeningHours], zone: str, at: datetime) -> None:
        assume(all(entry.opens != entry.closes for entry in hours))
        cases.append((hours, zone, at))

    collect()
    cases.append(([OpeningHours(1, "12:00", "12:01")], "Asia/Shanghai", NOON + timedelta(seconds=59, milliseconds=999)))
    body: list[dict[str, Any]] = [{"hours": to_json(h), "timezone": zone, "at": at} for h, zone, at in cases]
    rows = await database.fetch(
        f"""SELECT {open_now_sql("s", "s.at")} AS open FROM ROWS FROM (
            jsonb_to_recordset($1::jsonb) AS (hours jsonb, timezone text, at timestamptz)) WITH ORDINALITY s
            ORDER BY ordinality""",
        orjson.dumps(body).decode(),
    )
    for (hours, zone, at), row in zip(cases, rows, strict=True):
        store = replace(STORE, hours=tuple(hours), timezone=zone)
        assert row["open"] is pricing.is_open(store, at), (hours, zone, at)
