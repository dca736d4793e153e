"""Terminals in shops and their commands. Made by the migration generator, but for the SQL."""
# ruff: noqa: E501

from orjson import loads
from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.fields.data import JSON_DUMPS
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from core.ids import uuid7
from models.devices import CommandFailure, CommandOutcome, CommandState, DeviceCapability, DeviceStation

RULES = """
CREATE INDEX device_command_open ON device_command (device_id, id) WHERE state IN ('QUEUED', 'DELIVERED');
CREATE INDEX device_command_reported ON device_command (device_id, reported_at) WHERE reported_at IS NOT NULL;
CREATE INDEX device_command_order ON device_command (order_id) WHERE order_id IS NOT NULL;
ALTER TABLE device_command
    ADD CONSTRAINT device_command_closed CHECK ((closed_at IS NULL) = (state IN ('QUEUED', 'DELIVERED'))),
    ADD CONSTRAINT device_command_report CHECK (
        (outcome IS NULL) = (reported_at IS NULL) AND (failure IS NULL) = (outcome IS DISTINCT FROM 'FAILED'));
"""


class Migration(migrations.Migration):
    dependencies = [("models", "0002_rules")]

    operations = [
        ops.CreateModel(
            name="Device",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                (
                    "store",
                    fields.ForeignKeyField(
                        "models.Store",
                        source_field="store_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="devices",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("name", fields.CharField(max_length=80)),
                (
                    "station",
                    fields.CharEnumField(
                        description="KITCHEN: KITCHEN\nCOUNTER: COUNTER\nENTRANCE: ENTRANCE",
                        enum_type=DeviceStation,
                        max_length=10,
                    ),
                ),
                ("capabilities", fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
                ("client_id", fields.UUIDField(null=True, unique=True)),
                ("pairing_hash", fields.CharField(null=True, unique=True, max_length=64)),
                ("pairing_expires_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("paired_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("disabled_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("last_seen_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("left_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "device",
                "app": "models",
                "indexes": [Index(fields=["store_id"])],
                "pk_attr": "id",
                "table_description": "One place for hardware. ``client_id`` is the ``client`` whose credentials the hardware has now.",
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="DeviceCommand",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                (
                    "device",
                    fields.ForeignKeyField(
                        "models.Device",
                        source_field="device_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="commands",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("store_id", fields.UUIDField()),
                (
                    "capability",
                    fields.CharEnumField(
                        description="PRINT: PRINT\nGATE: GATE\nBOARD: BOARD", enum_type=DeviceCapability, max_length=10
                    ),
                ),
                ("payload", fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
                ("order_id", fields.UUIDField(null=True)),
                ("source", fields.CharField(null=True, max_length=80)),
                (
                    "state",
                    fields.CharEnumField(
                        description="QUEUED: QUEUED\nDELIVERED: DELIVERED\nACKNOWLEDGED: ACKNOWLEDGED\nFAILED: FAILED\nEXPIRED: EXPIRED\nCANCELLED: CANCELLED",
                        enum_type=CommandState,
                        max_length=12,
                    ),
                ),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("expires_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("delivered_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("closed_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                (
                    "outcome",
                    fields.CharEnumField(
                        null=True, description="DONE: DONE\nFAILED: FAILED", enum_type=CommandOutcome, max_length=6
                    ),
                ),
                (
                    "failure",
                    fields.CharEnumField(
                        null=True,
                        description="OUT_OF_PAPER: OUT_OF_PAPER\nFAULT: FAULT\nUNSUPPORTED: UNSUPPORTED\nOTHER: OTHER",
                        enum_type=CommandFailure,
                        max_length=14,
                    ),
                ),
                ("detail", fields.CharField(null=True, max_length=200)),
                ("reported_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "device_command",
                "app": "models",
                "unique_together": (("device", "source"),),
                "indexes": [Index(fields=["device_id", "id"])],
                "pk_attr": "id",
                "table_description": "``payload`` is frozen when the command is made. ``source`` names what caused it, once per device.",
            },
            bases=["Model"],
        ),
        ops.RunSQL(RULES, ""),
    ]
