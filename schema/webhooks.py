"""Webhooks to partners in the graph."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from models.webhooks import (
    SharingParty,
    SharingState,
    WebhookDeliveryState,
    WebhookDisabledReason,
    WebhookEndpointState,
    WebhookFault,
)
from resolvers import webhooks as resolvers
from resolvers.context import ID, Info
from schema import enums as _enums  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schema.base import A, Connection, M, Node, P, computed, exposes, mutation, node_id, result, sized
from schema.partners import Partner
from services import errors, webhooks

if TYPE_CHECKING:
    from schema.merchants import Store

VIEWS = frozenset({A, P})
StoreType = Annotated["Store", strawberry.lazy("schema.merchants")]


@exposes(webhooks.Attempt, views=VIEWS)
@strawberry.type(description="What came of sending a webhook once.")
class WebhookAttempt:
    at: datetime
    duration_ms: int
    status: int | None = strawberry.field(description="Of the answer; null where there was none.")
    fault: WebhookFault | None = strawberry.field(description="Why it failed; null when it was delivered.")
    excerpt: str = strawberry.field(description="The first bytes of the answer's body.")


@exposes(webhooks.Delivery, views=VIEWS)
@strawberry.type(description="An event for an endpoint. `id` is the header `webhook-id`, the same in every attempt.")
class WebhookDelivery(Node):
    id: strawberry.ID = node_id("WebhookDelivery")
    type: str
    at: datetime = strawberry.field(description="When it happened.")
    cursor: str = strawberry.field(resolver=resolvers.cursor_of, description="To replay what came after it.")
    body: str = strawberry.field(description="What is sent.")
    state: WebhookDeliveryState
    due_at: datetime = strawberry.field(
        description="When it is sent, again or for the first time, while it is PENDING."
    )
    settled_at: datetime | None
    attempts: list[WebhookAttempt] = sized(
        10, computed(resolvers.attempts_of, description="Those that are kept, the oldest first.")
    )


@exposes(webhooks.Secret, views=VIEWS)
@strawberry.type(description="A secret that signs, without the secret itself.")
class WebhookSecret:
    created_at: datetime
    ends_at: datetime | None


@exposes(webhooks.Endpoint, views=VIEWS)
@strawberry.type(description="Where a partner is told of the orders of the stores that are shared with it.")
class WebhookEndpoint(Node):
    id: strawberry.ID = node_id("WebhookEndpoint")
    url: str
    description: str
    event_types: list[str] | None = strawberry.field(description="Null: all of them, also those that are new some day.")
    state: WebhookEndpointState
    disabled_reason: WebhookDisabledReason | None
    disabled_at: datetime | None
    created_at: datetime
    failures: int = strawberry.field(description="Attempts that failed since the last one that did not.")
    failing_since: datetime | None
    last_success_at: datetime | None
    resume_at: datetime | None = strawberry.field(description="It failed again and again and is left alone until then.")
    secrets: list[WebhookSecret] = sized(
        2, computed(resolvers.secrets_of, description="Those that sign now, the newest first.")
    )
    deliveries: Connection[WebhookDelivery] = computed(resolvers.deliveries_of, description="The newest first.")


@exposes(webhooks.NewEndpointSecret, views={A})
@strawberry.type(description="A secret that was just made. It is shown this once.")
class WebhookEndpointSecret:
    endpoint: WebhookEndpoint
    secret: str = strawberry.field(description="`whsec_…`, as libraries of Standard Webhooks take it.")


@exposes(webhooks.Replay, views=VIEWS)
@strawberry.type
class WebhookReplay:
    endpoint: WebhookEndpoint
    scheduled: int = strawberry.field(description="Deliveries that are sent again, or for the first time.")


@exposes(webhooks.Sharing, views={M, A})
@strawberry.type(description="What was decided last about a store and a partner.")
class StoreSharing:
    partner: Partner = computed(resolvers.partner_of)
    state: SharingState
    by: SharingParty
    since: datetime


class WebhooksMutation:
    @mutation(result("CreateWebhookEndpointResult", WebhookEndpointSecret, errors.WebhookEndpointLimitReached), A)
    async def create_webhook_endpoint(
        self, info: Info, partner: ID, url: str, event_types: list[str] | None = None, description: str = ""
    ) -> object:
        """Tell a partner at `url`, by signed requests, of what happens from now on."""
        return await resolvers.create(info.context, partner, url, event_types, description)

    @mutation(result("UpdateWebhookEndpointResult", WebhookEndpoint), A)
    async def update_webhook_endpoint(
        self, info: Info, endpoint: ID, url: str, event_types: list[str] | None = None, description: str = ""
    ) -> object:
        """Replace all that an endpoint is told to be, for what is sent from now on."""
        return await resolvers.update(info.context, endpoint, url, event_types, description)

    @mutation(result("RotateWebhookSecretResult", WebhookEndpointSecret), A)
    async def rotate_webhook_secret(self, info: Info, endpoint: ID, previous_ends_at: datetime | None = None) -> object:
        """Make another secret. The one before signs too until `previousEndsAt`, 24 hours where that is not given."""
        return await resolvers.rotate_secret(info.context, endpoint, previous_ends_at)

    @mutation(result("EnableWebhookEndpointResult", WebhookEndpoint, errors.WebhookEndpointLimitReached), A)
    async def enable_webhook_endpoint(self, info: Info, endpoint: ID) -> object:
        """Go on where the endpoint was left, as far as the event log reaches back."""
        return await resolvers.enable(info.context, endpoint)

    @mutation(result("DisableWebhookEndpointResult", WebhookEndpoint), A)
    async def disable_webhook_endpoint(self, info: Info, endpoint: ID, reason: str) -> object:
        """Send nothing more to an endpoint until it is enabled again."""
        return await resolvers.disable(info.context, endpoint, reason)

    @mutation(result("SendWebhookPingResult", WebhookDelivery, errors.WebhookEndpointDisabled), A, P)
    async def send_webhook_ping(self, info: Info, endpoint: ID) -> object:
        """Send an event `ping`, to try an endpoint out."""
        return await resolvers.ping(info.context, endpoint)

    @mutation(result("ResendWebhookResult", WebhookDelivery, errors.WebhookEndpointDisabled), A, P)
    async def resend_webhook(self, info: Info, delivery: ID) -> object:
        """Send one delivery again, under the same `webhook-id`."""
        return await resolvers.resend(info.context, delivery)

    @mutation(result("ReplayWebhooksResult", WebhookReplay, errors.WebhookEndpointDisabled), A, P)
    async def replay_webhooks(
        self, info: Info, endpoint: ID, after: str | None = None, starting: datetime | None = None
    ) -> object:
        """Send again what came after a cursor, or what happened since an instant, under the same `webhook-id`s.
        With `starting` also what the event log still has and the endpoint was never sent."""
        return await resolvers.replay(info.context, endpoint, after, starting)

    @mutation(result("ShareStoreResult", Partner, errors.SharingRefused), M, A)
    async def share_store(self, info: Info, partner: ID, store: ID) -> object:
        """Let a partner be told of the orders of a store from now on, unless an owner of the store has refused."""
        return await resolvers.share_store(info.context, partner, store)

    @mutation(result("UnshareStoreResult", Partner), M, A)
    async def unshare_store(self, info: Info, partner: ID, store: ID) -> object:
        """Tell a partner of nothing more of a store, also not of what waits. By an owner it is a refusal and stands."""
        return await resolvers.unshare_store(info.context, partner, store)
