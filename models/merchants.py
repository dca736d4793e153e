"""Merchants, their stores, and where and when these serve."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from tortoise import fields
from tortoise.contrib.postgres.fields import ArrayField
from tortoise.indexes import Index
from tortoise.models import Model

from core.ids import uuid7


class StoreStatus(StrEnum):
    """Set by the staff. PAUSED: open, but takes no orders for the moment."""

    OPEN = "OPEN"
    PAUSED = "PAUSED"
    CLOSED = "CLOSED"


class Merchant(Model):
    id = fields.UUIDField(primary_key=True, default=uuid7)
    city_id = fields.UUIDField()
    name = fields.CharField(max_length=80)
    owner_id = fields.UUIDField()
    created_at = fields.DatetimeField()

    class Meta(Model.Meta):
        table = "merchant"
        indexes = [Index(fields=("city_id",)), Index(fields=("owner_id",))]


class StoreTag(Model):
    """A discovery category, for example noodles."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    slug = fields.CharField(max_length=40, unique=True)
    name = fields.CharField(max_length=40)

    class Meta(Model.Meta):
        table = "store_tag"


class Store(Model):
    """``hours``: ``[{"weekday": 1..7, "opens": "HH:MM", "closes": "HH:MM"}]`` in the city's time zone.

    ``delivery_area``: ``[[latitude, longitude], …]`` in GCJ-02, or null for the circle of ``delivery_radius_m``.
    ``search_text`` and ``search_grams`` are maintained from name and tags, see ``core.textsearch``.
    """

    id = fields.UUIDField(primary_key=True, default=uuid7)
    merchant: fields.ForeignKeyRelation[Merchant] = fields.ForeignKeyField("models.Merchant", related_name="stores")
    city_id = fields.UUIDField()
    name = fields.CharField(max_length=80)
    address = fields.CharField(max_length=200)
    phone = fields.CharField(max_length=16)
    latitude = fields.FloatField()
    longitude = fields.FloatField()
    timezone = fields.CharField(max_length=40)
    currency = fields.CharField(max_length=3)
    status = fields.CharEnumField(StoreStatus, max_length=8, default=StoreStatus.OPEN)
    hours: fields.Field[list[dict[str, Any]]] = fields.JSONField()
    services: fields.Field[list[str]] = fields.JSONField()  # FulfilmentMode values
    tag_ids: fields.Field[list[str]] = fields.JSONField()  # StoreTag ids as text
    delivery_radius_m = fields.IntField()
    delivery_area: fields.Field[list[list[float]] | None] = fields.JSONField(null=True)
    minimum_order = fields.BigIntField()
    delivery_fee = fields.BigIntField()
    prep_minutes = fields.IntField()
    queue_open = fields.BooleanField(default=True)
    search_text = fields.TextField()
    search_grams: fields.Field[list[str]] = ArrayField(element_type="text")
    created_at = fields.DatetimeField()

    class Meta(Model.Meta):
        table = "store"
        indexes = [Index(fields=("city_id",))]


class DiningTable(Model):
    id = fields.UUIDField(primary_key=True, default=uuid7)
    store: fields.ForeignKeyRelation[Store] = fields.ForeignKeyField("models.Store", related_name="tables")
    code = fields.CharField(max_length=16)
    seats = fields.SmallIntField()

    class Meta(Model.Meta):
        table = "dining_table"
        unique_together = (("store", "code"),)
