"""Entries of the audit log know whose admins may read them."""

from tortoise import fields, migrations
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

# What admins did to people is of the city they administered.
RULES = """
UPDATE audit_entry a SET city_id = CASE
    WHEN a.action = 'create_city' THEN a.target_id
    WHEN a.action IN ('appoint_admin', 'dismiss_admin') THEN (a.facts->>'city')::uuid
    WHEN a.action = 'take_down_picture' THEN (SELECT city_id FROM store WHERE id = (a.facts->>'store')::uuid)
    ELSE coalesce(
        (SELECT coalesce(c.city_id, s.city_id) FROM client c LEFT JOIN store s ON s.id = c.store_id
         WHERE c.id = a.target_id),
        (SELECT g.city_id FROM "grant" g WHERE a.view = 'ADMIN' AND g.person_id = a.actor_id AND g.role = 'CITY_ADMIN'
         ORDER BY g.created_at LIMIT 1))
END;
"""


class Migration(migrations.Migration):
    dependencies = [("models", "0013_sharing")]

    operations = [
        ops.AddField("AuditEntry", "city_id", fields.UUIDField(null=True)),
        ops.RunSQL(RULES, ""),
        ops.RemoveIndex("AuditEntry", fields=["target_id"]),
        ops.AddIndex("AuditEntry", Index(fields=["target_id", "at", "id"])),
        ops.AddIndex("AuditEntry", Index(fields=["actor_id", "at", "id"])),
        ops.AddIndex("AuditEntry", Index(fields=["city_id", "at", "id"])),
        ops.AddIndex("AuditEntry", Index(fields=["city_id", "action", "at", "id"])),
    ]
