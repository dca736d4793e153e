"""Tokens of machines that can be made void, and who did that."""

from orjson import loads
from tortoise import fields, migrations
from tortoise.fields.data import JSON_DUMPS
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from core.ids import uuid7


class Migration(migrations.Migration):
    dependencies = [("models", "0004_rider_track")]

    operations = [
        ops.AddField("Client", "generation", fields.IntField(default=0)),
        ops.RunSQL("ALTER TABLE client ALTER generation SET DEFAULT 0", ""),
        ops.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                ("at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("view", fields.CharField(max_length=10)),
                ("actor_id", fields.UUIDField()),
                ("action", fields.CharField(max_length=40)),
                ("target_id", fields.UUIDField()),
                ("facts", fields.JSONField(encoder=JSON_DUMPS, decoder=loads)),
            ],
            options={
                "table": "audit_entry",
                "app": "models",
                "indexes": [Index(fields=["target_id"])],
                "pk_attr": "id",
                "table_description": (
                    "Who did what to whom, for what people with power over others do. Rows are never changed."
                ),
            },
            bases=["Model"],
        ),
    ]
