"""Payments and refunds through a provider. Σ refunds ≤ captured is also a table constraint."""

from __future__ import annotations

from enum import StrEnum

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model

from core.ids import uuid7


class PaymentState(StrEnum):
    PENDING = "PENDING"
    CAPTURED = "CAPTURED"
    REFUNDING = "REFUNDING"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
    REFUNDED = "REFUNDED"
    CLOSED = "CLOSED"


class RefundState(StrEnum):
    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"


class Payment(Model):
    """One attempt to pay one order. ``out_trade_no`` is our number at the provider.

    ``refund_due`` is what has been promised back, ``refunded`` what the provider confirmed.
    """

    id = fields.UUIDField(primary_key=True, default=uuid7)
    order_id = fields.UUIDField()
    state = fields.CharEnumField(PaymentState, max_length=20)
    channel = fields.CharField(max_length=20)
    out_trade_no = fields.CharField(max_length=32, unique=True)
    provider_trade_no = fields.CharField(max_length=64, null=True)
    pay_url = fields.CharField(max_length=400, null=True)
    currency = fields.CharField(max_length=3)
    amount: fields.Field[int] = fields.BigIntField()
    refund_due = fields.BigIntField(default=0)
    refunded = fields.BigIntField(default=0)
    created_at = fields.DatetimeField()
    captured_at = fields.DatetimeField(null=True)

    class Meta(Model.Meta):
        table = "payment"
        indexes = [Index(fields=("order_id",))]


class Refund(Model):
    id = fields.UUIDField(primary_key=True, default=uuid7)
    payment_id = fields.UUIDField()
    out_refund_no = fields.CharField(max_length=32, unique=True)
    state = fields.CharEnumField(RefundState, max_length=10)
    amount = fields.BigIntField()
    reason = fields.CharField(max_length=200)
    payer = fields.CharField(max_length=60)  # ledger account it is paid from: escrow, or the store once settled
    created_at = fields.DatetimeField()
    succeeded_at = fields.DatetimeField(null=True)

    class Meta(Model.Meta):
        table = "refund"
        indexes = [Index(fields=("payment_id",))]
