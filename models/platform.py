"""Tables of the platform itself. The event log (``feed_event``, ``feed_head``) is SQL only, see the migrations."""

from __future__ import annotations

from typing import Any

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model

from core.ids import uuid7


class IdempotencyRecord(Model):
    """The answer once given under a key. ``fingerprint`` is the SHA-256 of operation and input."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    principal = fields.CharField(max_length=60)
    key = fields.CharField(max_length=80)
    operation = fields.CharField(max_length=40)
    fingerprint = fields.CharField(max_length=64)
    answer: fields.Field[dict[str, Any]] = fields.JSONField()
    created_at = fields.DatetimeField()

    class Meta(Model.Meta):
        table = "idempotency_record"
        unique_together = (("principal", "key"),)


class AuditEntry(Model):
    """Who did what to whom, for what people with power over others do. Rows are never changed.

    Admins of ``city_id`` read it; null where it is nobody's business but the actor's own.
    """

    id = fields.UUIDField(primary_key=True, default=uuid7)
    at = fields.DatetimeField()
    view = fields.CharField(max_length=10)
    actor_id = fields.UUIDField()
    action = fields.CharField(max_length=40)
    target_id = fields.UUIDField()
    facts: fields.Field[dict[str, Any]] = fields.JSONField()
    city_id = fields.UUIDField(null=True)

    class Meta(Model.Meta):
        table = "audit_entry"
        # By each filter, in the order of pages.
        indexes = [
            Index(fields=("target_id", "at", "id")),
            Index(fields=("actor_id", "at", "id")),
            Index(fields=("city_id", "at", "id")),
            Index(fields=("city_id", "action", "at", "id")),
        ]


class PersistedDocument(Model):
    """A registered document of a view, or of one partner. ``document_id`` is the SHA-256 of its text."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    view = fields.CharField(max_length=10)
    client_id = fields.UUIDField(null=True)
    document_id = fields.CharField(max_length=64)
    alias = fields.CharField(max_length=128, null=True)
    name = fields.CharField(max_length=80)
    body = fields.TextField()
    cost = fields.IntField()
    registered_at = fields.DatetimeField()
    changed_at = fields.DatetimeField()
    deprecated_from = fields.DatetimeField(null=True)
    retired_at = fields.DatetimeField(null=True)
    last_used_at = fields.DatetimeField(null=True)
    uses = fields.BigIntField(default=0)

    class Meta(Model.Meta):
        table = "persisted_document"
