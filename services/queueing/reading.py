"""Tickets and boards as they stand at an instant: one SQL statement per question, with the feed's offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from auth.principals import Principal, View
from models.database import Connection, Database, Record
from models.queueing import QueueTicketState
from services.access import signed_in
from services.columns import ALL, Chosen, Columns, Shape, Wanted, by_value
from services.errors import NotFound
from services.merchants.business_day import business_date_sql
from services.queueing.rules import (
    OPEN_STATES,
    PACE_WINDOW,
    Board,
    ClassLine,
    Pace,
    Ticket,
    actor_of,
    estimate_minutes,
    wait_of_newcomer,
)
from services.runtime import Runtime

NEXT_SHOWN: Final = 20
"""Waiting tickets of a class that a board lists."""
HISTORY_SHOWN: Final = 100
"""Tickets of a consumer that are listed when past ones are asked for."""

COLUMNS: Final = (
    "id, store_id, queue_class_id, business_date, sequence, rank, number, state, version, party_size, "
    "consumer_id, phone, taken_at, called_at, seated_at, closed_at"
)
T_COLUMNS: Final = ", ".join(f"t.{name}" for name in COLUMNS.split(", "))

_TODAY: Final = business_date_sql("$1::timestamptz", "s.timezone")
_PACE: Final = f"""LEFT JOIN LATERAL (
        SELECT count(*) FILTER (WHERE p.state = 'WAITING') AS waiting,
               count(p.seated_at) FILTER (WHERE p.seated_at > $1::timestamptz - $2::interval) AS seatings,
               min(p.seated_at) FILTER (WHERE p.seated_at > $1::timestamptz - $2::interval) AS first_seated,
               max(p.seated_at) AS last_seated
        FROM queue_ticket p WHERE {{asked}} AND p.queue_class_id = c.id AND p.business_date = {_TODAY}
    ) line ON true"""

_TICKETS: Final = f"""
    SELECT {T_COLUMNS}, coalesce(h.top, 0) AS top, c.table_count, c.turn_minutes,
           line.seatings, line.first_seated, line.last_seated,
           t.business_date < {_TODAY} AS past,
           CASE WHEN $3::bool AND t.state = 'WAITING' THEN 1 + (
               SELECT count(*) FROM queue_ticket w
               WHERE w.queue_class_id = t.queue_class_id AND w.business_date = t.business_date
                 AND w.state = 'WAITING' AND w.rank < t.rank) END AS position
    FROM queue_ticket t
    JOIN store s ON s.id = t.store_id
    JOIN queue_class c ON c.id = t.queue_class_id
    LEFT JOIN feed_head h ON h.feed = 'queue:' || t.store_id
    {_PACE.format(asked="$3::bool")}
"""

_BOARD_TICKETS: Final = Shape(
    Ticket,
    "t",
    always=("id", "state"),  # by which it is known in which list a ticket is
    read={"state": by_value(QueueTicketState)},
    blank={"position": None, "estimated_wait_minutes": None},
)


@dataclass(frozen=True, slots=True)
class _Boards:
    """What of boards is read. Tickets are the last columns of a row."""

    classes: bool
    pace: bool
    calling: bool
    next: bool
    tickets: Chosen[Ticket]

    @classmethod
    def of(cls, columns: Columns) -> _Boards:
        line = columns.of(ClassLine)
        coming, pace = _wants(line, "next"), _wants(line, "waiting", "estimated_wait_minutes")
        return cls(
            classes=_wants(columns.of(Board), "classes"),
            pace=pace or (coming and _wants(columns.of(Ticket), "estimated_wait_minutes")),
            calling=_wants(line, "calling"),
            next=coming,
            tickets=_BOARD_TICKETS.choose(columns.of(Ticket)),
        )

    @property
    def sql(self) -> str:
        # PostgreSQL does not even begin with what is behind a constant that is false.
        return f"""
    SELECT s.id AS board_id, s.queue_open, coalesce(h.top, 0) AS top,
           c.id AS class_id, c.code, c.min_party, c.max_party, c.table_count, c.turn_minutes,
           line.waiting, line.seatings, line.first_seated, line.last_seated, t.position, t.id AS ticket_id,
           {self.tickets.sql}
    FROM store s
    LEFT JOIN feed_head h ON h.feed = 'queue:' || s.id
    LEFT JOIN queue_class c ON {self.classes} AND c.store_id = s.id
    {_PACE.format(asked=self.classes and self.pace)}
    LEFT JOIN LATERAL (
        (SELECT {COLUMNS}, row_number() OVER (ORDER BY w.rank) AS position FROM queue_ticket w
         WHERE {self.classes and self.next}
           AND w.queue_class_id = c.id AND w.business_date = {_TODAY} AND w.state = 'WAITING'
         ORDER BY w.rank LIMIT {NEXT_SHOWN})
        UNION ALL
        (SELECT {COLUMNS}, NULL FROM queue_ticket k
         WHERE {self.classes and self.calling}
           AND k.queue_class_id = c.id AND k.business_date = {_TODAY} AND k.state = 'CALLED')
    ) t ON true
    WHERE s.id = ANY($3::uuid[])
    ORDER BY s.id, c.min_party, c.code, t.position NULLS FIRST, t.called_at, t.sequence
"""

    def board(self, row: Record) -> Board:
        """The board, without its classes' lines, of its first row."""
        board = Board.__new__(Board)
        board.store_id, board.open = row["board_id"], row["queue_open"]
        if self.classes:
            board.classes = []
        return board

    def line(self, row: Record, now: datetime) -> ClassLine:
        """A class, without tickets, of its first row."""
        line = ClassLine.__new__(ClassLine)
        line.id, line.store_id, line.code = row["class_id"], row["board_id"], row["code"]
        line.min_party, line.max_party = row["min_party"], row["max_party"]
        if self.pace:
            tables, turn = row["table_count"], row["turn_minutes"]
            line.waiting = row["waiting"]
            line.estimated_wait_minutes = wait_of_newcomer(row["waiting"], tables, turn, _pace(row), now)
        if self.calling:
            line.calling = []
        if self.next:
            line.next = []
        return line

    def ticket(self, row: Record, now: datetime) -> Ticket:
        ticket = self.tickets.record(row[-len(self.tickets.names) :])
        position: int | None = row["position"]
        if position is not None:
            ticket.position = position
            if self.pace:
                tables, turn = row["table_count"], row["turn_minutes"]
                ticket.estimated_wait_minutes = estimate_minutes(position, tables, turn, _pace(row), now)
        return ticket


def _wants(wanted: Wanted, *names: str) -> bool:
    return wanted is None or not wanted.isdisjoint(names)


def plain(row: Record) -> Ticket:
    """The ticket of a row of COLUMNS, without its position."""
    return Ticket(
        id=row["id"],
        store_id=row["store_id"],
        queue_class_id=row["queue_class_id"],
        business_date=row["business_date"],
        sequence=row["sequence"],
        rank=row["rank"],
        number=row["number"],
        state=QueueTicketState(row["state"]),
        version=row["version"],
        party_size=row["party_size"],
        consumer_id=row["consumer_id"],
        phone=row["phone"],
        taken_at=row["taken_at"],
        called_at=row["called_at"],
        seated_at=row["seated_at"],
        closed_at=row["closed_at"],
    )


def _pace(row: Record) -> Pace:
    return Pace(row["seatings"], row["first_seated"], row["last_seated"])


def view(row: Record, now: datetime) -> Ticket:
    """The ticket as it stands at ``now``, from a row of _TICKETS."""
    ticket = plain(row)
    if row["past"]:
        return replace(ticket, state=QueueTicketState.EXPIRED) if ticket.state in OPEN_STATES else ticket
    position: int | None = row["position"]
    if position is None:
        return ticket
    minutes = estimate_minutes(position, row["table_count"], row["turn_minutes"], _pace(row), now)
    return replace(ticket, position=position, estimated_wait_minutes=minutes)


async def view_of(source: Connection, now: datetime, ticket_id: UUID) -> Ticket:
    """The ticket as it stands at ``now``, for a caller who may see it. Raises NotFound."""
    row = await source.fetchrow(f"{_TICKETS} WHERE t.id = $4", now, PACE_WINDOW, True, ticket_id)
    if row is None:
        raise NotFound(resource="QueueTicket")
    return view(row, now)


def _in_line(columns: Columns) -> bool:
    """Whether somebody looks at the place in line or the wait, for which the whole line is counted."""
    return _wants(columns.of(Ticket), "position", "estimated_wait_minutes")


async def ticket_snapshot(
    runtime: Runtime, principal: Principal, ticket_id: UUID, columns: Columns = ALL
) -> tuple[int, Ticket]:
    """The store's queue feed offset and the ticket at that offset, for its owner, the store's staff and devices.

    Raises NotFound.
    """
    now = runtime.clock.now()
    row = await runtime.database.fetchrow(f"{_TICKETS} WHERE t.id = $4", now, PACE_WINDOW, _in_line(columns), ticket_id)
    if row is not None:
        ticket = view(row, now)
        if actor_of(principal, ticket) is not None or principal.works_at(ticket.store_id):
            return row["top"], ticket
    raise NotFound(resource="QueueTicket")


async def get_ticket(runtime: Runtime, principal: Principal, ticket_id: UUID, columns: Columns = ALL) -> Ticket:
    """One ticket, for its owner, the store's staff and devices. Raises NotFound."""
    return (await ticket_snapshot(runtime, principal, ticket_id, columns))[1]


async def tickets_of_consumer(
    runtime: Runtime, principal: Principal, *, active: bool, columns: Columns = ALL
) -> list[Ticket]:
    """The caller's tickets, newest first: those something can still happen to, or with ``active`` false the last
    HISTORY_SHOWN of all. Raises PermissionDenied when nobody is signed in."""
    now = runtime.clock.now()
    rows = await runtime.database.fetch(
        f"""{_TICKETS} WHERE t.consumer_id = $4 AND (NOT $5::bool OR (
                t.state = ANY($6::text[]) AND t.business_date >= {_TODAY}))
            ORDER BY t.id DESC LIMIT {HISTORY_SHOWN}""",
        now,
        PACE_WINDOW,
        _in_line(columns),
        signed_in(principal),
        active,
        list(OPEN_STATES),
    )
    return [view(row, now) for row in rows]


async def boards_at(
    source: Database | Connection, now: datetime, store_ids: Sequence[UUID], columns: Columns = ALL
) -> dict[UUID, tuple[int, Board]]:
    """Feed offset and board of each store that exists, in one statement."""
    reading = _Boards.of(columns)
    found: dict[UUID, tuple[int, Board]] = {}
    for row in await source.fetch(reading.sql, now, PACE_WINDOW, list(store_ids)):
        known = found.get(row["board_id"])
        if known is None:
            known = found[row["board_id"]] = row["top"], reading.board(row)
        if row["class_id"] is None:
            continue
        classes = known[1].classes
        if not classes or classes[-1].id != row["class_id"]:
            classes.append(reading.line(row, now))
        if row["ticket_id"] is not None:
            ticket = reading.ticket(row, now)
            (classes[-1].next if ticket.state is QueueTicketState.WAITING else classes[-1].calling).append(ticket)
    return found


async def boards(
    runtime: Runtime, principal: Principal, store_ids: Sequence[UUID], columns: Columns = ALL
) -> list[Board | None]:
    """The boards of the stores, in their order and in one SQL statement; None for an unknown store.

    Boards are public, except that a device sees only the one of its own store.
    """
    visible = [s for s in store_ids if principal.view is not View.DEVICE or principal.works_at(s)]
    found = await boards_at(runtime.database, runtime.clock.now(), visible, columns)
    return [found[s][1] if s in found else None for s in store_ids]


async def board_snapshot(runtime: Runtime, principal: Principal, store_id: UUID) -> tuple[int, Board]:
    """The queue feed's offset and the board at that offset. Raises NotFound."""
    if principal.view is not View.DEVICE or principal.works_at(store_id):
        found = await boards_at(runtime.database, runtime.clock.now(), [store_id])
        if store_id in found:
            return found[store_id]
    raise NotFound(resource="Store")


async def get_class(runtime: Runtime, principal: Principal, class_id: UUID) -> ClassLine:
    """One class with its line. Raises NotFound."""
    store_id = await runtime.database.fetchval("SELECT store_id FROM queue_class WHERE id = $1", class_id)
    if store_id is not None:
        _, board = await board_snapshot(runtime, principal, store_id)
        for line in board.classes:
            if line.id == class_id:
                return line
    raise NotFound(resource="QueueClass")
