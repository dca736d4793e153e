"""What resolvers add to the services: public ids, refusals as results, batching, the two subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from auth.principals import ANONYMOUS, Principal
from core import ids
from core.ids import uuid7
from models.database import Database, Record
from models.queueing import QueueAction, QueueTicketState
from resolvers import merchants
from resolvers import queueing as resolvers
from resolvers.base import Refusal
from resolvers.context import Context
from services import queueing
from services.errors import NotFound
from services.runtime import Runtime
from subscriptions.feeds import QUEUE
from subscriptions.updates import UpdateKind
from tests.queueing.tails import SteppedTails
from tests.queueing.world import consumer, open_shop, staff_of, take
from tests.support import make_runtime


@pytest.fixture
async def runtime(module_database_url: str) -> AsyncIterator[Runtime]:
    async with make_runtime(module_database_url) as runtime:
        yield runtime


def as_(runtime: Runtime, principal: Principal, tails: SteppedTails | None = None) -> Context:
    return Context(runtime, cast(Any, tails or SteppedTails()), principal)


def asking(context: Context) -> Any:
    return SimpleNamespace(context=context)


async def test_actions_answer_with_tickets_or_refusals(runtime: Runtime) -> None:
    shop = await open_shop(runtime)
    clerk = as_(runtime, shop.clerk)
    store, queue_class = ids.encode("Store", shop.id), ids.encode("QueueClass", shop.classes["A"])
    taken = await resolvers.take_queue_number(clerk, store, 2, "13800138000", "k")
    assert isinstance(taken, queueing.Ticket)
    called = await resolvers.call_next(clerk, store, queue_class, "called")
    assert isinstance(called, queueing.Ticket) and called.id == taken.id
    empty = await resolvers.call_next(clerk, store, queue_class, "empty")
    assert isinstance(empty, Refusal) and (empty.code, empty.code_name) == ("QUEUE_EMPTY", "A")
    ticket = ids.encode("QueueTicket", taken.id)
    skipped = await resolvers.act_on_ticket(clerk, ticket, QueueAction.SKIP)
    assert isinstance(skipped, queueing.Ticket) and skipped.state is QueueTicketState.SKIPPED
    refused = await resolvers.act_on_ticket(clerk, ticket, QueueAction.SEAT)
    assert isinstance(refused, Refusal) and refused.state is QueueTicketState.SKIPPED
    closed = await resolvers.set_queue_open(clerk, store, False)
    assert isinstance(closed, queueing.Board) and not closed.open


@pytest.mark.parametrize(
    "bad", ["", "x", "sto_", "qtk_01jd", ids.encode("Order", UUID(int=7 << 76)), "\0", "qtk_" + "z" * 26]
)
async def test_bad_ids_name_nothing(runtime: Runtime, bad: str) -> None:
    clerk = as_(runtime, staff_of(uuid7()))
    for answer in (
        await resolvers.take_queue_number(clerk, bad, 2, None, "k"),
        await resolvers.call_next(clerk, bad, bad, "k"),
        await resolvers.act_on_ticket(clerk, bad, QueueAction.CALL),
        await resolvers.set_queue_open(clerk, bad, True),
    ):
        assert isinstance(answer, Refusal) and answer.code == "NOT_FOUND"
    assert await resolvers.queue_ticket(clerk, bad) is None
    for updates in (resolvers.queue_ticket_updates(clerk, bad, None), resolvers.queue_board_updates(clerk, bad, None)):
        with pytest.raises(NotFound):
            await anext(aiter(updates))


class Counting:
    """A database that counts the statements asked of it."""

    def __init__(self, database: Database) -> None:
        self.database, self.statements = database, 0

    async def fetch(self, sql: str, *args: object) -> list[Record]:
        self.statements += 1
        return await self.database.fetch(sql, *args)


async def test_boards_of_a_page_of_stores_are_one_statement(runtime: Runtime) -> None:
    shops = [await open_shop(runtime) for _ in range(5)]
    for shop in shops:
        for party in (1, 2, 4, 6):
            await take(runtime, shop.clerk, shop, party)
    counting = Counting(runtime.database)
    context = as_(replace(runtime, database=cast(Any, counting)), consumer())
    boards = await asyncio.gather(*(resolvers.board_of(shop, asking(context)) for shop in shops))
    assert [b.store_id for b in boards] == [s.id for s in shops] and counting.statements == 1
    assert [c.waiting for c in boards[0].classes] == [2, 1, 1]
    stores = await asyncio.gather(*(merchants.store_of(b.classes[0].next[0], asking(context)) for b in boards))
    assert [s.id for s in stores] == [s.id for s in shops] and counting.statements == 2


async def test_nodes_keep_row_scope(runtime: Runtime) -> None:
    shop, guest = await open_shop(runtime), consumer()
    ticket = await take(runtime, guest, shop)

    async def node(who: Principal, name: str, key: UUID) -> object | None:
        return await resolvers.NODES[name](as_(runtime, who), key)

    assert await node(guest, "QueueTicket", ticket.id) == ticket
    assert await node(consumer(), "QueueTicket", ticket.id) is None
    assert await node(consumer(), "QueueClass", shop.classes["A"]) is not None
    assert await node(consumer(), "QueueClass", uuid7()) is None


async def test_a_ticket_subscription_follows_its_place_to_the_table(runtime: Runtime) -> None:
    shop, guest, tails = await open_shop(runtime), consumer(), SteppedTails()
    first, mine = await take(runtime, shop.clerk, shop), await take(runtime, guest, shop)
    context = as_(runtime, guest, tails)
    updates = aiter(resolvers.queue_ticket_updates(context, ids.encode("QueueTicket", mine.id), "cursor"))
    update = await anext(updates)
    assert (update.kind, update.value.position) == (UpdateKind.SNAPSHOT, 2)
    assert tails.seen[0][:2] == (QUEUE.of(shop.id), "cursor")
    await take(runtime, shop.clerk, shop)  # behind: nothing changes for this ticket
    tails.step()
    await queueing.act(runtime, shop.clerk, first.id, QueueAction.CANCEL)
    tails.step()
    update = await anext(updates)
    assert (update.kind, update.value.position, update.value.version) == (UpdateKind.EVENT, 1, 1)
    await queueing.act(runtime, shop.clerk, mine.id, QueueAction.SEAT)
    tails.step()
    tails.step()
    assert (await anext(updates)).value.state is QueueTicketState.SEATED
    with pytest.raises(StopAsyncIteration):
        await anext(updates)


async def test_subscriptions_refuse_strangers_before_anything_is_sent(runtime: Runtime) -> None:
    shop, other = await open_shop(runtime), await open_shop(runtime)
    ticket = ids.encode("QueueTicket", (await take(runtime, consumer(), shop)).id)
    for stranger in (ANONYMOUS, consumer(), other.clerk, other.device):
        with pytest.raises(NotFound):
            await anext(aiter(resolvers.queue_ticket_updates(as_(runtime, stranger), ticket, None)))
    store = ids.encode("Store", shop.id)
    with pytest.raises(NotFound):
        await anext(aiter(resolvers.queue_board_updates(as_(runtime, other.device), store, None)))
    for reader in (ANONYMOUS, shop.device, shop.clerk):
        update = await anext(aiter(resolvers.queue_board_updates(as_(runtime, reader), store, None)))
        assert update.value.classes[0].waiting == 1


async def test_a_board_subscription_shows_every_state_of_the_queue(runtime: Runtime) -> None:
    shop, tails = await open_shop(runtime), SteppedTails()
    updates = aiter(resolvers.queue_board_updates(as_(runtime, shop.device, tails), ids.encode("Store", shop.id), None))
    assert (await anext(updates)).value.classes[0].waiting == 0
    await take(runtime, shop.clerk, shop)
    tails.step()
    assert (await anext(updates)).value.classes[0].waiting == 1
    await queueing.set_open(runtime, shop.clerk, shop.id, False)
    tails.step()
    update = await anext(updates)
    assert not update.value.open and update.cursor == "e.2"
