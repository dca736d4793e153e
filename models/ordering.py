"""Quotes and orders. An order's ``version`` counts its events and is the offset of its feed."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model

from core.ids import uuid7


class FulfilmentMode(StrEnum):
    DELIVERY = "DELIVERY"
    PICKUP = "PICKUP"
    DINE_IN = "DINE_IN"


class OrderState(StrEnum):
    PLACED = "PLACED"
    PAID = "PAID"
    ACCEPTED = "ACCEPTED"
    PREPARING = "PREPARING"
    READY = "READY"
    PICKED_UP = "PICKED_UP"
    DELIVERED = "DELIVERED"
    COMPLETED = "COMPLETED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class OrderAction(StrEnum):
    PAY = "PAY"
    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    START_PREPARING = "START_PREPARING"
    MARK_READY = "MARK_READY"
    PICK_UP = "PICK_UP"
    HAND_OVER = "HAND_OVER"
    DELIVER = "DELIVER"
    COMPLETE = "COMPLETE"
    CANCEL = "CANCEL"
    EXPIRE = "EXPIRE"
    REFUND = "REFUND"


class Quote(Model):
    """Prices as they were told to a consumer; ``lines`` is the frozen breakdown."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    consumer_id = fields.UUIDField()
    store_id = fields.UUIDField()
    mode = fields.CharEnumField(FulfilmentMode, max_length=8)
    lines: fields.Field[list[dict[str, Any]]] = fields.JSONField()
    currency = fields.CharField(max_length=3)
    subtotal = fields.BigIntField()
    delivery_fee = fields.BigIntField()
    total = fields.BigIntField()
    created_at = fields.DatetimeField()
    expires_at = fields.DatetimeField()

    class Meta(Model.Meta):
        table = "quote"


class Order(Model):
    id = fields.UUIDField(primary_key=True, default=uuid7)
    number = fields.CharField(max_length=20)
    pickup_number = fields.IntField(null=True)
    state = fields.CharEnumField(OrderState, max_length=10)
    mode = fields.CharEnumField(FulfilmentMode, max_length=8)
    version = fields.IntField()
    city_id = fields.UUIDField()
    store_id = fields.UUIDField()
    consumer_id = fields.UUIDField()
    quote_id = fields.UUIDField(unique=True)  # a quote becomes at most one order
    table_id = fields.UUIDField(null=True)
    contact = fields.CharField(max_length=80, null=True)
    contact_phone = fields.CharField(max_length=16, null=True)
    address = fields.CharField(max_length=200, null=True)
    latitude = fields.FloatField(null=True)
    longitude = fields.FloatField(null=True)
    note = fields.CharField(max_length=200, default="")
    currency = fields.CharField(max_length=3)
    subtotal = fields.BigIntField()
    delivery_fee = fields.BigIntField()
    total = fields.BigIntField()
    refunded = fields.BigIntField(default=0)
    placed_at = fields.DatetimeField()
    pay_by = fields.DatetimeField()
    paid_at = fields.DatetimeField(null=True)
    accept_by = fields.DatetimeField(null=True)
    accepted_at = fields.DatetimeField(null=True)
    promised_ready_at = fields.DatetimeField(null=True)
    ready_at = fields.DatetimeField(null=True)
    picked_up_at = fields.DatetimeField(null=True)
    delivered_at = fields.DatetimeField(null=True)
    completed_at = fields.DatetimeField(null=True)
    closed_at = fields.DatetimeField(null=True)
    eta = fields.DatetimeField(null=True)
    close_reason = fields.CharField(max_length=200, null=True)

    class Meta(Model.Meta):
        table = "order"
        indexes = [
            Index(fields=("consumer_id", "id")),
            Index(fields=("store_id", "id")),
            Index(fields=("city_id", "id")),
        ]


class OrderLine(Model):
    """Prices and names as they were at placement; the catalogue may change afterwards."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    order_id = fields.UUIDField()
    sku_id = fields.UUIDField()
    position = fields.SmallIntField()
    item_name = fields.CharField(max_length=80)
    sku_name = fields.CharField(max_length=40)
    options: fields.Field[list[str]] = fields.JSONField()
    quantity = fields.IntField()
    unit_price = fields.BigIntField()
    total = fields.BigIntField()

    class Meta(Model.Meta):
        table = "order_line"
        indexes = [Index(fields=("order_id",))]
