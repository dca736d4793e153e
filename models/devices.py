"""Terminals in shops and what they are told to do: printers, gates, boards, and their commands."""

from __future__ import annotations

from enum import StrEnum

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model

from core.ids import uuid7
from models.merchants import Store


class DeviceCapability(StrEnum):
    """What a device can do, and so which commands it is sent."""

    PRINT = "PRINT"
    GATE = "GATE"
    BOARD = "BOARD"


class DeviceStation(StrEnum):
    """Where in the shop a device stands. Printers at KITCHEN get the tickets of accepted orders by themselves."""

    KITCHEN = "KITCHEN"
    COUNTER = "COUNTER"
    ENTRANCE = "ENTRANCE"


class DeviceState(StrEnum):
    """UNPAIRED: registered, no hardware yet. ACTIVE: has credentials. DISABLED: cut off until it is paired again."""

    UNPAIRED = "UNPAIRED"
    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


class CommandState(StrEnum):
    """QUEUED: not handed over yet. DELIVERED: handed to the device's connection. All others are final."""

    QUEUED = "QUEUED"
    DELIVERED = "DELIVERED"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


class CommandAction(StrEnum):
    """What can be done to a command."""

    DELIVER = "DELIVER"
    ACKNOWLEDGE = "ACKNOWLEDGE"
    FAIL = "FAIL"
    EXPIRE = "EXPIRE"
    CANCEL = "CANCEL"
    RESEND = "RESEND"


class CommandOutcome(StrEnum):
    """What a device says became of a command."""

    DONE = "DONE"
    FAILED = "FAILED"


class CommandFailure(StrEnum):
    """Why a device could not carry a command out."""

    OUT_OF_PAPER = "OUT_OF_PAPER"
    FAULT = "FAULT"
    UNSUPPORTED = "UNSUPPORTED"
    OTHER = "OTHER"


class TicketKind(StrEnum):
    """What a printed ticket is for. CANCELLATION: stop cooking the order. NOTE: free text."""

    KITCHEN = "KITCHEN"
    CANCELLATION = "CANCELLATION"
    RECEIPT = "RECEIPT"
    NOTE = "NOTE"


class BoardKind(StrEnum):
    """What a board shows. QUEUE: the store's queue, by `queueBoardUpdates`. BLANK: nothing."""

    QUEUE = "QUEUE"
    BLANK = "BLANK"


class Device(Model):
    """One place for hardware. ``client_id`` is the ``client`` whose credentials the hardware has now."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    store: fields.ForeignKeyRelation[Store] = fields.ForeignKeyField("models.Store", related_name="devices")
    name = fields.CharField(max_length=80)
    station = fields.CharEnumField(DeviceStation, max_length=10)
    capabilities: fields.Field[list[str]] = fields.JSONField()
    client_id = fields.UUIDField(null=True, unique=True)
    pairing_hash = fields.CharField(max_length=64, null=True, unique=True)
    pairing_expires_at = fields.DatetimeField(null=True)  # wall time
    created_at = fields.DatetimeField()
    paired_at = fields.DatetimeField(null=True)
    disabled_at = fields.DatetimeField(null=True)
    last_seen_at = fields.DatetimeField(null=True)
    left_at = fields.DatetimeField(null=True)  # when its last connection to some process ended

    class Meta(Model.Meta):
        table = "device"
        indexes = [Index(fields=("store_id",))]


class DeviceCommand(Model):
    """``payload`` is frozen when the command is made. ``source`` names what caused it, once per device."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    device: fields.ForeignKeyRelation[Device] = fields.ForeignKeyField("models.Device", related_name="commands")
    store_id = fields.UUIDField()
    capability = fields.CharEnumField(DeviceCapability, max_length=10)
    payload: fields.Field[dict[str, object]] = fields.JSONField()
    order_id = fields.UUIDField(null=True)
    source = fields.CharField(max_length=80, null=True)
    state = fields.CharEnumField(CommandState, max_length=12)
    created_at = fields.DatetimeField()
    expires_at = fields.DatetimeField()
    delivered_at = fields.DatetimeField(null=True)
    closed_at = fields.DatetimeField(null=True)
    outcome = fields.CharEnumField(CommandOutcome, max_length=6, null=True)
    failure = fields.CharEnumField(CommandFailure, max_length=14, null=True)
    detail = fields.CharField(max_length=200, null=True)
    reported_at = fields.DatetimeField(null=True)

    class Meta(Model.Meta):
        table = "device_command"
        unique_together = (("device", "source"),)
        indexes = [Index(fields=("device_id", "id"))]
