"""Many hands on one line at the same moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from core.ids import uuid7
from models.queueing import QueueAction, QueueTicketState
from services import queueing
from services.errors import AlreadyQueued, IdempotencyConflict, QueueActionNotAllowed, QueueEmpty
from services.runtime import Runtime
from subscriptions import feeds
from subscriptions.feeds import QUEUE
from tests.patience import PATIENCE
from tests.queueing.world import Shop, consumer, open_shop, staff_of, take
from tests.support import make_runtime


@pytest.fixture
async def runtime(module_database_url: str) -> AsyncIterator[Runtime]:
    async with make_runtime(module_database_url) as runtime:
        yield runtime


async def gather(*work: object) -> list[object]:
    async with asyncio.timeout(2 * PATIENCE):
        return await asyncio.gather(*work, return_exceptions=True)  # type: ignore[call-overload]


async def numbers(runtime: Runtime, shop: Shop) -> list[str]:
    rows = await runtime.database.fetch(
        "SELECT number FROM queue_ticket WHERE store_id = $1 ORDER BY queue_class_id, rank", shop.id
    )
    return [r["number"] for r in rows]


async def test_thirty_parallel_takes_have_no_gap_and_no_duplicate(runtime: Runtime) -> None:
    shop = await open_shop(runtime)
    tickets = await gather(*(take(runtime, consumer(), shop, 2 if i % 3 else 4) for i in range(30)))
    assert all(isinstance(t, queueing.Ticket) for t in tickets), tickets
    expected = [f"A{n:03}" for n in range(1, 21)] + [f"B{n:03}" for n in range(1, 11)]
    assert sorted(await numbers(runtime, shop)) == expected
    _, board = await queueing.board_snapshot(runtime, shop.clerk, shop.id)
    assert [t.number for t in board.classes[0].next] == expected[:20]
    events = await feeds.read(runtime.database, QUEUE.of(shop.id), 0)
    assert [e.offset for e in events] == list(range(1, 31))


async def test_double_tap_with_one_key_takes_one_number(runtime: Runtime) -> None:
    shop, guest = await open_shop(runtime), consumer()
    answers = await gather(*(take(runtime, guest, shop, 2, "tap") for _ in range(8)))
    assert len({a.id if isinstance(a, queueing.Ticket) else a for a in answers}) == 1
    assert await numbers(runtime, shop) == ["A001"]


async def test_one_consumer_with_many_keys_takes_one_number(runtime: Runtime) -> None:
    shop, guest = await open_shop(runtime), consumer()
    answers = await gather(*(take(runtime, guest, shop, 2 + i) for i in range(6)))
    (ticket,) = [a for a in answers if isinstance(a, queueing.Ticket)]
    refused = [a for a in answers if isinstance(a, AlreadyQueued)]
    assert len(refused) == 5 and {r.ticket for r in refused} == {ticket.id}


async def test_clerks_never_call_the_same_party(runtime: Runtime) -> None:
    shop = await open_shop(runtime)
    for _ in range(12):
        await take(runtime, shop.clerk, shop)
    clerks = [staff_of(shop.id) for _ in range(4)]
    called = await gather(
        *(
            queueing.call_next(runtime, clerk, shop.id, shop.classes["A"], str(uuid7()))
            for clerk in clerks
            for _ in range(4)
        )
    )
    assert [c for c in called if not isinstance(c, queueing.Ticket | QueueEmpty)] == []
    tickets = [c for c in called if isinstance(c, queueing.Ticket)]
    assert sorted(t.number for t in tickets) == [f"A{n:03}" for n in range(1, 13)]


async def test_one_key_calls_one_party(runtime: Runtime) -> None:
    """A clerk who heard no answer taps again: the same party is called, and nobody is passed over."""
    shop = await open_shop(runtime)
    clerk = shop.clerk
    line = [await take(runtime, clerk, shop) for _ in range(4)]

    async def call(key: str, of: str = "A") -> queueing.Ticket:
        return await queueing.call_next(runtime, clerk, shop.id, shop.classes[of], key)

    answers = await gather(*(call("first") for _ in range(6)))
    assert {a.number for a in answers if isinstance(a, queueing.Ticket)} == {line[0].number} and len(answers) == 6
    with pytest.raises(IdempotencyConflict):
        await call("first", "B")
    await queueing.act(runtime, clerk, line[0].id, QueueAction.SEAT)
    assert (await call("first")).state is QueueTicketState.SEATED
    assert (await call("second")).number == line[1].number
    with pytest.raises(QueueEmpty):
        await call("later", "B")
    guest = await take(runtime, clerk, shop, 4)
    assert (await call("later", "B")).id == guest.id, "a refusal is not kept"


async def test_seat_against_cancel_has_one_winner(runtime: Runtime) -> None:
    shop = await open_shop(runtime)
    for _ in range(10):
        guest = consumer()
        ticket = await take(runtime, guest, shop)
        await queueing.act(runtime, shop.clerk, ticket.id, QueueAction.CALL)
        answers = await gather(
            queueing.act(runtime, shop.clerk, ticket.id, QueueAction.SEAT),
            queueing.act(runtime, guest, ticket.id, QueueAction.CANCEL),
        )
        assert Counter(type(a) for a in answers) == {queueing.Ticket: 1, QueueActionNotAllowed: 1}
        assert (await queueing.get_ticket(runtime, guest, ticket.id)).version == 3


async def test_everything_at_once_neither_hangs_nor_loses_an_event(runtime: Runtime) -> None:
    shop = await open_shop(runtime, classes=(("A", 1, 8, 4, 30),))
    line = [await take(runtime, shop.clerk, shop) for _ in range(12)]
    # No room between these ranks: every requeue has to respace the line while others call from it.
    for rank, ticket in enumerate(line):
        await runtime.database.execute("UPDATE queue_ticket SET rank = $2 WHERE id = $1", ticket.id, rank)
    for ticket in line[:4]:
        await queueing.act(runtime, shop.clerk, ticket.id, QueueAction.CALL)
        await queueing.act(runtime, shop.clerk, ticket.id, QueueAction.SKIP)
    payload = {"queue_class": str(shop.classes["A"]), "business_date": "2026-03-01"}
    answers = await gather(
        *(queueing.act(runtime, shop.clerk, ticket.id, QueueAction.REQUEUE) for ticket in line[:4]),
        *(queueing.call_next(runtime, shop.clerk, shop.id, shop.classes["A"], str(uuid7())) for _ in range(4)),
        *(queueing.act(runtime, shop.clerk, ticket.id, QueueAction.CANCEL) for ticket in line[8:]),
        *(take(runtime, consumer(), shop) for _ in range(6)),
        *(queueing.JOBS["queue_expire"](runtime, payload) for _ in range(2)),
        *(queueing.set_open(runtime, shop.clerk, shop.id, True) for _ in range(2)),
    )
    unexpected = [a for a in answers if isinstance(a, BaseException) and not isinstance(a, QueueActionNotAllowed)]
    assert unexpected == []
    events = await feeds.read(runtime.database, QUEUE.of(shop.id), 0)
    assert [e.offset for e in events] == list(range(1, len(events) + 1))
    last = {e.payload["ticket"]["id"]: e.payload["ticket"] for e in events}
    rows = await runtime.database.fetch("SELECT * FROM queue_ticket WHERE store_id = $1", shop.id)
    assert {(r["version"], r["state"], r["rank"]) for r in rows} == {
        (t["version"], t["state"], t["rank"]) for t in last.values()
    }
    waiting = [r["rank"] for r in rows if r["state"] == QueueTicketState.WAITING]
    assert len(set(waiting)) == len(waiting)


async def test_more_parallel_takes_than_connections(runtime: Runtime) -> None:
    shop = await open_shop(runtime)
    answers = await gather(*(take(runtime, staff_of(shop.id), shop, 1, str(uuid7())) for _ in range(60)))
    assert all(isinstance(a, queueing.Ticket) for a in answers)
