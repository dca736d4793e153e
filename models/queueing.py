"""Waiting for a table: classes by party size, tickets with daily numbers."""

from __future__ import annotations

from enum import StrEnum

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model

from core.ids import uuid7
from models.merchants import Store


class QueueTicketState(StrEnum):
    WAITING = "WAITING"
    CALLED = "CALLED"
    SEATED = "SEATED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class QueueAction(StrEnum):
    CALL = "CALL"
    SEAT = "SEAT"
    SKIP = "SKIP"
    REQUEUE = "REQUEUE"
    CANCEL = "CANCEL"


class QueueClass(Model):
    """Parties of ``min_party`` to ``max_party`` people. ``turn_minutes``: how long such a table stays taken."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    store: fields.ForeignKeyRelation[Store] = fields.ForeignKeyField("models.Store", related_name="queue_classes")
    code = fields.CharField(max_length=2)
    min_party = fields.SmallIntField()
    max_party = fields.SmallIntField()
    table_count = fields.SmallIntField()
    turn_minutes = fields.SmallIntField()

    class Meta(Model.Meta):
        table = "queue_class"
        unique_together = (("store", "code"),)


class QueueTicket(Model):
    """``rank`` orders the waiting line of a class; a requeued ticket gets a later rank but keeps its number."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    store_id = fields.UUIDField()
    queue_class: fields.ForeignKeyRelation[QueueClass] = fields.ForeignKeyField(
        "models.QueueClass", related_name="tickets"
    )
    business_date = fields.DateField()
    sequence = fields.IntField()
    rank = fields.BigIntField()
    number = fields.CharField(max_length=8)
    state = fields.CharEnumField(QueueTicketState, max_length=10)
    version = fields.IntField()
    party_size = fields.SmallIntField()
    consumer_id = fields.UUIDField(null=True)
    phone = fields.CharField(max_length=16, null=True)
    taken_at = fields.DatetimeField()
    called_at = fields.DatetimeField(null=True)
    seated_at = fields.DatetimeField(null=True)
    closed_at = fields.DatetimeField(null=True)

    class Meta(Model.Meta):
        table = "queue_ticket"
        unique_together = (("queue_class", "business_date", "sequence"),)
        indexes = [Index(fields=("store_id", "business_date")), Index(fields=("consumer_id",))]
