"""WeChat accounts of people."""

from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from core.ids import uuid7


class Migration(migrations.Migration):
    dependencies = [("models", "0008_credentials")]

    operations = [
        ops.CreateModel(
            name="WeChatAccount",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                ("app_id", fields.CharField(max_length=32)),
                ("openid", fields.CharField(max_length=64)),
                ("unionid", fields.CharField(null=True, max_length=64)),
                (
                    "person",
                    fields.ForeignKeyField(
                        "models.Person",
                        source_field="person_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="wechat_accounts",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "wechat_account",
                "app": "models",
                "unique_together": (("app_id", "openid"),),
                "indexes": [Index(fields=["unionid"]), Index(fields=["person_id"])],
                "pk_attr": "id",
                "table_description": (
                    "A WeChat account in one app, and whose it is. ``unionid`` is the same in all apps of one owner."
                ),
            },
            bases=["Model"],
        ),
    ]
