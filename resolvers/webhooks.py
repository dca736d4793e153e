"""Fields and actions of webhooks: one service call each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import TypeVar
from uuid import UUID

import orjson

from auth.principals import View
from core import ids
from models.webhooks import WebhookDeliveryState
from resolvers import merchants
from resolvers.base import Page, action, key, make_page, or_none, page_size
from resolvers.context import Context, Info, batched, by_arguments
from services import partners, webhooks
from services.errors import InvalidInput
from services.merchants.records import StoreRecord
from services.partners import PartnerRecord
from services.runtime import Runtime
from services.webhooks import Delivery, Endpoint, NewEndpointSecret, Replay, Sharing

T = TypeVar("T")

# fields


def _all_of(
    read: Callable[[Runtime, list[UUID]], Awaitable[dict[UUID, list[T]]]],
) -> Callable[[Context, list[UUID]], Awaitable[list[list[T]]]]:
    async def load(context: Context, keys: list[UUID]) -> list[list[T]]:
        found = await read(context.runtime, keys)
        return [found[k] for k in keys]

    return load


endpoints_of = batched(_all_of(webhooks.of_partners), attrgetter("id"))
secrets_of = batched(_all_of(webhooks.secrets_of), attrgetter("id"))
attempts_of = batched(_all_of(webhooks.attempts_of), attrgetter("id"))


async def _deliveries(
    context: Context, keys: list[UUID], window: tuple[WebhookDeliveryState | None, int, int | None]
) -> dict[UUID, list[Delivery]]:
    shared = context.principal.view is View.PARTNER
    return await webhooks.of_endpoints(context.runtime, keys, *window, shared=shared)


_load_deliveries = by_arguments(_deliveries)


async def deliveries_of(
    root: Endpoint, info: Info, first: int, after: str | None = None, state: WebhookDeliveryState | None = None
) -> Page[Delivery]:
    """A page of what an endpoint was or is to be sent, the newest first."""
    size = page_size(first)
    if after is not None and not (after.isascii() and after.isdigit() and len(after) < 19):
        raise InvalidInput(field="after", reason="is not a cursor of this list")
    before = None if after is None else int(after)
    rows = await info.context.loader(_load_deliveries).load((root.id, (state, size + 1, before)))
    return make_page(rows, size, lambda delivery: str(delivery.sequence), after=after)


def cursor_of(root: Delivery) -> str:
    return orjson.loads(root.body)["cursor"]


async def _shared(context: Context, keys: list[UUID], window: tuple[int, UUID | None]) -> dict[UUID, list[StoreRecord]]:
    found = await webhooks.stores_of(context.runtime, keys, *window)
    wanted = list({store for stores in found.values() for store in stores})
    loaded = await context.loader(merchants.load_stores).load_many(wanted)
    stores = {store.id: store for store in loaded if isinstance(store, StoreRecord)}
    return {key: [stores[store] for store in found[key]] for key in keys}


_load_shared = by_arguments(_shared)


async def stores_of(root: PartnerRecord, info: Info, first: int, after: str | None = None) -> Page[StoreRecord]:
    """A page of the stores whose orders a partner is told of."""
    after_key = None if after is None else key("Store", after)
    rows = await info.context.loader(_load_shared).load((root.id, (page_size(first) + 1, after_key)))
    return make_page(rows, first, lambda store: ids.encode("Store", store.id), after=after)


async def _load_partners(context: Context, keys: list[UUID]) -> list[PartnerRecord | None]:
    found = await partners.by_ids(context.runtime, keys)
    return [found.get(k) for k in keys]


partner_of = batched(_load_partners, attrgetter("partner_id"))


async def _sharings(context: Context, keys: list[UUID], window: tuple[int, UUID | None]) -> dict[UUID, list[Sharing]]:
    return await webhooks.sharings_of_stores(context.runtime, keys, *window)


_load_sharings = by_arguments(_sharings)


async def sharings_of(root: StoreRecord, info: Info, first: int, after: str | None = None) -> Page[Sharing] | None:
    """A page of what was decided about a store and partners; None but for its owners and admins of its city."""
    size, after_key = page_size(first), None if after is None else key("Partner", after)
    principal = info.context.principal
    if not (principal.owns(root.id) or principal.administers(root.city_id)):
        return None
    rows = await info.context.loader(_load_sharings).load((root.id, (size + 1, after_key)))
    return make_page(rows, size, lambda sharing: ids.encode("Partner", sharing.partner_id), after=after)


# actions


@action
async def create(
    context: Context, partner: str, url: str, event_types: Sequence[str] | None, description: str
) -> NewEndpointSecret:
    partner_id = key("Partner", partner)
    return await webhooks.create(context.runtime, context.principal, partner_id, url, event_types, description)


@action
async def update(
    context: Context, endpoint: str, url: str, event_types: Sequence[str] | None, description: str
) -> Endpoint:
    endpoint_id = key("WebhookEndpoint", endpoint)
    return await webhooks.update(context.runtime, context.principal, endpoint_id, url, event_types, description)


@action
async def rotate_secret(context: Context, endpoint: str, previous_ends_at: datetime | None) -> NewEndpointSecret:
    endpoint_id = key("WebhookEndpoint", endpoint)
    return await webhooks.rotate_secret(context.runtime, context.principal, endpoint_id, previous_ends_at)


@action
async def enable(context: Context, endpoint: str) -> Endpoint:
    return await webhooks.enable(context.runtime, context.principal, key("WebhookEndpoint", endpoint))


@action
async def disable(context: Context, endpoint: str, reason: str) -> Endpoint:
    return await webhooks.disable(context.runtime, context.principal, key("WebhookEndpoint", endpoint), reason)


@action
async def ping(context: Context, endpoint: str) -> Delivery:
    return await webhooks.ping(context.runtime, context.principal, key("WebhookEndpoint", endpoint))


@action
async def resend(context: Context, delivery: str) -> Delivery:
    return await webhooks.resend(context.runtime, context.principal, key("WebhookDelivery", delivery))


@action
async def replay(context: Context, endpoint: str, after: str | None, starting: datetime | None) -> Replay:
    endpoint_id = key("WebhookEndpoint", endpoint)
    return await webhooks.replay(context.runtime, context.principal, endpoint_id, after, starting)


@action
async def share_store(context: Context, partner: str, store: str) -> PartnerRecord:
    partner_id, store_id = key("Partner", partner), key("Store", store)
    await webhooks.share_store(context.runtime, context.principal, partner_id, store_id)
    return (await partners.by_ids(context.runtime, [partner_id]))[partner_id]


@action
async def unshare_store(context: Context, partner: str, store: str) -> PartnerRecord:
    partner_id, store_id = key("Partner", partner), key("Store", store)
    await webhooks.unshare_store(context.runtime, context.principal, partner_id, store_id)
    return (await partners.by_ids(context.runtime, [partner_id]))[partner_id]


async def load_endpoint(context: Context, endpoint_id: UUID) -> Endpoint | None:
    return await or_none(webhooks.get(context.runtime, context.principal, endpoint_id))


async def load_delivery(context: Context, delivery_id: UUID) -> Delivery | None:
    return await or_none(webhooks.get_delivery(context.runtime, context.principal, delivery_id))


NODES: dict[str, Callable[[Context, UUID], Awaitable[object | None]]] = {
    "WebhookEndpoint": load_endpoint,
    "WebhookDelivery": load_delivery,
}
