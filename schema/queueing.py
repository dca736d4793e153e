"""Queues of stores: boards, classes, tickets."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from models.queueing import QueueAction, QueueTicketState
from resolvers import merchants
from resolvers import queueing as resolvers
from resolvers.context import ID, Info
from schema import enums as _enums  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schema.base import (
    A,
    C,
    D,
    FeedPage,
    M,
    Node,
    computed,
    exposes,
    mutation,
    node_id,
    query,
    result,
    shared,
    sized,
    subscription,
)
from schema.delivery import FeedReset
from services import errors, queueing
from subscriptions.updates import UpdateKind

if TYPE_CHECKING:
    from schema.merchants import Store

VIEWS = frozenset({C, M, A, D})


@exposes(queueing.Ticket, views=VIEWS, shared=True)
@strawberry.type(description="A number somebody holds in a store's queue.")
class QueueTicket(Node):
    id: strawberry.ID = node_id("QueueTicket")
    number: str = strawberry.field(description="Class code and daily sequence, for example A012.")
    state: QueueTicketState
    store: Annotated[Store, strawberry.lazy("schema.merchants")] = shared(
        computed(merchants.store_of, needs=("store_id",))
    )
    party_size: int
    position: int | None = strawberry.field(description="Place in line, 1 = next; null when not WAITING.")
    estimated_wait_minutes: int | None = strawberry.field(description="Null when not WAITING.")
    taken_at: datetime
    called_at: datetime | None
    seated_at: datetime | None
    available_actions: list[QueueAction] = computed(
        resolvers.actions_of,
        needs=("state", "store_id", "consumer_id"),
        description="What the viewer can do to it now.",
    )
    version: int


@exposes(queueing.ClassLine, views=VIEWS, shared=True)
@strawberry.type(description="The line of parties of one size.")
class QueueClass(Node):
    id: strawberry.ID = node_id("QueueClass")
    code: str
    min_party: int
    max_party: int
    waiting: int = strawberry.field(description="Parties in line.")
    estimated_wait_minutes: int = strawberry.field(description="For a party that would join now.")
    calling: list[QueueTicket] = sized(5, strawberry.field(description="Tickets that are called and not seated yet."))
    next: list[QueueTicket] = sized(20, strawberry.field(description="The first 20 in line."))


@exposes(queueing.Board, views=VIEWS, shared=True)
@strawberry.type(description="The queue of one store.")
class QueueBoard:
    store: Annotated[Store, strawberry.lazy("schema.merchants")] = shared(
        computed(merchants.store_of, needs=("store_id",))
    )
    open: bool = strawberry.field(description="Whether the staff hand out numbers.")
    classes: list[QueueClass] = sized(5)


@exposes(views={C, M}, shared=True)
@strawberry.type(description="A ticket after it or its place in line changed. Intermediate changes may be skipped.")
class QueueTicketUpdate:
    cursor: str
    kind: UpdateKind
    type: str | None
    at: datetime
    reset: FeedReset | None
    ticket: QueueTicket = strawberry.field(resolver=resolvers.value_of)


@exposes(views={C, M, D}, shared=True)
@strawberry.type(description="A board after any change. Intermediate changes may be skipped.")
class QueueBoardUpdate:
    cursor: str
    kind: UpdateKind
    type: str | None
    at: datetime
    reset: FeedReset | None
    board: QueueBoard = strawberry.field(resolver=resolvers.value_of)


class QueueingQuery:
    @query(QueueTicket | None, C, M)
    async def queue_ticket(self, info: Info, id: ID) -> object | None:
        """One ticket, for its owner and the store's staff."""
        return await resolvers.queue_ticket(info.context, id)

    @query(list[QueueTicket], C)
    async def my_queue_tickets(self, info: Info, active: bool = True) -> object:
        """The viewer's tickets, newest first; with ``active`` only those something can still happen to."""
        return await resolvers.my_queue_tickets(info.context, active)

    @query(FeedPage[QueueTicketUpdate], C, M)
    async def queue_ticket_feed(self, info: Info, ticket: ID, after: str | None = None) -> object:
        """Polls what `queueTicketUpdates` sends: the ticket, or nothing when the queue is as it was at the cursor."""
        return await resolvers.queue_ticket_feed(info.context, ticket, after)

    @query(FeedPage[QueueBoardUpdate], M, C, D)
    async def queue_board_feed(self, info: Info, store: ID, after: str | None = None) -> object:
        """Polls what `queueBoardUpdates` sends: the board, or nothing when it is as it was at the cursor."""
        return await resolvers.queue_board_feed(info.context, store, after)


class QueueingMutation:
    @mutation(
        result(
            "TakeQueueNumberResult",
            QueueTicket,
            errors.QueueClosed,
            errors.PartyTooLarge,
            errors.AlreadyQueued,
            errors.IdempotencyConflict,
        ),
        C,
        M,
    )
    async def take_queue_number(
        self, info: Info, store: ID, party_size: int, idempotency_key: str, phone: str | None = None
    ) -> object:
        """Take a number: a consumer for oneself, staff for a party at the door."""
        return await resolvers.take_queue_number(info.context, store, party_size, phone, idempotency_key)

    @mutation(result("CallNextResult", QueueTicket, errors.QueueEmpty, errors.IdempotencyConflict), M)
    async def call_next(
        self,
        info: Info,
        store: ID,
        queue_class: Annotated[ID, strawberry.argument(name="class")],
        idempotency_key: str,
    ) -> object:
        """Call the first waiting party of a class."""
        return await resolvers.call_next(info.context, store, queue_class, idempotency_key)

    @mutation(result("CallTicketResult", QueueTicket, errors.QueueActionNotAllowed, errors.AlreadyQueued), M)
    async def call_ticket(self, info: Info, ticket: ID) -> object:
        """Call this party, out of turn or again."""
        return await resolvers.act_on_ticket(info.context, ticket, QueueAction.CALL)

    @mutation(result("SeatTicketResult", QueueTicket, errors.QueueActionNotAllowed), M)
    async def seat_ticket(self, info: Info, ticket: ID) -> object:
        """The party has its table."""
        return await resolvers.act_on_ticket(info.context, ticket, QueueAction.SEAT)

    @mutation(result("SkipTicketResult", QueueTicket, errors.QueueActionNotAllowed), M)
    async def skip_ticket(self, info: Info, ticket: ID) -> object:
        """The called party did not come."""
        return await resolvers.act_on_ticket(info.context, ticket, QueueAction.SKIP)

    @mutation(result("RequeueTicketResult", QueueTicket, errors.QueueActionNotAllowed, errors.AlreadyQueued), M)
    async def requeue_ticket(self, info: Info, ticket: ID) -> object:
        """Put a skipped party back, behind the first three of the line; it keeps its number."""
        return await resolvers.act_on_ticket(info.context, ticket, QueueAction.REQUEUE)

    @mutation(result("CancelTicketResult", QueueTicket, errors.QueueActionNotAllowed), C, M)
    async def cancel_ticket(self, info: Info, ticket: ID) -> object:
        """Give the number up."""
        return await resolvers.act_on_ticket(info.context, ticket, QueueAction.CANCEL)

    @mutation(result("SetQueueOpenResult", QueueBoard), M)
    async def set_queue_open(self, info: Info, store: ID, open: bool) -> object:
        """Start or stop handing out numbers; those who wait keep waiting."""
        return await resolvers.set_queue_open(info.context, store, open)


class QueueingSubscription:
    @subscription(QueueTicketUpdate, C, M)
    def queue_ticket_updates(self, info: Info, ticket: ID, after: str | None = None) -> object:
        """One ticket, whenever it or its place in line changes; ends when the ticket is over."""
        return resolvers.queue_ticket_updates(info.context, ticket, after)

    @subscription(QueueBoardUpdate, M, C, D)
    def queue_board_updates(self, info: Info, store: ID, after: str | None = None) -> object:
        """A store's board, whenever its queue changes."""
        return resolvers.queue_board_updates(info.context, store, after)
