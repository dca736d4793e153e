"""Taking numbers, calling, seating: every change of a line, each in one transaction with its events.

The number is daily: class code and a sequence that starts at 1 every business date and has neither gaps nor
duplicates, because it is counted under the lock of the class row. A ticket of an earlier business date reads as
EXPIRED from the end of that date on, whether or not the job that records it has run.

Lock order: idempotency key, class row (taking, requeueing, expiring), ticket rows, feed head at the end of the unit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import date, timedelta
from typing import Any, Final
from uuid import UUID

from asyncpg import UniqueViolationError

from auth.principals import Principal, View
from core import phones
from models.database import Connection, Database, Record
from models.ordering import FulfilmentMode
from models.queueing import QueueAction, QueueTicketState
from services import idempotency, merchants, pricing
from services.access import signed_in
from services.errors import (
    AlreadyQueued,
    InvalidInput,
    NotFound,
    PartyTooLarge,
    PermissionDenied,
    QueueActionNotAllowed,
    QueueClosed,
    QueueEmpty,
)
from services.merchants import StoreRecord
from services.merchants.business_day import business_date, business_date_sql, business_day_end
from services.queueing.reading import COLUMNS, T_COLUMNS, boards_at, plain, view, view_of
from services.queueing.rules import (
    EVENTS,
    OPEN_STATES,
    REQUEUE_BEHIND,
    TRANSITIONS,
    Board,
    Ticket,
    actor_of,
)
from services.runtime import Runtime
from services.unit import Unit, transaction
from subscriptions.feeds import CITY, QUEUE

RANK_STEP: Final = 1 << 32
"""Distance of new ranks: room to requeue 32 times into the same gap before the line is respaced."""


def _require_staff(principal: Principal, store_id: UUID) -> None:
    if principal.view is not View.MERCHANT or not principal.works_at(store_id):
        raise NotFound(resource="Store")


def _payload(ticket: Ticket) -> dict[str, Any]:
    """The ticket's row for the event log, without the phone: the log is read for many and kept for days."""
    row = {name: getattr(ticket, name) for name in COLUMNS.split(", ") if name != "phone"}
    # The driver's UUIDs are a class of their own that the JSON encoder does not know.
    return {"ticket": {name: str(value) if isinstance(value, UUID) else value for name, value in row.items()}}


def _tell(unit: Unit, city_id: UUID, type: str, tickets: Iterable[Ticket]) -> None:
    """One event per changed ticket; the city's figures count waiting parties."""
    for ticket in tickets:
        unit.emit((QUEUE.of(ticket.store_id),), type, _payload(ticket))
    unit.signal(CITY.of(city_id))


async def _class_for(unit: Unit, store_id: UUID, party_size: int) -> Record:
    """The class with the smallest tables that seat the party, locked.

    Raises QueueClosed when the staff closed the queue or there are no classes, PartyTooLarge when none is large
    enough.
    """
    classes = await unit.sql.fetch(
        """SELECT c.id, c.code, c.max_party FROM queue_class c JOIN store s ON s.id = c.store_id
           WHERE s.id = $1 AND s.queue_open ORDER BY c.max_party, c.code""",
        store_id,
    )
    if not classes:
        raise QueueClosed(store=store_id)
    chosen = next((c for c in classes if party_size <= c["max_party"]), None)
    if chosen is None:
        raise PartyTooLarge(maximum=classes[-1]["max_party"])
    await _lock_class(unit, chosen["id"])
    return chosen


async def _lock_class(unit: Unit, class_id: UUID) -> None:
    await unit.sql.execute("SELECT FROM queue_class WHERE id = $1 FOR NO KEY UPDATE", class_id)


async def take_number(
    runtime: Runtime, principal: Principal, store_id: UUID, party_size: int, phone: str | None, idempotency_key: str
) -> Ticket:
    """A new number: for the calling consumer, or handed out at the door by the store's staff.

    ``phone`` is where to reach the party, optional. A consumer waits at a store at most once: one who was skipped
    may take a new number instead of being brought back. Raises InvalidInput, PartyTooLarge, QueueClosed (by the
    staff, outside opening hours, or no dine-in), AlreadyQueued, IdempotencyConflict, PermissionDenied, NotFound.
    """
    subject = signed_in(principal)
    if principal.view is View.MERCHANT:
        _require_staff(principal, store_id)
    elif principal.view is not View.CONSUMER:
        raise PermissionDenied(reason="only consumers and staff take numbers")
    if party_size <= 0:
        raise InvalidInput(field="partySize", reason="must be at least 1")
    reach = phones.normalise(phone) if phone is not None else None
    if phone is not None and reach is None:
        raise InvalidInput(field="phone", reason="not a phone number")
    consumer_id = subject if principal.view is View.CONSUMER else None
    request = {"store": store_id, "party_size": party_size, "phone": reach}
    # Read on a connection of its own before the transaction: inside, parallel takers would exhaust the pool.
    store = await merchants.get_store(runtime, store_id)
    async with transaction(runtime) as unit:
        answered = await idempotency.recall(unit, principal, idempotency_key, "takeQueueNumber", request)
        if answered is not None:
            return await view_of(unit.sql, unit.now, UUID(answered["ticket"]))
        if FulfilmentMode.DINE_IN not in store.services or not pricing.is_open(store, unit.now):
            raise QueueClosed(store=store_id)
        queue_class = await _class_for(unit, store_id, party_size)
        ticket = await _insert(unit, store, queue_class, party_size, consumer_id, reach)
        await idempotency.remember(unit, principal, idempotency_key, {"ticket": str(ticket.id)})
        return await view_of(unit.sql, unit.now, ticket.id)


async def _insert(
    unit: Unit, store: StoreRecord, queue_class: Record, party_size: int, consumer_id: UUID | None, phone: str | None
) -> Ticket:
    today = business_date(store.timezone, unit.now)
    if consumer_id is not None:
        # Yesterday's number must not keep anybody from taking today's. Only the one that counts as active: locking
        # several rows here could deadlock with the expiry of their class.
        stale = await _mark_expired(
            unit,
            today - timedelta(days=1),
            "state <> 'SKIPPED' AND store_id = $4 AND consumer_id = $5",
            store.id,
            consumer_id,
        )
        if stale:
            _tell(unit, store.city_id, "ticket.expired", stale)
    row = await unit.sql.fetchrow(
        f"""INSERT INTO queue_ticket ({COLUMNS})
            SELECT $1, $2, $3, $4, seq.n, seq.rank, $5 || lpad(seq.n::text, greatest(3, length(seq.n::text)), '0'),
                   'WAITING', 1, $6, $7, $8, $9, NULL, NULL, NULL
            FROM (SELECT coalesce(max(sequence), 0) + 1 AS n, coalesce(max(rank), 0) + {RANK_STEP} AS rank
                  FROM queue_ticket WHERE queue_class_id = $3 AND business_date = $4) seq
            ON CONFLICT (store_id, consumer_id) WHERE consumer_id IS NOT NULL AND state IN ('WAITING', 'CALLED')
            DO NOTHING RETURNING {COLUMNS}""",
        unit.runtime.new_id(),
        store.id,
        queue_class["id"],
        today,
        queue_class["code"],
        party_size,
        consumer_id,
        phone,
        unit.now,
    )
    if row is None:
        assert consumer_id is not None
        raise await _already_queued(unit.sql, store.id, consumer_id)
    ticket = plain(row)
    if ticket.sequence == 1:
        unit.enqueue(
            "queue_expire",
            {"queue_class": str(queue_class["id"]), "business_date": today},
            at=business_day_end(store.timezone, today),
        )
    _tell(unit, store.city_id, "ticket.taken", [ticket])
    return ticket


async def _already_queued(source: Connection | Database, store_id: UUID, consumer_id: UUID) -> AlreadyQueued | NotFound:
    ticket_id = await source.fetchval(
        """SELECT id FROM queue_ticket
           WHERE store_id = $1 AND consumer_id = $2 AND state IN ('WAITING', 'CALLED')""",
        store_id,
        consumer_id,
    )
    # The other ticket may have ended meanwhile; the caller can simply try again.
    return AlreadyQueued(ticket=ticket_id) if ticket_id is not None else NotFound(resource="QueueTicket")


async def act(runtime: Runtime, principal: Principal, ticket_id: UUID, action: QueueAction) -> Ticket:
    """Move a ticket along TRANSITIONS.

    Raises QueueActionNotAllowed, NotFound, and AlreadyQueued when a skipped party is brought back that meanwhile
    took a new number.
    """
    ticket: Ticket | None = None
    try:
        async with transaction(runtime) as unit:
            if action is QueueAction.REQUEUE:
                await unit.sql.execute(
                    """SELECT FROM queue_class WHERE id = (SELECT queue_class_id FROM queue_ticket WHERE id = $1)
                       FOR NO KEY UPDATE""",
                    ticket_id,
                )
            row = await unit.sql.fetchrow(
                f"""SELECT {T_COLUMNS}, s.city_id, NULL AS position,
                           t.business_date < {business_date_sql("$2::timestamptz", "s.timezone")} AS past
                    FROM queue_ticket t JOIN store s ON s.id = t.store_id WHERE t.id = $1 FOR UPDATE OF t""",
                ticket_id,
                unit.now,
            )
            if row is None:
                raise NotFound(resource="QueueTicket")
            ticket = view(row, unit.now)
            actor = actor_of(principal, ticket)
            if actor is None:
                raise NotFound(resource="QueueTicket")
            target = TRANSITIONS.get((ticket.state, action, actor))
            if target is None:
                raise QueueActionNotAllowed(ticket=ticket_id, state=ticket.state, action=action)
            if target is not ticket.state:
                await _move(unit, ticket, action, target, row["city_id"])
            return await view_of(unit.sql, unit.now, ticket_id)
    except UniqueViolationError as violation:
        # The only unique rule a move can break: another ticket of the same consumer is active at this store.
        if ticket is None or ticket.consumer_id is None:
            raise
        raise await _already_queued(runtime.database, ticket.store_id, ticket.consumer_id) from violation


async def _move(unit: Unit, ticket: Ticket, action: QueueAction, target: QueueTicketState, city_id: UUID) -> None:
    rank = await _requeue_rank(unit, ticket, city_id) if action is QueueAction.REQUEUE else ticket.rank
    row = await unit.sql.fetchrow(
        f"""UPDATE queue_ticket SET state = $4::text, version = version + 1, rank = $5,
                called_at = CASE $4::text
                    WHEN 'CALLED' THEN $6::timestamptz WHEN 'WAITING' THEN NULL ELSE called_at END,
                seated_at = CASE $4::text WHEN 'SEATED' THEN $6::timestamptz END,
                closed_at = CASE WHEN $4::text IN ('SEATED', 'CANCELLED') THEN $6::timestamptz END
            WHERE id = $1 AND state = $2 AND version = $3 RETURNING {COLUMNS}""",
        ticket.id,
        ticket.state,
        ticket.version,
        target,
        rank,
        unit.now,
    )
    if row is None:
        raise QueueActionNotAllowed(ticket=ticket.id, state=ticket.state, action=action)
    _tell(unit, city_id, EVENTS[action], [plain(row)])


async def _requeue_rank(unit: Unit, ticket: Ticket, city_id: UUID) -> int:
    """A rank behind the first REQUEUE_BEHIND waiting tickets of the class, whose row the caller has locked."""
    line = (ticket.queue_class_id, ticket.business_date)
    ranks = await _first_ranks(unit, *line)
    if len(ranks) > REQUEUE_BEHIND and ranks[-1] - ranks[-2] < 2:
        rows = await unit.sql.fetch(
            f"""UPDATE queue_ticket t SET rank = fresh.rank, version = version + 1
                FROM (SELECT id AS waiting_id, {RANK_STEP} * row_number() OVER (ORDER BY rank) AS rank
                      FROM queue_ticket WHERE queue_class_id = $1 AND business_date = $2 AND state = 'WAITING') fresh
                WHERE t.id = fresh.waiting_id AND t.state = 'WAITING' RETURNING {T_COLUMNS}""",
            *line,
        )
        _tell(unit, city_id, "ticket.moved", map(plain, rows))
        ranks = await _first_ranks(unit, *line)  # others may have left the line meanwhile
    if len(ranks) > REQUEUE_BEHIND:
        return (ranks[-1] + ranks[-2]) // 2
    return RANK_STEP + await unit.sql.fetchval(
        "SELECT max(rank) FROM queue_ticket WHERE queue_class_id = $1 AND business_date = $2", *line
    )


async def _first_ranks(unit: Unit, class_id: UUID, day: date) -> list[int]:
    rows = await unit.sql.fetch(
        f"""SELECT rank FROM queue_ticket WHERE queue_class_id = $1 AND business_date = $2 AND state = 'WAITING'
            ORDER BY rank LIMIT {REQUEUE_BEHIND + 1}""",
        class_id,
        day,
    )
    return [row["rank"] for row in rows]


async def call_next(
    runtime: Runtime, principal: Principal, store_id: UUID, class_id: UUID, idempotency_key: str
) -> Ticket:
    """Call the first waiting party of a class. Two clerks at once call two parties, one key calls one.

    Raises QueueEmpty, IdempotencyConflict, InvalidInput, and NotFound for a store the caller does not work at or a
    class that is not of the store.
    """
    _require_staff(principal, store_id)

    async def call(alone: bool) -> Ticket | None:
        with suppress(_NobodyFree):
            return await _call_first(runtime, principal, store_id, class_id, idempotency_key, alone=alone)

    called = await call(alone=False)
    # A requeue that respaces the line holds all of it at once, so that everything was passed over: look again when it
    # is done. In a transaction of its own, because the first look may have left locks behind that the requeue needs.
    called = called or await call(alone=True)
    if called is None:
        code = await runtime.database.fetchval("SELECT code FROM queue_class WHERE id = $1", class_id)
        raise QueueEmpty(code_name=code)
    return called


class _NobodyFree(Exception):
    """Nobody waits whose ticket can be had. Rolls back, so that the key may be used again."""


async def _call_first(
    runtime: Runtime, principal: Principal, store_id: UUID, class_id: UUID, idempotency_key: str, *, alone: bool
) -> Ticket:
    """Call the first waiting ticket that nobody else holds; with ``alone`` wait for changes of the whole line.

    Raises _NobodyFree.
    """
    async with transaction(runtime) as unit:
        request = {"store": store_id, "class": class_id}
        answered = await idempotency.recall(unit, principal, idempotency_key, "callNext", request)
        if answered is not None:
            return await view_of(unit.sql, unit.now, UUID(answered["ticket"]))
        if alone:
            await _lock_class(unit, class_id)
        store = await unit.sql.fetchrow(
            """SELECT s.timezone, s.city_id FROM queue_class c JOIN store s ON s.id = c.store_id
               WHERE c.id = $1 AND c.store_id = $2""",
            class_id,
            store_id,
        )
        if store is None:
            raise NotFound(resource="QueueClass")
        row = await unit.sql.fetchrow(
            f"""UPDATE queue_ticket SET state = 'CALLED', version = version + 1, called_at = $3
                WHERE id = (SELECT id FROM queue_ticket
                            WHERE queue_class_id = $1 AND business_date = $2 AND state = 'WAITING'
                            ORDER BY rank LIMIT 1 FOR UPDATE SKIP LOCKED)
                RETURNING {COLUMNS}""",
            class_id,
            business_date(store["timezone"], unit.now),
            unit.now,
        )
        if row is None:
            raise _NobodyFree
        ticket = plain(row)
        _tell(unit, store["city_id"], EVENTS[QueueAction.CALL], [ticket])
        await idempotency.remember(unit, principal, idempotency_key, {"ticket": str(ticket.id)})
        return ticket


async def set_open(runtime: Runtime, principal: Principal, store_id: UUID, open: bool) -> Board:
    """Start or stop handing out numbers; those who wait keep waiting. Raises NotFound."""
    _require_staff(principal, store_id)
    async with transaction(runtime) as unit:
        changed = await unit.sql.execute(
            "UPDATE store SET queue_open = $2 WHERE id = $1 AND queue_open <> $2", store_id, open
        )
        if changed:
            unit.emit((QUEUE.of(store_id),), "queue.opened" if open else "queue.closed", {"open": open})
        found = await boards_at(unit.sql, unit.now, [store_id])
        if store_id not in found:
            raise NotFound(resource="Store")
        return found[store_id][1]


# the end of the day


async def _mark_expired(unit: Unit, last_day: date, scope: str, *keys: UUID) -> list[Ticket]:
    """End the open tickets up to the business date ``last_day`` within ``scope``, SQL whose parameters start at $4."""
    rows = await unit.sql.fetch(
        f"""UPDATE queue_ticket SET state = 'EXPIRED', version = version + 1, closed_at = $1
            WHERE state = ANY($2::text[]) AND business_date <= $3 AND {scope} RETURNING {COLUMNS}""",
        unit.now,
        list(OPEN_STATES),
        last_day,
        *keys,
    )
    return [plain(row) for row in rows]


async def expire(runtime: Runtime, payload: dict[str, Any]) -> None:
    """Job ``queue_expire``: record that the open tickets of a class up to a business date are over. Repeatable."""
    class_id, day = UUID(payload["queue_class"]), date.fromisoformat(payload["business_date"])
    async with transaction(runtime) as unit:
        city_id = await unit.sql.fetchval(
            """SELECT s.city_id FROM queue_class c JOIN store s ON s.id = c.store_id WHERE c.id = $1
               FOR NO KEY UPDATE OF c""",
            class_id,
        )
        expired = await _mark_expired(unit, day, "queue_class_id = $4", class_id)
        if expired:
            _tell(unit, city_id, "ticket.expired", expired)


JOBS: Final[dict[str, Callable[[Runtime, dict[str, Any]], Awaitable[None]]]] = {"queue_expire": expire}
