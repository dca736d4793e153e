"""What partners are told of by signed webhooks: whose orders, where to, and what became of it."""

from __future__ import annotations

from enum import StrEnum

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model

from core.ids import uuid7
from models.identity import Client
from models.merchants import Store


class WebhookEndpointState(StrEnum):
    """DISABLED: nothing is sent; what happens meanwhile is told when it is enabled again."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


class WebhookDisabledReason(StrEnum):
    """Why an endpoint is disabled."""

    REQUESTED = "REQUESTED"
    """Somebody asked for it."""
    GONE = "GONE"
    """It answered with status 410."""
    EXHAUSTED = "EXHAUSTED"
    """All attempts of a delivery failed, and nothing else arrived since it was due."""


class WebhookDeliveryState(StrEnum):
    """PENDING: to be sent, or sent again. CANCELLED: the partner may not see it any more. FAILED: given up."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class WebhookFault(StrEnum):
    """Why an attempt failed."""

    STATUS = "STATUS"
    """The answer was neither 2xx nor a redirect."""
    REDIRECT = "REDIRECT"
    """The answer was a redirect, which is never followed."""
    TIMEOUT = "TIMEOUT"
    """There was no answer in time."""
    UNREACHABLE = "UNREACHABLE"
    """No connection: the name is unknown, nobody listens, or TLS failed."""
    BROKEN = "BROKEN"
    """The connection ended without an answer, or with one that is no HTTP."""
    ADDRESS = "ADDRESS"
    """The name stands for an address that is not public."""


class SharingParty(StrEnum):
    """Who decides that a store is shared with a partner, or not."""

    OWNER = "OWNER"
    """The store's owner."""
    ADMIN = "ADMIN"
    """An admin of the city."""
    OPERATOR = "OPERATOR"
    """Whoever has the command line of the installation."""


class SharingState(StrEnum):
    """SHARED: the partner is told of the store's orders. REFUSED: the owner wants it told of nothing."""

    SHARED = "SHARED"
    REFUSED = "REFUSED"


class PartnerStore(Model):
    """A store whose orders a partner is told of: events after ``from_offset`` of its feed, until it is revoked.

    Owners' refusals are in ``partner_refusal``, which is SQL only. Of one partner and store there is a refusal, or a
    live row, or neither.
    """

    id = fields.UUIDField(primary_key=True, default=uuid7)
    client: fields.ForeignKeyRelation[Client] = fields.ForeignKeyField("models.Client", related_name="stores")
    store: fields.ForeignKeyRelation[Store] = fields.ForeignKeyField("models.Store", related_name="partners")
    from_offset = fields.BigIntField()
    shared_by = fields.CharEnumField(SharingParty, max_length=8)
    created_at = fields.DatetimeField()
    revoked_at = fields.DatetimeField(null=True)

    class Meta(Model.Meta):
        table = "partner_store"
        indexes = [Index(fields=("client_id",)), Index(fields=("store_id",))]


class WebhookEndpoint(Model):
    """Where a partner is told. How far it has been told is in ``webhook_position``, which is SQL only.

    ``sequence`` is of its newest delivery. Who sends to it holds ``lease`` until ``leased_until``.
    """

    id = fields.UUIDField(primary_key=True, default=uuid7)
    client: fields.ForeignKeyRelation[Client] = fields.ForeignKeyField("models.Client", related_name="endpoints")
    url = fields.CharField(max_length=500)
    description = fields.CharField(max_length=200)
    event_types: fields.Field[list[str] | None] = fields.JSONField(null=True)  # null: all
    state = fields.CharEnumField(WebhookEndpointState, max_length=8)
    disabled_reason = fields.CharEnumField(WebhookDisabledReason, max_length=9, null=True)
    disabled_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField()
    sequence = fields.BigIntField(default=0)
    failures = fields.IntField(default=0)  # attempts since the last one that succeeded
    failing_since = fields.DatetimeField(null=True)
    last_success_at = fields.DatetimeField(null=True)
    resume_at = fields.DatetimeField(null=True)  # after failures: not before then
    wake_at = fields.DatetimeField(null=True)  # when the next job for it runs
    lease = fields.UUIDField(null=True)
    leased_until = fields.DatetimeField(null=True)

    class Meta(Model.Meta):
        table = "webhook_endpoint"
        indexes = [Index(fields=("client_id",))]


class WebhookSecret(Model):
    """One of the two secrets that may sign at a time. The secret itself is derived from the id. Wall time."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    endpoint: fields.ForeignKeyRelation[WebhookEndpoint] = fields.ForeignKeyField(
        "models.WebhookEndpoint", related_name="secrets"
    )
    created_at = fields.DatetimeField()
    ends_at = fields.DatetimeField(null=True)

    class Meta(Model.Meta):
        table = "webhook_secret"
        indexes = [Index(fields=("endpoint_id",))]


class WebhookDelivery(Model):
    """One event for one endpoint, or a ping, which has neither feed nor store. ``body`` is what is sent, each time.

    ``attempts`` and ``queued_at`` are of the present round: a replay begins another one.
    """

    id = fields.UUIDField(primary_key=True, default=uuid7)
    endpoint: fields.ForeignKeyRelation[WebhookEndpoint] = fields.ForeignKeyField(
        "models.WebhookEndpoint", related_name="deliveries"
    )
    sequence = fields.BigIntField()
    type = fields.CharField(max_length=40)
    at = fields.DatetimeField()
    store_id = fields.UUIDField(null=True)
    order_id = fields.UUIDField(null=True)
    feed = fields.CharField(max_length=60, null=True)
    offset = fields.BigIntField(null=True)
    body = fields.TextField()
    state = fields.CharEnumField(WebhookDeliveryState, max_length=9)
    attempts = fields.IntField(default=0)
    created_at = fields.DatetimeField()
    queued_at = fields.DatetimeField()
    due_at = fields.DatetimeField()
    settled_at = fields.DatetimeField(null=True)

    class Meta(Model.Meta):
        table = "webhook_delivery"
        unique_together = (("endpoint", "sequence"), ("endpoint", "feed", "offset"))


class WebhookAttempt(Model):
    """What came of sending a delivery once. ``excerpt`` is the beginning of the answer's body."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    delivery: fields.ForeignKeyRelation[WebhookDelivery] = fields.ForeignKeyField(
        "models.WebhookDelivery", related_name="tries"
    )
    at = fields.DatetimeField()
    duration_ms = fields.IntField()
    status = fields.SmallIntField(null=True)
    fault = fields.CharEnumField(WebhookFault, max_length=11, null=True)
    excerpt = fields.TextField()

    class Meta(Model.Meta):
        table = "webhook_attempt"
        indexes = [Index(fields=("delivery_id",))]
