"""Fields and actions of queues: one service call each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from operator import attrgetter
from typing import Any
from uuid import UUID

from models.queueing import QueueAction
from resolvers.base import action, key, or_none
from resolvers.context import Context, Info, batched
from resolvers.feeds import follow, poll
from services import queueing
from services.errors import NotFound
from services.feeds import QUEUE_BOARD, QUEUE_TICKET
from services.queueing import Board, ClassLine, Ticket
from subscriptions.paging import FeedPage
from subscriptions.updates import Update

# fields


async def _load_boards(context: Context, keys: list[UUID]) -> list[Board | Exception]:
    """The queues of stores; NotFound for a device of another store."""
    found = await queueing.boards(context.runtime, context.principal, keys, context.columns)
    return [board or NotFound(resource="Store") for board in found]


board_of = batched(_load_boards, attrgetter("id"))


def actions_of(root: Ticket, info: Info) -> list[QueueAction]:
    return queueing.available_actions(info.context.principal, root)


# queries


async def _ticket(context: Context, ticket: str) -> Ticket:
    return await queueing.get_ticket(context.runtime, context.principal, key("QueueTicket", ticket), context.columns)


async def queue_ticket(context: Context, ticket: str) -> Ticket | None:
    return await or_none(_ticket(context, ticket))


async def my_queue_tickets(context: Context, active: bool) -> list[Ticket]:
    return await queueing.tickets_of_consumer(
        context.runtime, context.principal, active=active, columns=context.columns
    )


# actions


@action
async def take_queue_number(
    context: Context, store: str, party_size: int, phone: str | None, idempotency_key: str
) -> Ticket:
    return await queueing.take_number(
        context.runtime, context.principal, key("Store", store), party_size, phone, idempotency_key
    )


@action
async def call_next(context: Context, store: str, queue_class: str, idempotency_key: str) -> Ticket:
    return await queueing.call_next(
        context.runtime, context.principal, key("Store", store), key("QueueClass", queue_class), idempotency_key
    )


@action
async def act_on_ticket(context: Context, ticket: str, what: QueueAction) -> Ticket:
    return await queueing.act(context.runtime, context.principal, key("QueueTicket", ticket), what)


@action
async def set_queue_open(context: Context, store: str, open: bool) -> Board:
    return await queueing.set_open(context.runtime, context.principal, key("Store", store), open)


# feeds


def queue_ticket_updates(context: Context, ticket: str, after: str | None) -> AsyncIterator[Update[Ticket]]:
    """The ticket whenever it or its place in line changes; ends after a state that nothing follows.

    Every change of the store's line is looked at, those that leave this ticket as it was are passed over.
    """
    return follow(context, QUEUE_TICKET, ticket, after)


async def queue_ticket_feed(context: Context, ticket: str, after: str | None) -> FeedPage[Ticket]:
    return await poll(context, QUEUE_TICKET, ticket, after)


def queue_board_updates(context: Context, store: str, after: str | None) -> AsyncIterator[Update[Board]]:
    return follow(context, QUEUE_BOARD, store, after)


async def queue_board_feed(context: Context, store: str, after: str | None) -> FeedPage[Board]:
    return await poll(context, QUEUE_BOARD, store, after)


def value_of(root: Update[Any]) -> Any:
    """What an update carries."""
    return root.value


# nodes


async def load_ticket(context: Context, ticket_id: UUID) -> Ticket | None:
    return await or_none(queueing.get_ticket(context.runtime, context.principal, ticket_id, context.columns))


async def load_class(context: Context, class_id: UUID) -> ClassLine | None:
    return await or_none(queueing.get_class(context.runtime, context.principal, class_id))


NODES: dict[str, Callable[[Context, UUID], Awaitable[object | None]]] = {
    "QueueTicket": load_ticket,
    "QueueClass": load_class,
}
