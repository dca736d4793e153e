"""What may happen to a ticket, in which order parties wait, and how long: the rules without the database."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from auth.principals import Principal, View
from models.queueing import QueueAction, QueueTicketState

REQUEUE_BEHIND: Final = 3
"""A skipped party that comes back waits behind the first three of the line, or at its end if it is shorter."""
PACE_WINDOW: Final = timedelta(hours=1)
PACE_INTERVALS: Final = 3
"""Intervals between seatings that must have been observed within the window before they are believed."""


class Actor(StrEnum):
    """On whose behalf a ticket is acted on."""

    OWNER = "OWNER"
    STAFF = "STAFF"


_S, _A = QueueTicketState, QueueAction

TRANSITIONS: Final[dict[tuple[QueueTicketState, QueueAction, Actor], QueueTicketState]] = {
    (_S.WAITING, _A.CALL, Actor.STAFF): _S.CALLED,
    (_S.WAITING, _A.SEAT, Actor.STAFF): _S.SEATED,
    (_S.WAITING, _A.CANCEL, Actor.STAFF): _S.CANCELLED,
    (_S.WAITING, _A.CANCEL, Actor.OWNER): _S.CANCELLED,
    # Calling a called party again is a success that changes nothing: two clerks, or a second tap.
    (_S.CALLED, _A.CALL, Actor.STAFF): _S.CALLED,
    (_S.CALLED, _A.SEAT, Actor.STAFF): _S.SEATED,
    (_S.CALLED, _A.SKIP, Actor.STAFF): _S.SKIPPED,
    (_S.CALLED, _A.CANCEL, Actor.STAFF): _S.CANCELLED,
    (_S.CALLED, _A.CANCEL, Actor.OWNER): _S.CANCELLED,
    # A party that missed its call: straight to the door when it turns up and a table is free, or back in line.
    (_S.SKIPPED, _A.CALL, Actor.STAFF): _S.CALLED,
    (_S.SKIPPED, _A.REQUEUE, Actor.STAFF): _S.WAITING,
    (_S.SKIPPED, _A.CANCEL, Actor.STAFF): _S.CANCELLED,
    (_S.SKIPPED, _A.CANCEL, Actor.OWNER): _S.CANCELLED,
}
"""(state, action, actor) → state; what is not here is not allowed. Expiry is time's doing."""

EVENTS: Final[dict[QueueAction, str]] = {
    _A.CALL: "ticket.called",
    _A.SEAT: "ticket.seated",
    _A.SKIP: "ticket.skipped",
    _A.REQUEUE: "ticket.requeued",
    _A.CANCEL: "ticket.cancelled",
}

OPEN_STATES: Final = (_S.WAITING, _S.CALLED, _S.SKIPPED)
"""States that something can still happen to."""


@dataclass(slots=True)
class Ticket:
    """A number somebody holds. ``position`` (1 = next) and the estimate exist only while it is WAITING."""

    id: UUID
    store_id: UUID
    queue_class_id: UUID
    business_date: date
    sequence: int
    rank: int
    number: str
    state: QueueTicketState
    version: int
    party_size: int
    consumer_id: UUID | None
    phone: str | None
    taken_at: datetime
    called_at: datetime | None
    seated_at: datetime | None
    closed_at: datetime | None
    position: int | None = None
    estimated_wait_minutes: int | None = None


@dataclass(slots=True)
class ClassLine:
    """One class of a board. ``estimated_wait_minutes`` is for a party that would join now."""

    id: UUID
    store_id: UUID
    code: str
    min_party: int
    max_party: int
    waiting: int
    estimated_wait_minutes: int
    calling: list[Ticket]
    next: list[Ticket]


@dataclass(slots=True)
class Board:
    """The queue of one store as everybody may see it. ``open``: whether the staff hand out numbers."""

    store_id: UUID
    open: bool
    classes: list[ClassLine]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seatings of a class within PACE_WINDOW."""

    seatings: int
    first: datetime | None
    last: datetime | None


def estimate_minutes(position: int, table_count: int, turn_minutes: int, pace: Pace, now: datetime) -> int:
    """Minutes until the party at ``position`` (1 = next) is likely to be seated.

    With at least PACE_INTERVALS intervals between seatings in the last hour: ``position`` × the mean interval, where
    the interval still running since the last seating counts as soon as that lengthens the mean. Otherwise from table
    turns, ``turn_minutes × ⌈position / tables⌉``: the parties ahead fill the tables once per turn. Rounded up, to a
    minute within the first ten and to five minutes beyond; at least 1.
    """
    if pace.first is not None and pace.last is not None and pace.seatings > PACE_INTERVALS:
        closed = (pace.last - pace.first) / (pace.seatings - 1)
        with_running = (now - pace.first) / pace.seatings
        minutes = position * max(closed, with_running) / timedelta(minutes=1)
    else:
        minutes = float(turn_minutes * math.ceil(position / max(table_count, 1)))
    whole = max(math.ceil(round(minutes, 6)), 1)
    return whole if whole <= 10 else math.ceil(whole / 5) * 5


def wait_of_newcomer(waiting: int, table_count: int, turn_minutes: int, pace: Pace, now: datetime) -> int:
    """Minutes that a party which takes a number now is likely to wait.

    Zero when nobody waits and fewer parties were seated in the last hour than there are tables: one is free.
    """
    if waiting == 0 and pace.seatings < table_count:
        return 0
    return estimate_minutes(waiting + 1, table_count, turn_minutes, pace, now)


def actor_of(principal: Principal, ticket: Ticket) -> Actor | None:
    """As whom the principal may act on the ticket; None when it is none of theirs."""
    if principal.view is View.MERCHANT and principal.works_at(ticket.store_id):
        return Actor.STAFF
    if principal.view is View.CONSUMER and principal.subject is not None and principal.subject == ticket.consumer_id:
        return Actor.OWNER
    return None


def available_actions(principal: Principal, ticket: Ticket) -> list[QueueAction]:
    """What the principal may do to the ticket as it is; repeats that change nothing are left out."""
    actor = actor_of(principal, ticket)
    if actor is None:
        return []
    return [a for a in QueueAction if TRANSITIONS.get((ticket.state, a, actor), ticket.state) is not ticket.state]
