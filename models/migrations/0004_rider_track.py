"""The track of a rider holds one point per slot of time; an index finds the riders around a place."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

COPY = """
INSERT INTO track_point (delivery_id, rider_id, slot, recorded_at, latitude, longitude)
SELECT DISTINCT ON (delivery_id, rider_id, slot) delivery_id, rider_id, slot, recorded_at, latitude, longitude
FROM (SELECT *, date_bin('10 seconds', recorded_at, 'epoch') AS slot FROM location_fix) AS f
WHERE delivery_id IS NOT NULL ORDER BY delivery_id, rider_id, slot, recorded_at;
"""

# Old points are found by their age, and riders are looked for whether they are free or busy.
INDEXES = """
CREATE INDEX track_point_at ON track_point USING brin (recorded_at);
CREATE INDEX rider_around ON rider USING gist (ll_to_earth(latitude, longitude))
    WHERE online AND latitude IS NOT NULL;
DROP INDEX rider_free;
"""

NO_INDEXES = """
CREATE INDEX rider_free ON rider USING gist (ll_to_earth(latitude, longitude))
    WHERE online AND active_delivery_id IS NULL AND latitude IS NOT NULL;
DROP INDEX rider_around;
DROP INDEX track_point_at;
"""


class Migration(migrations.Migration):
    dependencies = [("models", "0003_devices")]

    operations = [
        ops.CreateModel(
            name="TrackPoint",
            fields=[
                ("id", fields.BigIntField(generated=True, primary_key=True, unique=True, db_index=True)),
                ("delivery_id", fields.UUIDField()),
                ("rider_id", fields.UUIDField()),
                ("slot", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("recorded_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("latitude", fields.FloatField()),
                ("longitude", fields.FloatField()),
                ("accuracy_m", fields.FloatField(null=True)),
            ],
            options={
                "table": "track_point",
                "app": "models",
                "unique_together": (("delivery_id", "rider_id", "slot"),),
                "pk_attr": "id",
            },
            bases=["Model"],
        ),
        ops.RunSQL(COPY, ""),
        ops.DeleteModel(name="LocationFix"),
        ops.RunSQL(INDEXES, NO_INDEXES),
    ]
