"""Pictures."""

from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from core.ids import uuid7
from models.files import PictureFormat, PicturePlace, PictureState

RULES = """
CREATE UNIQUE INDEX picture_of_item ON picture (item_id) WHERE item_id IS NOT NULL;
CREATE UNIQUE INDEX picture_logo ON picture (store_id) WHERE place = 'LOGO';
CREATE INDEX picture_unused ON picture (created_at) WHERE place IS NULL AND state <> 'REMOVED';
CREATE INDEX picture_to_sweep ON picture (upload_ends_at) WHERE NOT incoming_gone OR state = 'REMOVED';
ALTER TABLE picture ADD CONSTRAINT picture_ready CHECK (state <> 'READY' OR (name IS NOT NULL AND width > 0
    AND height > 0 AND size > 0));
ALTER TABLE picture ADD CONSTRAINT picture_shown CHECK (place IS NULL OR state = 'READY');
ALTER TABLE picture ADD CONSTRAINT picture_item CHECK ((place IS NOT DISTINCT FROM 'ITEM') = (item_id IS NOT NULL));
"""


class Migration(migrations.Migration):
    dependencies = [("models", "0010_account_deletion")]

    operations = [
        ops.CreateModel(
            name="Picture",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                (
                    "store",
                    fields.ForeignKeyField(
                        "models.Store",
                        source_field="store_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="pictures",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("state", fields.CharEnumField(PictureState, default=PictureState.PENDING, max_length=8)),
                ("format", fields.CharEnumField(PictureFormat, max_length=4)),
                ("declared_size", fields.IntField()),
                ("name", fields.CharField(null=True, max_length=80)),
                ("size", fields.IntField(null=True)),
                ("width", fields.IntField(null=True)),
                ("height", fields.IntField(null=True)),
                ("place", fields.CharEnumField(PicturePlace, null=True, max_length=5)),
                (
                    "item",
                    fields.ForeignKeyField(
                        "models.Item",
                        source_field="item_id",
                        null=True,
                        db_constraint=True,
                        to_field="id",
                        related_name="pictures",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("position", fields.SmallIntField(default=0)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("upload_ends_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("incoming_gone", fields.BooleanField(default=False)),
            ],
            options={
                "table": "picture",
                "app": "models",
                "indexes": [Index(fields=["store_id"])],
                "pk_attr": "id",
                "table_description": "Pictures of stores and of what they sell.",
            },
            bases=["Model"],
        ),
        ops.RunSQL(RULES, ""),
    ]
