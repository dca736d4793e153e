"""Limits of sign-in, and what a session remembers of its last refresh and its device."""

from tortoise import fields, migrations
from tortoise.indexes import Index
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("models", "0006_documents")]

    operations = [
        ops.AddField("RefreshSession", "device", fields.CharField(max_length=80, null=True)),
        ops.AddField("RefreshSession", "previous_hash", fields.CharField(max_length=64, null=True)),
        ops.AddField("RefreshSession", "refreshed_at", fields.DatetimeField(null=True)),
        ops.CreateModel(
            name="RateLimit",
            fields=[
                ("id", fields.CharField(primary_key=True, max_length=100, unique=True, db_index=True)),
                ("count", fields.IntField()),
                ("ends_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "rate_limit",
                "app": "models",
                "indexes": [Index(fields=["ends_at"])],
                "pk_attr": "id",
                "table_description": (
                    "Uses of a limit since its period began. ``id`` names the limit and holds a keyed hash of who is "
                    "limited."
                ),
            },
            bases=["Model"],
        ),
    ]
