"""Double-entry ledger. A deferred constraint trigger refuses a transaction that does not sum to zero."""

from __future__ import annotations

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model

from core.ids import uuid7


class LedgerTransaction(Model):
    """``reference`` names the business fact (for example ``capture:<payment>``); unique, so posting is idempotent."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    kind = fields.CharField(max_length=20)
    reference = fields.CharField(max_length=80, unique=True)
    order_id = fields.UUIDField(null=True)
    at = fields.DatetimeField()

    class Meta(Model.Meta):
        table = "ledger_transaction"
        indexes = [Index(fields=("order_id",))]


class LedgerEntry(Model):
    """``amount`` in minor units, positive for debit. ``account`` is for example ``merchant:<uuid>``."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    transaction: fields.ForeignKeyRelation[LedgerTransaction] = fields.ForeignKeyField(
        "models.LedgerTransaction", related_name="entries"
    )
    account = fields.CharField(max_length=60)
    currency = fields.CharField(max_length=3)
    amount = fields.BigIntField()

    class Meta(Model.Meta):
        table = "ledger_entry"
        indexes = [Index(fields=("transaction_id",)), Index(fields=("account",))]
