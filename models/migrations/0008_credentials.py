"""Partners may have several secrets and keys at a time."""

from tortoise import fields, migrations
from tortoise.fields.base import OnDelete
from tortoise.indexes import Index
from tortoise.migrations import operations as ops

from core.ids import uuid7
from models.identity import CredentialKind

MOVE = """
INSERT INTO client_credential (id, client_id, kind, name, secret_hash, created_at)
    SELECT gen_random_uuid(), id, 'SECRET', 'First secret', secret_hash, created_at FROM client WHERE kind = 'PARTNER';
UPDATE client SET secret_hash = NULL WHERE kind = 'PARTNER';
ALTER TABLE client_credential
    ADD CONSTRAINT client_credential_kind CHECK (
        (kind = 'SECRET') = (secret_hash IS NOT NULL)
        AND (kind = 'KEY') = (public_key IS NOT NULL) AND (public_key IS NULL) = (kid IS NULL));
"""

BACK = """
UPDATE client c SET secret_hash = k.secret_hash FROM client_credential k
    WHERE k.client_id = c.id AND k.secret_hash IS NOT NULL AND k.revoked_at IS NULL;
UPDATE client SET secret_hash = '' WHERE secret_hash IS NULL;
"""


class Migration(migrations.Migration):
    dependencies = [("models", "0007_sign_in")]

    operations = [
        ops.AlterField("Client", "secret_hash", fields.CharField(max_length=64, null=True)),
        ops.CreateModel(
            name="ClientCredential",
            fields=[
                ("id", fields.UUIDField(primary_key=True, default=uuid7, unique=True, db_index=True)),
                (
                    "client",
                    fields.ForeignKeyField(
                        "models.Client",
                        source_field="client_id",
                        db_constraint=True,
                        to_field="id",
                        related_name="credentials",
                        on_delete=OnDelete.CASCADE,
                    ),
                ),
                (
                    "kind",
                    fields.CharEnumField(
                        description="SECRET: SECRET\nKEY: KEY", enum_type=CredentialKind, max_length=6
                    ),
                ),
                ("name", fields.CharField(max_length=80)),
                ("secret_hash", fields.CharField(null=True, max_length=64)),
                ("kid", fields.CharField(null=True, max_length=43)),
                ("public_key", fields.TextField(null=True, unique=False)),
                ("created_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
                ("ends_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("revoked_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
                ("last_used_at", fields.DatetimeField(null=True, auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "client_credential",
                "app": "models",
                "unique_together": (("client", "secret_hash"), ("client", "kid")),
                "pk_attr": "id",
                "table_description": (
                    "One of the secrets and keys that a partner may have at the same time. Ended ones stay, "
                    "for the record."
                ),
            },
            bases=["Model"],
        ),
        ops.CreateModel(
            name="UsedAssertion",
            fields=[
                ("id", fields.CharField(primary_key=True, max_length=64, unique=True, db_index=True)),
                ("expires_at", fields.DatetimeField(auto_now=False, auto_now_add=False)),
            ],
            options={
                "table": "used_assertion",
                "app": "models",
                "indexes": [Index(fields=["expires_at"])],
                "pk_attr": "id",
                "table_description": (
                    "A client assertion that was accepted, until it has expired. ``id`` is a hash of the client and "
                    "the ``jti``."
                ),
            },
            bases=["Model"],
        ),
        ops.RunSQL(MOVE, BACK),
    ]
