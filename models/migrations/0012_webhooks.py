"""Webhooks to partners. Made by the migration generator, but for the SQL."""
# ruff: noqa: E501

from orjson import loads
from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.fields.data import JSON_DUMPS
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from core.ids import uuid7
from models.webhooks import WebhookDeliveryState, WebhookDisabledReason, WebhookEndpointState, WebhookFault

RULES = """
CREATE UNIQUE INDEX partner_store_live ON partner_store (client_id, store_id) WHERE revoked_at IS NULL;
CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint_id, due_at, sequence) WHERE state = 'PENDING';
CREATE INDEX webhook_delivery_created ON webhook_delivery USING brin (created_at);
ALTER TABLE webhook_endpoint ADD CONSTRAINT webhook_endpoint_disabled CHECK (
    (state = 'DISABLED') = (disabled_at IS NOT NULL) AND (disabled_at IS NULL) = (disabled_reason IS NULL));
ALTER TABLE webhook_delivery
    ADD CONSTRAINT webhook_delivery_settled CHECK ((settled_at IS NULL) = (state = 'PENDING')),
    ADD CONSTRAINT webhook_delivery_event CHECK (
        (feed IS NULL) = ("offset" IS NULL) AND (feed IS NULL) = (store_id IS NULL));
-- Up to which offset of a store's feed an endpoint has its deliveries.
CREATE TABLE webhook_position (
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoint ON DELETE CASCADE,
    store_id uuid NOT NULL REFERENCES store ON DELETE CASCADE,
    feed text NOT NULL,
    "offset" bigint NOT NULL,
    PRIMARY KEY (endpoint_id, store_id)
) WITH (fillfactor = 70);
"""


class Migration(migrations.Migration):
    dependencies = [("models", "0011_files")]

    operations = [
        ops.CreateModel(
            name="PartnerStore",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                (
                    "client",
                    fields.ForeignKeyField(
                        "models.Client",
                        source_field="client_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="stores",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                (
                    "store",
                    fields.ForeignKeyField(
                        "models.Store",
                        source_field="store_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="partners",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("from_offset", fields.BigIntField()),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("revoked_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "partner_store",
                "app": "models",
                "indexes": [Index(fields=["client_id"]), Index(fields=["store_id"])],
                "pk_attr": "id",
                "table_description": "A store whose orders a partner is told of: events after ``from_offset`` of its feed, until it is revoked.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="WebhookEndpoint",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                (
                    "client",
                    fields.ForeignKeyField(
                        "models.Client",
                        source_field="client_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="endpoints",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("url", fields.CharField(max_length=500)),
                ("description", fields.CharField(max_length=200)),
                ("event_types", fields.JSONField(null=True, encoder=JSON_DUMPS, decoder=loads)),
                (
                    "state",
                    fields.CharEnumField(
                        description="ENABLED: ENABLED\nDISABLED: DISABLED", enum_type=WebhookEndpointState, max_length=8
                    ),
                ),
                (
                    "disabled_reason",
                    fields.CharEnumField(
                        null=True,
                        description="REQUESTED: REQUESTED\nGONE: GONE\nEXHAUSTED: EXHAUSTED",
                        enum_type=WebhookDisabledReason,
                        max_length=9,
                    ),
                ),
                ("disabled_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("sequence", fields.BigIntField(default=0)),
                ("failures", fields.IntField(default=0)),
                ("failing_since", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("last_success_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("resume_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("wake_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("lease", fields.UUIDField(null=True)),
                ("leased_until", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "webhook_endpoint",
                "app": "models",
                "indexes": [Index(fields=["client_id"])],
                "pk_attr": "id",
                "table_description": "Where a partner is told. How far it has been told is in ``webhook_position``, which is SQL only.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="WebhookDelivery",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                (
                    "endpoint",
                    fields.ForeignKeyField(
                        "models.WebhookEndpoint",
                        source_field="endpoint_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="deliveries",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("sequence", fields.BigIntField()),
                ("type", fields.CharField(max_length=40)),
                ("at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("store_id", fields.UUIDField(null=True)),
                ("order_id", fields.UUIDField(null=True)),
                ("feed", fields.CharField(null=True, max_length=60)),
                ("offset", fields.BigIntField(null=True)),
                ("body", fields.TextField(unique=False)),
                (
                    "state",
                    fields.CharEnumField(
                        description="PENDING: PENDING\nDELIVERED: DELIVERED\nFAILED: FAILED\nCANCELLED: CANCELLED",
                        enum_type=WebhookDeliveryState,
                        max_length=9,
                    ),
                ),
                ("attempts", fields.IntField(default=0)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("queued_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("due_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("settled_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "webhook_delivery",
                "app": "models",
                "unique_together": (("endpoint", "sequence"), ("endpoint", "feed", "offset")),
                "pk_attr": "id",
                "table_description": "One event for one endpoint, or a ping, which has neither feed nor store. ``body`` is what is sent, each time.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="WebhookAttempt",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                (
                    "delivery",
                    fields.ForeignKeyField(
                        "models.WebhookDelivery",
                        source_field="delivery_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="tries",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("duration_ms", fields.IntField()),
                ("status", fields.SmallIntField(null=True)),
                (
                    "fault",
                    fields.CharEnumField(
                        null=True,
                        description="STATUS: STATUS\nREDIRECT: REDIRECT\nTIMEOUT: TIMEOUT\nUNREACHABLE: UNREACHABLE\nBROKEN: BROKEN\nADDRESS: ADDRESS",
                        enum_type=WebhookFault,
                        max_length=11,
                    ),
                ),
                ("excerpt", fields.TextField(unique=False)),
            ],
            options={
                "table": "webhook_attempt",
                "app": "models",
                "indexes": [Index(fields=["delivery_id"])],
                "pk_attr": "id",
                "table_description": "What came of sending a delivery once. ``excerpt`` is the beginning of the answer's body.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="WebhookSecret",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                (
                    "endpoint",
                    fields.ForeignKeyField(
                        "models.WebhookEndpoint",
                        source_field="endpoint_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="secrets",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("ends_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "webhook_secret",
                "app": "models",
                "indexes": [Index(fields=["endpoint_id"])],
                "pk_attr": "id",
                "table_description": "One of the two secrets that may sign at a time. The secret itself is derived from the id. Wall time.",
            },
            bases=["Model"],
        ),
        ops.RunSQL(RULES, "DROP TABLE webhook_position"),
    ]
