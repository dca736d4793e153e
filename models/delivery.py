"""Riders and deliveries."""

from __future__ import annotations

from enum import StrEnum

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model

from core.ids import uuid7


class DeliveryState(StrEnum):
    SEARCHING = "SEARCHING"
    OFFERED = "OFFERED"
    ASSIGNED = "ASSIGNED"
    AT_STORE = "AT_STORE"
    PICKED_UP = "PICKED_UP"
    DELIVERED = "DELIVERED"
    CANCELLED = "CANCELLED"


LIVE_WITH_RIDER = frozenset({DeliveryState.ASSIGNED, DeliveryState.AT_STORE, DeliveryState.PICKED_UP})
"""States in which a rider is on the job, so that the consumer may see where the rider is."""


class Rider(Model):
    """A person who delivers in one city. ``active_delivery_id`` is the job the rider is offered or carries out."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    person_id = fields.UUIDField()
    city_id = fields.UUIDField()
    name = fields.CharField(max_length=80)
    phone = fields.CharField(max_length=16)
    online = fields.BooleanField(default=False)
    active_delivery_id = fields.UUIDField(null=True)
    latitude = fields.FloatField(null=True)
    longitude = fields.FloatField(null=True)
    accuracy_m = fields.FloatField(null=True)
    heading = fields.FloatField(null=True)
    speed = fields.FloatField(null=True)
    located_at = fields.DatetimeField(null=True)
    created_at = fields.DatetimeField()

    class Meta(Model.Meta):
        table = "rider"
        unique_together = (("person_id", "city_id"),)


class Delivery(Model):
    """The job of bringing one order. ``declined_by``: riders who said no or did not answer, as text ids."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    order_id = fields.UUIDField(unique=True)
    city_id = fields.UUIDField()
    store_id = fields.UUIDField()
    state = fields.CharEnumField(DeliveryState, max_length=10)
    rider_id = fields.UUIDField(null=True)
    offer_expires_at = fields.DatetimeField(null=True)
    declined_by: fields.Field[list[str]] = fields.JSONField(default=list)
    pickup_latitude = fields.FloatField()
    pickup_longitude = fields.FloatField()
    dropoff_latitude = fields.FloatField()
    dropoff_longitude = fields.FloatField()
    distance_m = fields.IntField()
    currency = fields.CharField(max_length=3)
    fee = fields.BigIntField()
    created_at = fields.DatetimeField()
    pickup_eta = fields.DatetimeField(null=True)
    eta = fields.DatetimeField(null=True)

    class Meta(Model.Meta):
        table = "delivery"
        indexes = [Index(fields=("rider_id",))]


class TrackPoint(Model):
    """A sample of a rider's track while on a delivery: of each ``slot`` of time the first fix that was recorded in it,
    in whatever order they came."""

    id = fields.BigIntField(primary_key=True)
    delivery_id = fields.UUIDField()
    rider_id = fields.UUIDField()
    slot = fields.DatetimeField()
    recorded_at = fields.DatetimeField()
    latitude = fields.FloatField()
    longitude = fields.FloatField()
    accuracy_m = fields.FloatField(null=True)

    class Meta(Model.Meta):
        table = "track_point"
        unique_together = (("delivery_id", "rider_id", "slot"),)
