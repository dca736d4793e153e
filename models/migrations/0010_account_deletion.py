"""People may leave."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops


class Migration(migrations.Migration):
    dependencies = [("models", "0009_wechat")]

    operations = [
        ops.AddField("Person", "deletion_due_at", fields.DatetimeField(null=True)),
        ops.AddField("Person", "deleted_at", fields.DatetimeField(null=True)),
    ]
