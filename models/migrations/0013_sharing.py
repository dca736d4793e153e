"""Who shared a store with a partner, and what its owner refused."""

from tortoise import fields, migrations
from tortoise.migrations import operations as ops

from models.webhooks import SharingParty

# Until now only admins and operators could share; the newest entry of the audit log tells which of the two did.
RULES = """
UPDATE partner_store s SET shared_by = coalesce((
    SELECT a.view FROM audit_entry a
    WHERE a.target_id = s.client_id AND a.action = 'share_store' AND a.facts->>'store' = s.store_id::text
      AND a.view IN ('ADMIN', 'OPERATOR')
    ORDER BY a.at DESC LIMIT 1), 'OPERATOR');
-- Of these stores the partner is told nothing until the owner takes it back.
CREATE TABLE partner_refusal (
    client_id uuid NOT NULL REFERENCES client ON DELETE CASCADE,
    store_id uuid NOT NULL REFERENCES store ON DELETE CASCADE,
    refused_at timestamptz NOT NULL,
    PRIMARY KEY (store_id, client_id)
);
"""


class Migration(migrations.Migration):
    dependencies = [("models", "0012_webhooks")]

    operations = [
        ops.AddField("PartnerStore", "shared_by", fields.CharEnumField(SharingParty, max_length=8, null=True)),
        ops.RunSQL(RULES, ""),
        ops.AlterField("PartnerStore", "shared_by", fields.CharEnumField(SharingParty, max_length=8)),
    ]
