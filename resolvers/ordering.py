"""Fields and actions of orders: one service call each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any
from uuid import UUID

from auth.principals import View
from core import ids
from core.geo import Point
from models.ordering import FulfilmentMode, OrderAction, OrderState
from models.payments import Payment, PaymentState
from resolvers.base import Page, action, key, make_page, or_none, page_size
from resolvers.context import Context, Info, batched, by_arguments
from resolvers.feeds import follow, poll
from services import payments
from services.access import signed_in
from services.errors import InvalidInput, NotFound
from services.feeds import ORDER_UPDATES, STORE_BOARD
from services.ordering import actions, placing, reading
from services.ordering.machine import ACTOR_OF_VIEW, available_actions
from services.ordering.placing import Address, QuoteRecord
from services.ordering.reading import LineRecord, OrderEvent
from services.ordering.records import OrderRecord
from services.payments import PaymentRecord
from services.pricing import RequestedLine
from subscriptions.paging import FeedPage
from subscriptions.updates import Update

# queries


async def order(context: Context, order_id: str) -> OrderRecord | None:
    return await or_none(_order(context, order_id))


async def _order(context: Context, order_id: str) -> OrderRecord:
    return await reading.get(context.runtime, context.principal, key("Order", order_id), context.columns)


async def my_orders(
    context: Context, states: list[OrderState] | None, first: int, after: str | None
) -> Page[OrderRecord]:
    """Raises PermissionDenied when nobody is signed in."""
    return await _page(context, "consumer_id", signed_in(context.principal), states, first, after)


async def store_orders(
    root: Any, info: Info, states: list[OrderState] | None, first: int, after: str | None
) -> Page[OrderRecord]:
    """Orders of a store for its staff and the city's admins. Raises NotFound."""
    principal = info.context.principal
    if not (principal.works_at(root.id) or principal.administers(root.city_id)):
        raise NotFound(resource="Store")
    return await _page(info.context, "store_id", root.id, states, first, after)


async def city_orders(
    root: Any, info: Info, states: list[OrderState] | None, first: int, after: str | None
) -> Page[OrderRecord]:
    """Orders of a city for its admins. Raises NotFound."""
    if not info.context.principal.administers(root.id):
        raise NotFound(resource="City")
    return await _page(info.context, "city_id", root.id, states, first, after)


@dataclass(frozen=True, slots=True)
class _Window:
    """Which orders of what the keys are."""

    scope: str
    states: tuple[OrderState, ...] | None
    limit: int
    before: UUID | None


async def _orders(context: Context, keys: list[UUID], window: _Window) -> dict[UUID, list[OrderRecord]]:
    return await reading.pages(
        context.runtime, window.scope, keys, window.states, window.limit, window.before, context.columns
    )


_load_pages = by_arguments(_orders)


async def _page(
    context: Context, scope: str, scope_key: UUID, states: list[OrderState] | None, first: int, after: str | None
) -> Page[OrderRecord]:
    before = None if after is None else key("Order", after)
    window = _Window(scope, None if states is None else tuple(states), page_size(first) + 1, before)
    rows = await context.loader(_load_pages).load((scope_key, window))
    return make_page(rows, first, lambda row: ids.encode("Order", row.id), after=after)


async def _events(context: Context, keys: list[UUID], window: tuple[int, int]) -> dict[UUID, list[OrderEvent]]:
    return await reading.events(context.runtime, keys, *window)


_load_events = by_arguments(_events)


async def order_events(root: OrderRecord, info: Info, first: int, after: str | None = None) -> Page[OrderEvent]:
    if after is not None and not after.isdigit():
        raise InvalidInput(field="after", reason="is not a cursor of this list")
    rows = await info.context.loader(_load_events).load((root.id, (page_size(first) + 1, int(after or 0))))
    return make_page(rows, first, lambda row: str(row.version), after=after)


async def _load_lines(context: Context, keys: list[tuple[UUID, str]]) -> list[list[LineRecord]]:
    """The lines of orders: by key and currency."""
    found = await reading.lines_of(context.runtime, dict(keys), context.columns)
    return [found[order_id] for order_id, _ in keys]


_line_key: Callable[[OrderRecord], tuple[UUID, str]] = attrgetter("id", "currency")


async def _load_payments(context: Context, keys: list[UUID]) -> list[PaymentRecord | None]:
    found = await payments.of_orders(context.runtime, keys, context.columns)
    return [found.get(k) for k in keys]


lines_of = batched(_load_lines, _line_key)
payment_of = batched(_load_payments, attrgetter("id"))


def pay_url(root: Payment | PaymentRecord) -> str | None:
    return root.pay_url if root.state is PaymentState.PENDING else None


def actions_of(root: OrderRecord, info: Info) -> list[OrderAction]:
    actor = ACTOR_OF_VIEW.get(info.context.principal.view)
    return [] if actor is None else available_actions(root, actor)


# actions


@action
async def create_quote(
    context: Context, store: str, mode: FulfilmentMode, lines: list[tuple[str, int, list[str]]], location: Point | None
) -> QuoteRecord:
    requested = [
        RequestedLine(key("Sku", sku), quantity, tuple(key("Option", option) for option in options))
        for sku, quantity, options in lines
    ]
    return await placing.quote(context.runtime, context.principal, key("Store", store), mode, requested, location)


@action
async def place_order(
    context: Context, quote: str, address: Address | None, table: str | None, note: str, idempotency_key: str
) -> OrderRecord:
    table_id = None if table is None else key("DiningTable", table)
    return await placing.place(
        context.runtime, context.principal, key("Quote", quote), address, table_id, note, idempotency_key
    )


@action
async def pay_order(context: Context, order: str, channel: str, idempotency_key: str) -> Payment:
    return await payments.pay(context.runtime, context.principal, key("Order", order), channel, idempotency_key)


Named = Callable[..., Awaitable[OrderRecord]]


@action
async def step(context: Context, service: Named, order: str, *args: Any) -> OrderRecord:
    """An action of one order: ``service(runtime, principal, order key, *args)``."""
    return await service(context.runtime, context.principal, key("Order", order), *args)


async def accept_order(context: Context, order: str, prep_minutes: int | None) -> object:
    return await step(context, actions.accept, order, prep_minutes)


async def start_preparing(context: Context, order: str) -> object:
    return await step(context, actions.start_preparing, order)


async def mark_order_ready(context: Context, order: str) -> object:
    return await step(context, actions.mark_ready, order)


async def hand_over_order(context: Context, order: str) -> object:
    return await step(context, actions.hand_over, order)


async def confirm_receipt(context: Context, order: str, idempotency_key: str) -> object:
    return await step(context, actions.confirm_receipt, order, idempotency_key)


async def cancel_order(context: Context, order: str, reason: str, idempotency_key: str) -> object:
    return await step(context, actions.cancel, order, reason, idempotency_key)


async def reject_order(context: Context, order: str, reason: str, idempotency_key: str) -> object:
    return await step(context, actions.reject, order, reason, idempotency_key)


@action
async def refund_order(context: Context, order: str, amount: int, reason: str, idempotency_key: str) -> OrderRecord:
    order_id = await payments.refund_part(
        context.runtime, context.principal, key("Order", order), amount, reason, idempotency_key
    )
    return await reading.get(context.runtime, context.principal, order_id)


# feeds


def order_updates(context: Context, order: str, after: str | None) -> AsyncIterator[Update[OrderRecord]]:
    return follow(context, ORDER_UPDATES, order, after)


async def order_feed(context: Context, order: str, after: str | None, first: int) -> FeedPage[OrderRecord]:
    return await poll(context, ORDER_UPDATES, order, after, first)


def store_board(context: Context, store: str, after: str | None) -> AsyncIterator[Update[list[OrderRecord]]]:
    return follow(context, STORE_BOARD, store, after)


async def store_board_feed(context: Context, store: str, after: str | None, first: int) -> FeedPage[list[OrderRecord]]:
    return await poll(context, STORE_BOARD, store, after, first)


async def load_order(context: Context, order_id: UUID) -> OrderRecord | None:
    return await or_none(reading.get(context.runtime, context.principal, order_id))


async def load_quote(context: Context, quote_id: UUID) -> QuoteRecord | None:
    return await or_none(reading.quote(context.runtime, context.principal, quote_id))


async def load_payment(context: Context, payment_id: UUID) -> Payment | None:
    """A payment for the parties of its order that may see payments: not for riders."""
    payment = None if context.principal.view is View.RIDER else await Payment.get_or_none(id=payment_id)
    return None if payment is None or await load_order(context, payment.order_id) is None else payment


async def load_line(context: Context, line_id: UUID) -> LineRecord | None:
    order_id = await reading.order_of_line(context.runtime, line_id)
    order = None if order_id is None else await load_order(context, order_id)
    if order is None:
        return None
    lines = await context.loader(_load_lines).load(_line_key(order))
    return next((line for line in lines if line.id == line_id), None)


NODES: dict[str, Callable[[Context, UUID], Awaitable[object | None]]] = {
    "Order": load_order,
    "OrderLine": load_line,
    "Payment": load_payment,
    "Quote": load_quote,
}
