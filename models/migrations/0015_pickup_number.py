"""Orders get a number of the store's business day when they are paid."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

# Orders that are paid already have none: their events do not know of it either.
COUNTER = """
CREATE TABLE store_day (
    store_id uuid NOT NULL REFERENCES store ON DELETE CASCADE,
    business_date date NOT NULL,
    paid_orders int NOT NULL CHECK (paid_orders > 0),
    PRIMARY KEY (store_id, business_date)
);
"""


class Migration(migrations.Migration):
    dependencies = [("models", "0014_audit")]

    operations = [
        ops.AddField("Order", "pickup_number", fields.IntField(null=True)),
        ops.RunSQL(COUNTER, "DROP TABLE store_day"),
    ]
