"""Order something, follow the order, call it off: a tour of the client in ``hutong_consumer``.

HUTONG_TOKEN=… python order.py http://127.0.0.1:8000/graphql
"""

from __future__ import annotations

import asyncio
import os
import sys
from uuid import uuid4

from hutong_consumer import (
    CancelOrderCancelOrderOrder,
    CancelOrderCancelOrderOrderActionNotAllowed,
    Client,
    CreateQuoteCreateQuoteQuote,
    CreateQuoteInput,
    FulfilmentMode,
    GeoPointInput,
    OrderState,
    PlaceOrderInput,
    PlaceOrderPlaceOrderOrder,
    QuoteLineInput,
)
from hutong_consumer.resuming import Token

HERE = GeoPointInput(latitude=39.9042, longitude=116.4074)


async def token() -> Token:
    """A real client gets a new one here, with ``refreshSession``."""
    return Token(os.environ["HUTONG_TOKEN"])


async def main(url: str) -> None:
    async with Client(url, token) as client:
        [store, *_] = (await client.find_stores(near=HERE, first=1)).stores.nodes
        [item, *_] = [item for category in store.menu for item in category.items]
        print("store", store.name)

        options = [option.id for group in item.option_groups for option in group.options[: group.min_selected]]
        lines = [QuoteLineInput(sku=item.skus[0].id, quantity=1, options=options)]
        quoted = await client.create_quote(CreateQuoteInput(store=store.id, mode=FulfilmentMode.PICKUP, lines=lines))
        quote = quoted.create_quote
        if not isinstance(quote, CreateQuoteCreateQuoteQuote):
            sys.exit(f"{quote.typename__}: {quote.message}")
        print("quote", quote.total.amount, quote.total.currency, quote.expires_at.tzinfo)

        placed = (await client.place_order(PlaceOrderInput(quote=quote.id), key=uuid4().hex)).place_order
        if not isinstance(placed, PlaceOrderPlaceOrderOrder):
            sys.exit(f"{placed.typename__}: {placed.message}")

        cancelled = None
        async for answer in client.follow_order(order=placed.id):
            update = answer.order_updates
            print(update.kind.value, update.type_, update.order.state.value, update.order.version)
            if update.order.state is OrderState.CANCELLED:
                break
            if cancelled is None:
                key = uuid4().hex
                cancelled = (await client.cancel_order(order=placed.id, reason="A mistake", key=key)).cancel_order
                assert isinstance(cancelled, CancelOrderCancelOrderOrder)

        again = (await client.cancel_order(order=placed.id, reason="Twice", key=uuid4().hex)).cancel_order
        if isinstance(again, CancelOrderCancelOrderOrderActionNotAllowed):
            print("refused", again.code, again.state.value, [action.value for action in again.available_actions])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
