"""A running city with something in every list, and operations run in it without HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any

import orjson
import pytest
from graphql import OperationType

from auth.principals import Principal, View
from core import ids
from gateway.admission import OperationRequest
from gateway.documents import document_id
from resolvers.context import Context
from services import webhooks
from tests.api import documents as doc
from tests.api.city import City, key, running_city
from tests.files.samples import png
from tests.files.world import ITEMS, SET_ITEM, SET_LOGO, SET_PHOTOS, picture
from tests.statements import counted, watched

__all__ = ["watched"]


@dataclass
class Town:
    """One of everything; ``ids`` are public ids by what they are of."""

    city: City
    tokens: dict[View, str]
    ids: dict[str, str] = field(default_factory=dict)

    async def principal(self, view: View) -> Principal:
        return await self.city.program.authenticator.principal(self.tokens[view])

    async def run(
        self, view: View, query: str, variables: dict[str, Any], *, registered: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        """The answer (of a subscription: to its first event), and the statements it took."""
        program = self.city.program
        principal = await self.principal(view)
        with counted() as sent:
            text = {"document_id": document_id(query)} if registered else {"query": query}
            operation = await program.gateway.admitted(principal, OperationRequest(**text, variables=variables))
            context = Context(program.runtime, program.tails, principal)
            if operation.kind is not OperationType.SUBSCRIPTION:
                answer = await program.gateway.respond(operation, context)
                return orjson.loads(answer.body), sent
            async with aclosing(program.gateway.source(operation, context)) as events:
                event = await anext(events)
                rendered = program.gateway.render(operation, context, event)
                answer = await rendered if isawaitable(rendered) else rendered
        return orjson.loads(answer.body), sent


async def make_town(city: City) -> Town:
    """A shop with a menu, tables, a queue and staff; orders from placed to delivered; a rider under way."""
    owner, store, sku = await city.shop()
    consumer = await city.consumer()
    rider, rider_id = await city.rider()
    town = Town(
        city,
        {
            View.CONSUMER: consumer,
            View.MERCHANT: owner,
            View.RIDER: rider,
            View.ADMIN: city.tokens["admin"],
            View.PARTNER: city.tokens["partner"],
            View.DEVICE: city.tokens["device"],
        },
    )
    order = await city.paid(consumer, store, sku)
    accepted = await city.do(owner, doc.ACCEPT, order=order)
    delivery = accepted["delivery"]["id"]
    await city.do(rider, doc.ACCEPT_OFFER, delivery=delivery)
    await city.do(owner, doc.QUEUE_OPEN, store=store, open=True)
    ticket = await city.do(consumer, doc.TAKE, store=store, size=2, key=key())
    town.ids = {"city": city.id, "store": store, "sku": sku, "order": order, "delivery": delivery, "rider": rider_id}
    town.ids["ticket"] = ticket["id"]
    logo, photo, dish = [(await picture(city, owner, store, png(size, size)))["id"] for size in (1, 2, 3)]
    await city.do(owner, SET_LOGO, store=store, picture=logo)
    await city.do(owner, SET_PHOTOS, store=store, pictures=[photo])
    (category,) = (await city.do(owner, ITEMS, store=store))["menu"]
    await city.do(owner, SET_ITEM, item=category["items"][0]["id"], picture=dish)
    await add_webhooks(town)
    return town


async def add_webhooks(town: Town) -> None:
    """An endpoint of the partner, which sends nothing any more, with a delivery that failed."""
    city, runtime = town.city, town.city.program.runtime
    partner = (await town.principal(View.PARTNER)).subject
    store = ids.decode("Store", town.ids["store"])
    assert partner is not None and store is not None
    await webhooks.share_store(runtime, await town.principal(View.ADMIN), partner, store)
    made = await webhooks.create(runtime, None, partner, "http://127.0.0.1:1/")
    endpoint = await webhooks.disable(runtime, None, made.endpoint.id, "quiet")
    delivery = ids.uuid7()
    await city.execute(
        """INSERT INTO webhook_delivery (id, endpoint_id, sequence, type, at, body, state, attempts, created_at,
                                         queued_at, due_at, settled_at)
           VALUES ($1, $2, 1, 'ping', now(), '{"cursor": ""}', 'FAILED', 1, now(), now(), now(), now())""",
        delivery,
        endpoint.id,
    )
    await city.execute(
        """INSERT INTO webhook_attempt (id, delivery_id, at, duration_ms, status, excerpt)
           VALUES ($1, $2, now(), 1, 500, '')""",
        ids.uuid7(),
        delivery,
    )
    town.ids["partner"] = ids.encode("Partner", partner)
    town.ids["endpoint"] = ids.encode("WebhookEndpoint", endpoint.id)


@pytest.fixture(scope="module")
async def town(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory, watched: None
) -> AsyncIterator[Town]:
    plenty = {view.value: 1_000_000_000 for view in View}
    limits: dict[str, Any] = {"max_nodes": 1_000_000_000, "cost_available": plenty, "cost_restore_rate": plenty}
    async with running_city(module_database_url, tmp_path_factory.mktemp("town"), **limits) as city:
        yield await make_town(city)
