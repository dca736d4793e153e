"""Registered documents get a namespace per partner and a life: cost, uses, deprecation, retirement."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from core.ids import uuid7

RULES = """
CREATE UNIQUE INDEX persisted_document_place ON persisted_document
    (view, document_id, coalesce(client_id, '00000000-0000-0000-0000-000000000000'));
CREATE INDEX persisted_document_changed ON persisted_document (changed_at);
INSERT INTO persisted_document (id, view, document_id, name, body, cost, registered_at, changed_at, uses)
    SELECT gen_random_uuid(), view, id, name, body, 0, registered_at, registered_at, 0 FROM persisted_operation;
"""

BACK = """
INSERT INTO persisted_operation (id, name, view, body, registered_at)
    SELECT document_id, name, view, body, registered_at FROM persisted_document WHERE client_id IS NULL
    ON CONFLICT DO NOTHING;
"""


class Migration(migrations.Migration):
    dependencies = [("models", "0005_sessions")]

    operations = [
        ops.CreateModel(
            name="PersistedDocument",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                ("view", fields.CharField(max_length=10)),
                ("client_id", fields.UUIDField(null=True)),
                ("document_id", fields.CharField(max_length=64)),
                ("alias", fields.CharField(null=True, max_length=128)),
                ("name", fields.CharField(max_length=80)),
                ("body", fields.TextField(unique=False)),
                ("cost", fields.IntField()),
                ("registered_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("changed_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("deprecated_from", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("retired_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("last_used_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("uses", fields.BigIntField(default=0)),
            ],
            options={
                "table": "persisted_document",
                "app": "models",
                "pk_attr": "id",
                "table_description": (
                    "A registered document of a view, or of one partner. ``document_id`` is the SHA-256 of its text."
                ),
            },
            bases=["Model"],
        ),
        ops.RunSQL(RULES, BACK),
        ops.DeleteModel(name="PersistedOperation"),
    ]
