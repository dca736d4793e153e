"""Taking, calling, seating and the rest against PostgreSQL: answers, refusals, events, the end of the day."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import cast
from uuid import UUID

import orjson
import pytest

from auth.principals import ANONYMOUS, Principal
from core.clock import ManualClock
from core.ids import uuid7
from models.queueing import QueueAction, QueueTicketState
from services import queueing
from services.errors import (
    AlreadyQueued,
    IdempotencyConflict,
    InvalidInput,
    NotFound,
    PartyTooLarge,
    PermissionDenied,
    QueueActionNotAllowed,
    QueueClosed,
    QueueEmpty,
)
from services.queueing.reading import NEXT_SHOWN
from services.runtime import Runtime
from subscriptions import feeds
from subscriptions.feeds import CITY, QUEUE
from tests.queueing.world import NOON_TO_TEN, Shop, admin_of, consumer, open_shop, staff_of, take
from tests.support import NOON, RecordedSignals, make_runtime

W, CALLED, SEATED, SKIPPED = (
    QueueTicketState.WAITING,
    QueueTicketState.CALLED,
    QueueTicketState.SEATED,
    QueueTicketState.SKIPPED,
)
CALL, SEAT, SKIP, REQUEUE, CANCEL = QueueAction


@pytest.fixture
async def runtime(module_database_url: str) -> AsyncIterator[Runtime]:
    async with make_runtime(module_database_url) as runtime:
        yield runtime


def clock_of(runtime: Runtime) -> ManualClock:
    return cast(ManualClock, runtime.clock)


async def events_of(runtime: Runtime, shop: Shop) -> list[feeds.Event]:
    return await feeds.read(runtime.database, QUEUE.of(shop.id), 0)


async def positions(runtime: Runtime, shop: Shop, code: str = "A") -> list[str]:
    _, board = await queueing.board_snapshot(runtime, shop.clerk, shop.id)
    line = next(c for c in board.classes if c.code == code)
    assert [t.position for t in line.next] == list(range(1, len(line.next) + 1))
    return [t.number for t in line.next]


async def take_many(runtime: Runtime, shop: Shop, count: int, party: int = 2) -> list[queueing.Ticket]:
    return [await take(runtime, shop.clerk, shop, party) for _ in range(count)]


async def missed(runtime: Runtime, shop: Shop, ticket_id: UUID) -> None:
    await queueing.act(runtime, shop.clerk, ticket_id, CALL)
    await queueing.act(runtime, shop.clerk, ticket_id, SKIP)


async def test_consumer_takes_is_called_and_seated(runtime: Runtime) -> None:
    shop, guest = await open_shop(runtime), consumer()
    ticket = await take(runtime, guest, shop, 3)
    assert (ticket.number, ticket.state, ticket.position, ticket.version) == ("B001", W, 1, 1)
    assert (ticket.estimated_wait_minutes, ticket.taken_at, ticket.consumer_id) == (45, NOON, guest.subject)
    called = await queueing.call_next(runtime, shop.clerk, shop.id, shop.classes["B"], str(uuid7()))
    assert (called.id, called.state, called.position, called.called_at) == (ticket.id, CALLED, None, NOON)
    seated = await queueing.act(runtime, shop.clerk, ticket.id, SEAT)
    assert (seated.state, seated.seated_at, seated.closed_at, seated.version) == (SEATED, NOON, NOON, 3)
    assert [e.type for e in await events_of(runtime, shop)] == ["ticket.taken", "ticket.called", "ticket.seated"]
    signals = cast(RecordedSignals, runtime.signals).published
    assert {s.feed for s in signals} == {QUEUE.of(shop.id), CITY.of(shop.city_id)}


async def test_events_carry_the_row_without_the_phone(runtime: Runtime) -> None:
    shop = await open_shop(runtime)
    ticket = await queueing.take_number(runtime, shop.clerk, shop.id, 2, "138 0013 8000", "k")
    assert ticket.phone == "+8613800138000"
    (event,) = await events_of(runtime, shop)
    assert event.payload["ticket"] | {"phone": 0} == {
        "id": str(ticket.id),
        "store_id": str(shop.id),
        "queue_class_id": str(shop.classes["A"]),
        "business_date": "2026-03-02",
        "sequence": 1,
        "rank": ticket.rank,
        "number": "A001",
        "state": "WAITING",
        "version": 1,
        "party_size": 2,
        "consumer_id": None,
        "taken_at": "2026-03-02T04:00:00+00:00",
        "called_at": None,
        "seated_at": None,
        "closed_at": None,
        "phone": 0,
    }
    assert "13800138000" not in orjson.dumps(event.payload).decode()


@pytest.mark.parametrize(("party", "code"), [(1, "A"), (2, "A"), (3, "B"), (5, "C"), (8, "C")])
async def test_party_size_chooses_the_class(runtime: Runtime, party: int, code: str) -> None:
    shop = await open_shop(runtime)
    assert (await take(runtime, shop.clerk, shop, party)).number == f"{code}001"


async def test_a_gap_between_classes_goes_to_the_larger_tables(runtime: Runtime) -> None:
    shop = await open_shop(runtime, classes=(("A", 2, 2, 1, 30), ("D", 5, 6, 1, 30)))
    assert (await take(runtime, shop.clerk, shop, 1)).number == "A001"
    assert (await take(runtime, shop.clerk, shop, 3)).number == "D001"


@pytest.mark.parametrize("party", [0, -1, -(2**31)])
async def test_party_must_be_positive(runtime: Runtime, party: int) -> None:
    shop = await open_shop(runtime)
    with pytest.raises(InvalidInput) as refused:
        await take(runtime, consumer(), shop, party)
    assert refused.value.field == "partySize"


@pytest.mark.parametrize("party", [9, 2**31 - 1])
async def test_party_too_large(runtime: Runtime, party: int) -> None:
    shop = await open_shop(runtime)
    with pytest.raises(PartyTooLarge) as refused:
        await take(runtime, consumer(), shop, party)
    assert refused.value.maximum == 8


@pytest.mark.parametrize("phone", ["", "12", "not a phone", "1" * 200])
async def test_bad_phone(runtime: Runtime, phone: str) -> None:
    shop = await open_shop(runtime)
    with pytest.raises(InvalidInput) as refused:
        await queueing.take_number(runtime, shop.clerk, shop.id, 2, phone, "k")
    assert refused.value.field == "phone"


@pytest.mark.parametrize("key", ["", "x" * 81, "a\nb"])
async def test_bad_idempotency_key(runtime: Runtime, key: str) -> None:
    shop = await open_shop(runtime)
    with pytest.raises(InvalidInput) as refused:
        await queueing.take_number(runtime, consumer(), shop.id, 2, None, key)
    assert refused.value.field == "idempotencyKey"


async def test_queue_closed_for_every_reason(runtime: Runtime) -> None:
    late = [{"weekday": 1, "opens": "17:00", "closes": "22:00"}]
    for shop in (
        await open_shop(runtime, services='["DELIVERY", "PICKUP"]'),
        await open_shop(runtime, hours=late),
        await open_shop(runtime, status="CLOSED"),
        await open_shop(runtime, classes=()),
    ):
        with pytest.raises(QueueClosed):
            await take(runtime, consumer(), shop)
        assert await events_of(runtime, shop) == []


async def test_strangers_find_nothing(runtime: Runtime) -> None:
    shop, guest = await open_shop(runtime), consumer()
    ticket = await take(runtime, guest, shop)
    with pytest.raises(PermissionDenied):
        await take(runtime, ANONYMOUS, shop)
    with pytest.raises(PermissionDenied):
        await take(runtime, admin_of(shop.city_id), shop)
    with pytest.raises(NotFound):
        await take(runtime, staff_of(uuid7()), shop)
    with pytest.raises(NotFound):
        await take(runtime, guest, Shop(uuid7(), shop.city_id))
    with pytest.raises(PermissionDenied):
        await queueing.tickets_of_consumer(runtime, ANONYMOUS, active=True)
    for stranger in (consumer(), staff_of(uuid7()), admin_of(shop.city_id), ANONYMOUS):
        with pytest.raises(NotFound):
            await queueing.get_ticket(runtime, stranger, ticket.id)
        with pytest.raises(NotFound):
            await queueing.act(runtime, stranger, ticket.id, CANCEL)
        with pytest.raises(NotFound):
            await queueing.call_next(runtime, stranger, shop.id, shop.classes["A"], str(uuid7()))
        with pytest.raises(NotFound):
            await queueing.set_open(runtime, stranger, shop.id, False)
    for action in QueueAction:
        with pytest.raises(NotFound):
            await queueing.act(runtime, shop.clerk, uuid7(), action)
        with pytest.raises(NotFound):
            await queueing.act(runtime, shop.device, ticket.id, action)
    assert (await queueing.get_ticket(runtime, guest, ticket.id)).version == 1


async def test_owner_may_only_cancel(runtime: Runtime) -> None:
    shop, guest = await open_shop(runtime), consumer()
    ticket = await take(runtime, guest, shop)
    for action in (CALL, SEAT, SKIP, REQUEUE):
        with pytest.raises(QueueActionNotAllowed) as refused:
            await queueing.act(runtime, guest, ticket.id, action)
        assert (refused.value.ticket, refused.value.state, refused.value.action) == (ticket.id, W, action)
    assert (await queueing.act(runtime, guest, ticket.id, CANCEL)).closed_at == NOON
    with pytest.raises(QueueActionNotAllowed):
        await queueing.act(runtime, guest, ticket.id, CANCEL)


async def test_one_active_ticket_per_store_and_consumer(runtime: Runtime) -> None:
    shop, other, guest = await open_shop(runtime), await open_shop(runtime), consumer()
    ticket = await take(runtime, guest, shop)
    for state_change in (None, CALL):
        if state_change:
            await queueing.act(runtime, shop.clerk, ticket.id, state_change)
        with pytest.raises(AlreadyQueued) as refused:
            await take(runtime, guest, shop, 5)
        assert refused.value.ticket == ticket.id
    await take(runtime, guest, other)
    await queueing.act(runtime, shop.clerk, ticket.id, SEAT)
    assert (await take(runtime, guest, shop)).number == "A002"


async def test_a_skipped_guest_with_a_new_number_is_not_brought_back(runtime: Runtime) -> None:
    shop, guest = await open_shop(runtime), consumer()
    old = await take(runtime, guest, shop)
    await missed(runtime, shop, old.id)
    new = await take(runtime, guest, shop)
    for action in (CALL, REQUEUE):
        with pytest.raises(AlreadyQueued) as refused:
            await queueing.act(runtime, shop.clerk, old.id, action)
        assert refused.value.ticket == new.id
    active = await queueing.tickets_of_consumer(runtime, guest, active=True)
    assert [(t.id, t.state, t.position) for t in active] == [(new.id, W, 1), (old.id, SKIPPED, None)]


async def test_calling_again_changes_nothing(runtime: Runtime) -> None:
    shop = await open_shop(runtime)
    ticket = await take(runtime, shop.clerk, shop)
    first = await queueing.act(runtime, shop.clerk, ticket.id, CALL)
    assert await queueing.act(runtime, shop.clerk, ticket.id, CALL) == first
    assert len(await events_of(runtime, shop)) == 2


async def test_requeue_behind_the_first_three(runtime: Runtime) -> None:
    shop = await open_shop(runtime)
    first, *_ = await take_many(runtime, shop, 6)
    await missed(runtime, shop, first.id)
    back = await queueing.act(runtime, shop.clerk, first.id, REQUEUE)
    assert (back.number, back.position, back.called_at) == ("A001", 4, None)
    assert await positions(runtime, shop) == ["A002", "A003", "A004", "A001", "A005", "A006"]
    assert (await take(runtime, shop.clerk, shop)).position == 7


async def test_requeue_at_the_end_of_a_short_line(runtime: Runtime) -> None:
    shop = await open_shop(runtime)
    first, *_ = await take_many(runtime, shop, 3)
    await missed(runtime, shop, first.id)
    assert (await queueing.act(runtime, shop.clerk, first.id, REQUEUE)).position == 3
    assert (await take(runtime, shop.clerk, shop)).number == "A004"
    assert await positions(runtime, shop) == ["A002", "A003", "A001", "A004"]


async def test_requeue_respaces_when_there_is_no_room(runtime: Runtime) -> None:
    shop = await open_shop(runtime)
    tickets = await take_many(runtime, shop, 6)
    for rank, ticket in enumerate(tickets, start=1):
        await runtime.database.execute("UPDATE queue_ticket SET rank = $2 WHERE id = $1", ticket.id, rank)
    await missed(runtime, shop, tickets[0].id)
    assert (await queueing.act(runtime, shop.clerk, tickets[0].id, REQUEUE)).position == 4
    assert await positions(runtime, shop) == ["A002", "A003", "A004", "A001", "A005", "A006"]
    assert await replayed(runtime, shop) == await stored(runtime, shop)


async def test_call_next_per_class_and_empty(runtime: Runtime) -> None:
    shop, other = await open_shop(runtime), await open_shop(runtime)
    await take(runtime, shop.clerk, shop, 4)
    with pytest.raises(QueueEmpty) as refused:
        await queueing.call_next(runtime, shop.clerk, shop.id, shop.classes["A"], str(uuid7()))
    assert refused.value.code_name == "A"
    assert (await queueing.call_next(runtime, shop.clerk, shop.id, shop.classes["B"], str(uuid7()))).number == "B001"
    with pytest.raises(NotFound):
        await queueing.call_next(runtime, shop.clerk, shop.id, other.classes["A"], str(uuid7()))


async def test_same_key_same_answer_other_input_conflict(runtime: Runtime) -> None:
    shop, guest = await open_shop(runtime), consumer()
    first = await take(runtime, guest, shop, 2, "tap")
    await queueing.set_open(runtime, shop.clerk, shop.id, False)
    assert await take(runtime, guest, shop, 2, "tap") == first
    with pytest.raises(IdempotencyConflict):
        await take(runtime, guest, shop, 3, "tap")
    assert (await runtime.database.fetchval("SELECT count(*) FROM queue_ticket WHERE store_id = $1", shop.id)) == 1


async def test_a_refused_attempt_frees_its_key_and_leaves_no_gap(runtime: Runtime) -> None:
    shop, guest = await open_shop(runtime), consumer()
    await queueing.set_open(runtime, shop.clerk, shop.id, False)
    with pytest.raises(QueueClosed):
        await take(runtime, guest, shop, 2, "k")
    await queueing.set_open(runtime, shop.clerk, shop.id, True)
    assert (await take(runtime, guest, shop, 2, "k")).number == "A001"
    with pytest.raises(AlreadyQueued):
        await take(runtime, guest, shop, 1, "k2")
    assert (await take(runtime, consumer(), shop, 1)).number == "A002"


async def test_set_open_tells_once(runtime: Runtime) -> None:
    shop = await open_shop(runtime)
    ticket = await take(runtime, shop.clerk, shop)
    assert not (await queueing.set_open(runtime, shop.clerk, shop.id, False)).open
    assert not (await queueing.set_open(runtime, shop.clerk, shop.id, False)).open
    assert (await queueing.call_next(runtime, shop.clerk, shop.id, shop.classes["A"], str(uuid7()))).id == ticket.id
    assert (await queueing.set_open(runtime, shop.clerk, shop.id, True)).open
    assert [e.type for e in await events_of(runtime, shop)][1:] == ["queue.closed", "ticket.called", "queue.opened"]


async def test_board_lists_called_and_the_first_twenty(runtime: Runtime) -> None:
    shop = await open_shop(runtime)
    await take_many(runtime, shop, NEXT_SHOWN + 3)
    await take(runtime, shop.clerk, shop, 5)
    await queueing.call_next(runtime, shop.clerk, shop.id, shop.classes["A"], str(uuid7()))
    offset, board = await queueing.board_snapshot(runtime, shop.device, shop.id)
    assert offset == NEXT_SHOWN + 5
    assert [c.code for c in board.classes] == ["A", "B", "C"]
    a, b, c = board.classes
    assert [t.number for t in a.calling] == ["A001"]
    assert (a.waiting, len(a.next), a.next[0].number) == (NEXT_SHOWN + 2, NEXT_SHOWN, "A002")
    assert (b.waiting, b.calling, b.next, b.estimated_wait_minutes) == (0, [], [], 0)  # a table is free
    assert (c.waiting, c.estimated_wait_minutes) == (1, 120)


async def test_boards_of_many_stores_keep_their_order(runtime: Runtime) -> None:
    shops = [await open_shop(runtime) for _ in range(3)]
    unknown = uuid7()
    found = await queueing.boards(runtime, consumer(), [shops[2].id, unknown, shops[0].id])
    assert [b and b.store_id for b in found] == [shops[2].id, None, shops[0].id]
    own, foreign = await queueing.boards(runtime, shops[0].device, [shops[0].id, shops[1].id])
    assert own is not None and foreign is None
    with pytest.raises(NotFound):
        await queueing.board_snapshot(runtime, shops[0].device, shops[1].id)


async def test_one_class(runtime: Runtime) -> None:
    shop = await open_shop(runtime)
    await take(runtime, shop.clerk, shop, 4)
    line = await queueing.get_class(runtime, consumer(), shop.classes["B"])
    assert (line.code, line.waiting) == ("B", 1)
    with pytest.raises(NotFound):
        await queueing.get_class(runtime, consumer(), uuid7())


async def test_observed_seatings_set_the_estimate(runtime: Runtime) -> None:
    shop, clock = await open_shop(runtime, classes=(("A", 1, 4, 1, 90),)), clock_of(runtime)
    for ticket in await take_many(runtime, shop, 4):
        await queueing.act(runtime, shop.clerk, ticket.id, SEAT)
        clock.advance(timedelta(minutes=5))
    clock.advance(timedelta(minutes=-5))
    assert [(await take(runtime, shop.clerk, shop)).estimated_wait_minutes for _ in range(3)] == [5, 10, 15]
    clock.advance(timedelta(hours=1))
    assert (await take(runtime, shop.clerk, shop)).estimated_wait_minutes == 360


# the end of the day


async def test_a_new_business_date_starts_again(runtime: Runtime) -> None:
    shop, clock, guest = await open_shop(runtime, hours=NOON_TO_TEN), clock_of(runtime), consumer()
    old = await take(runtime, guest, shop)
    skipped = await take(runtime, shop.clerk, shop)
    await missed(runtime, shop, skipped.id)
    clock.advance(timedelta(days=1))
    assert (await queueing.get_ticket(runtime, guest, old.id)).state is QueueTicketState.EXPIRED
    assert await queueing.tickets_of_consumer(runtime, guest, active=True) == []
    (past,) = await queueing.tickets_of_consumer(runtime, guest, active=False)
    assert (past.state, past.position) == (QueueTicketState.EXPIRED, None)
    assert await positions(runtime, shop) == []
    with pytest.raises(QueueEmpty):
        await queueing.call_next(runtime, shop.clerk, shop.id, shop.classes["A"], str(uuid7()))
    with pytest.raises(QueueActionNotAllowed) as refused:
        await queueing.act(runtime, shop.clerk, skipped.id, REQUEUE)
    assert refused.value.state is QueueTicketState.EXPIRED
    new = await take(runtime, guest, shop)
    assert (new.number, new.position, new.business_date) == ("A001", 1, date(2026, 3, 3))
    assert await replayed(runtime, shop) == await stored(runtime, shop)


async def test_the_line_lasts_past_midnight(runtime: Runtime) -> None:
    shop, clock = await open_shop(runtime), clock_of(runtime)
    clock.at = NOON + timedelta(hours=11, minutes=55)  # 23:55
    ticket = await take(runtime, shop.clerk, shop)
    clock.advance(timedelta(hours=1))
    assert (await queueing.get_ticket(runtime, shop.clerk, ticket.id)).position == 1
    assert (await take(runtime, shop.clerk, shop)).number == "A002"


async def test_expiry_job_is_enqueued_once_a_day_and_class_and_is_repeatable(runtime: Runtime) -> None:
    shop, clock = await open_shop(runtime), clock_of(runtime)
    first, second, _ = await take_many(runtime, shop, 3)
    await queueing.act(runtime, shop.clerk, first.id, SEAT)
    await missed(runtime, shop, second.id)
    jobs = await runtime.database.fetch(
        "SELECT payload, execute_after - created AS delay FROM pgqueuer WHERE entrypoint = 'queue_expire'"
    )
    mine = [(orjson.loads(j["payload"]), j["delay"]) for j in jobs]
    ((payload, delay),) = [m for m in mine if m[0]["queue_class"] == str(shop.classes["A"])]
    assert abs(delay - timedelta(hours=16)) < timedelta(minutes=1)  # from 12:00 to 04:00
    clock.advance(timedelta(hours=16))
    for _ in range(2):
        await queueing.JOBS["queue_expire"](runtime, payload)
    rows = await runtime.database.fetch(
        "SELECT state, closed_at FROM queue_ticket WHERE store_id = $1 ORDER BY sequence", shop.id
    )
    assert [r["state"] for r in rows] == ["SEATED", "EXPIRED", "EXPIRED"]
    assert rows[2]["closed_at"] == clock.at
    assert [e.type for e in await events_of(runtime, shop)].count("ticket.expired") == 2
    assert await replayed(runtime, shop) == await stored(runtime, shop)


async def test_expiry_job_of_a_vanished_class_does_nothing(runtime: Runtime) -> None:
    await queueing.JOBS["queue_expire"](runtime, {"queue_class": str(uuid7()), "business_date": "2026-03-02"})


# what the feed's readers end up with


async def replayed(runtime: Runtime, shop: Shop) -> dict[str, dict[str, object]]:
    """The tickets as the events, applied in order, leave them."""
    rows: dict[str, dict[str, object]] = {}
    for event in await events_of(runtime, shop):
        if "ticket" in event.payload:
            ticket = event.payload["ticket"]
            assert ticket["version"] == rows.get(ticket["id"], {"version": 0})["version"] + 1
            rows[ticket["id"]] = ticket
    return rows


async def stored(runtime: Runtime, shop: Shop) -> dict[str, dict[str, object]]:
    """The tickets as they are in the table."""
    rows = await runtime.database.fetch("SELECT * FROM queue_ticket WHERE store_id = $1", shop.id)
    plain = orjson.loads(orjson.dumps([dict(r) for r in rows], default=str))
    return {r["id"]: {name: value for name, value in r.items() if name != "phone"} for r in plain}


def seen_by(principal: Principal, ticket: queueing.Ticket) -> list[QueueAction]:
    return queueing.available_actions(principal, ticket)


async def test_available_actions_are_what_is_allowed(runtime: Runtime) -> None:
    shop, guest = await open_shop(runtime), consumer()
    ticket = await take(runtime, guest, shop)
    assert seen_by(guest, ticket) == [CANCEL]
    assert seen_by(shop.clerk, ticket) == [CALL, SEAT, CANCEL]
    assert seen_by(shop.device, ticket) == []
