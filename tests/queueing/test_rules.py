"""The rules of the line without a database: transitions, who may do what, business dates, waiting times."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import uuid7
from models.queueing import QueueAction, QueueTicketState
from services.merchants.business_day import business_date, business_day_end
from services.queueing.rules import (
    TRANSITIONS,
    Actor,
    Pace,
    Ticket,
    actor_of,
    available_actions,
    estimate_minutes,
)
from tests.queueing.world import admin_of, consumer, staff_of
from tests.support import NOON

QUIET = Pace(0, None, None)

# One row per state, one column per action; "owner" columns only where the owner may do something.
STAFF = {
    "WAITING": {"CALL": "CALLED", "SEAT": "SEATED", "CANCEL": "CANCELLED"},
    "CALLED": {"CALL": "CALLED", "SEAT": "SEATED", "SKIP": "SKIPPED", "CANCEL": "CANCELLED"},
    "SKIPPED": {"CALL": "CALLED", "REQUEUE": "WAITING", "CANCEL": "CANCELLED"},
}
OWNER = {state: {"CANCEL": "CANCELLED"} for state in STAFF}


@pytest.mark.parametrize(("state", "action", "actor"), list(product(QueueTicketState, QueueAction, Actor)))
def test_every_transition(state: QueueTicketState, action: QueueAction, actor: Actor) -> None:
    expected = {Actor.STAFF: STAFF, Actor.OWNER: OWNER}[actor].get(state, {}).get(action)
    assert TRANSITIONS.get((state, action, actor)) == expected


def make_ticket(state: QueueTicketState = QueueTicketState.WAITING) -> Ticket:
    return Ticket(
        uuid7(), uuid7(), uuid7(), NOON.date(), 1, 1, "A001", state, 1, 2, uuid7(), None, NOON, None, None, None
    )


def test_actors_are_the_owner_and_the_stores_staff_only() -> None:
    ticket = make_ticket()
    mine = consumer()
    owned = Ticket(**{**{f: getattr(ticket, f) for f in Ticket.__slots__}, "consumer_id": mine.subject})
    assert actor_of(mine, owned) is Actor.OWNER
    assert actor_of(staff_of(ticket.store_id), ticket) is Actor.STAFF
    for stranger in (consumer(), staff_of(uuid7()), admin_of(uuid7())):
        assert actor_of(stranger, ticket) is None
        assert available_actions(stranger, ticket) == []


def test_available_actions_change_something() -> None:
    ticket = make_ticket(QueueTicketState.CALLED)
    clerk = staff_of(ticket.store_id)
    assert available_actions(clerk, ticket) == [QueueAction.SEAT, QueueAction.SKIP, QueueAction.CANCEL]
    assert available_actions(clerk, make_ticket(QueueTicketState.SEATED)) == []


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("2026-03-02T03:59:59", date(2026, 3, 1)),
        ("2026-03-02T04:00:00", date(2026, 3, 2)),
        ("2026-03-03T01:00:00", date(2026, 3, 2)),
    ],
)
def test_business_date_begins_at_four_local(local: str, expected: date) -> None:
    assert business_date("Asia/Shanghai", datetime.fromisoformat(f"{local}+08:00")) == expected


@given(st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)), st.sampled_from(["Asia/Shanghai", "Europe/Berlin"]))
def test_business_day_ends_in_the_future_and_within_a_day(at: datetime, zone: str) -> None:
    now = at.replace(tzinfo=UTC)
    end = business_day_end(zone, business_date(zone, now))
    assert timedelta(0) < end - now <= timedelta(hours=25)
    assert business_date(zone, end) == business_date(zone, now) + timedelta(days=1)


@pytest.mark.parametrize(
    ("position", "tables", "turn", "minutes"),
    [(1, 4, 8, 8), (4, 4, 30, 30), (5, 4, 30, 60), (3, 2, 45, 90), (1, 0, 7, 7), (2, 1, 11, 25), (1, 3, 12, 15)],
)
def test_estimate_from_table_turns(position: int, tables: int, turn: int, minutes: int) -> None:
    assert estimate_minutes(position, tables, turn, QUIET, NOON) == minutes


def test_estimate_from_observed_seatings() -> None:
    first = NOON - timedelta(minutes=30)
    steady = Pace(4, first, NOON - timedelta(minutes=3))  # intervals of 9 minutes
    assert estimate_minutes(1, 4, 60, steady, NOON) == 9
    assert estimate_minutes(2, 4, 60, steady, NOON) == 20
    too_few = Pace(3, first, NOON)
    assert estimate_minutes(1, 4, 60, too_few, NOON) == 60


def test_estimate_notices_that_the_line_has_stopped() -> None:
    first = NOON - timedelta(minutes=40)
    stalled = Pace(4, first, first + timedelta(minutes=6))
    assert estimate_minutes(1, 4, 60, stalled, NOON) == 10
    assert estimate_minutes(1, 4, 60, stalled, NOON + timedelta(minutes=8)) == 15


@given(st.integers(1, 200), st.integers(0, 30), st.integers(1, 180), st.integers(0, 9), st.integers(0, 60))
def test_estimate_is_positive_and_grows_with_the_line(
    position: int, tables: int, turn: int, seatings: int, ago: int
) -> None:
    first = NOON - timedelta(minutes=ago)
    pace = Pace(seatings, first, NOON) if seatings else QUIET
    here, behind = (estimate_minutes(p, tables, turn, pace, NOON) for p in (position, position + 1))
    assert 1 <= here <= behind
