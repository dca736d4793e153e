"""People, what they are allowed to do, and how they signed in."""

from __future__ import annotations

from enum import StrEnum

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model

from core.ids import uuid7


class GrantRole(StrEnum):
    """What a person may do. Store roles carry a store; RIDER and CITY_ADMIN carry a city."""

    STORE_OWNER = "STORE_OWNER"
    STORE_MANAGER = "STORE_MANAGER"
    STORE_CLERK = "STORE_CLERK"
    RIDER = "RIDER"
    CITY_ADMIN = "CITY_ADMIN"


STORE_ROLES = frozenset({GrantRole.STORE_OWNER, GrantRole.STORE_MANAGER, GrantRole.STORE_CLERK})


class City(Model):
    id = fields.UUIDField(primary_key=True, default=uuid7)
    slug = fields.CharField(max_length=40, unique=True)
    name = fields.CharField(max_length=80)
    latitude = fields.FloatField()
    longitude = fields.FloatField()
    timezone = fields.CharField(max_length=40)
    currency = fields.CharField(max_length=3)

    class Meta(Model.Meta):
        table = "city"


class Person(Model):
    """One human, found by phone in E.164. The same person may order, work in shops and ride."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    phone = fields.CharField(max_length=16, unique=True)
    name = fields.CharField(max_length=80, null=True)
    created_at = fields.DatetimeField()
    deletion_due_at = fields.DatetimeField(null=True)  # asked for; signing in again calls it off
    deleted_at = fields.DatetimeField(null=True)  # nobody any more

    class Meta(Model.Meta):
        table = "person"


class Grant(Model):
    """A role of a person at one store or in one city; rows are ended (``revoked_at``), never deleted."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    person: fields.ForeignKeyRelation[Person] = fields.ForeignKeyField("models.Person", related_name="grants")
    role = fields.CharEnumField(GrantRole, max_length=16)
    store_id = fields.UUIDField(null=True)
    city_id = fields.UUIDField(null=True)
    created_at = fields.DatetimeField()
    revoked_at = fields.DatetimeField(null=True)

    class Meta(Model.Meta):
        table = "grant"
        indexes = [Index(fields=("person_id",)), Index(fields=("store_id",))]


class WeChatAccount(Model):
    """A WeChat account in one app, and whose it is. ``unionid`` is the same in all apps of one owner."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    app_id = fields.CharField(max_length=32)
    openid = fields.CharField(max_length=64)
    unionid = fields.CharField(max_length=64, null=True)
    person: fields.ForeignKeyRelation[Person] = fields.ForeignKeyField("models.Person", related_name="wechat_accounts")
    created_at = fields.DatetimeField()

    class Meta(Model.Meta):
        table = "wechat_account"
        unique_together = (("app_id", "openid"),)
        indexes = [Index(fields=("unionid",)), Index(fields=("person_id",))]


class OneTimeCode(Model):
    """A code sent to a phone; only its keyed hash is kept. ``view``: what for."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    phone = fields.CharField(max_length=16)
    view = fields.CharField(max_length=10)
    code_hash = fields.CharField(max_length=64)
    attempts_left = fields.SmallIntField()
    created_at = fields.DatetimeField()
    expires_at = fields.DatetimeField()
    used_at = fields.DatetimeField(null=True)

    class Meta(Model.Meta):
        table = "one_time_code"
        indexes = [Index(fields=("phone", "view", "created_at"))]


class RateLimit(Model):
    """Uses of a limit since its period began. ``id`` names the limit and holds a keyed hash of who is limited."""

    id = fields.CharField(max_length=100, primary_key=True)
    count = fields.IntField()
    ends_at = fields.DatetimeField()

    class Meta(Model.Meta):
        table = "rate_limit"
        indexes = [Index(fields=("ends_at",))]


class RefreshSession(Model):
    """A family of rotating refresh tokens. ``token_hash`` is of the one that is valid now.

    ``previous_hash`` is of the one that was exchanged for it at ``refreshed_at``.
    """

    id = fields.UUIDField(primary_key=True, default=uuid7)
    person: fields.ForeignKeyRelation[Person] = fields.ForeignKeyField("models.Person", related_name="sessions")
    view = fields.CharField(max_length=10)
    device = fields.CharField(max_length=80, null=True)  # as the app named itself at the sign-in
    token_hash = fields.CharField(max_length=64, unique=True)
    previous_hash = fields.CharField(max_length=64, null=True)
    refreshed_at = fields.DatetimeField(null=True)
    generation = fields.IntField(default=0)
    created_at = fields.DatetimeField()
    expires_at = fields.DatetimeField()
    ended_at = fields.DatetimeField(null=True)
    end_reason = fields.CharField(max_length=20, null=True)

    class Meta(Model.Meta):
        table = "refresh_session"


class CredentialKind(StrEnum):
    """What a partner proves by who it is."""

    SECRET = "SECRET"
    """A text that both sides know; kept as a hash."""
    KEY = "KEY"
    """A key pair, of which we know the public key."""


class Client(Model):
    """A machine that calls the API: a partner integrator or a device in a shop."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    kind = fields.CharField(max_length=10)  # PARTNER or DEVICE
    name = fields.CharField(max_length=80)
    client_id = fields.CharField(max_length=40, unique=True)
    secret_hash = fields.CharField(max_length=64, null=True)  # a device's; partners have credentials
    store_id = fields.UUIDField(null=True)  # the shop a device stands in
    city_id = fields.UUIDField(null=True)  # the city a partner works in
    created_at = fields.DatetimeField()
    revoked_at = fields.DatetimeField(null=True)
    generation = fields.IntField(default=0)  # access tokens carry it; a token of an earlier one is void

    class Meta(Model.Meta):
        table = "client"


class ClientCredential(Model):
    """One of the secrets and keys that a partner may have at the same time. Ended ones stay, for the record."""

    id = fields.UUIDField(primary_key=True, default=uuid7)
    client: fields.ForeignKeyRelation[Client] = fields.ForeignKeyField("models.Client", related_name="credentials")
    kind = fields.CharEnumField(CredentialKind, max_length=6)
    name = fields.CharField(max_length=80)
    secret_hash = fields.CharField(max_length=64, null=True)
    kid = fields.CharField(max_length=43, null=True)  # RFC 7638 thumbprint
    public_key = fields.TextField(null=True)  # PEM
    created_at = fields.DatetimeField()
    ends_at = fields.DatetimeField(null=True)
    revoked_at = fields.DatetimeField(null=True)
    last_used_at = fields.DatetimeField(null=True)

    class Meta(Model.Meta):
        table = "client_credential"
        unique_together = (("client", "secret_hash"), ("client", "kid"))


class UsedAssertion(Model):
    """A client assertion that was accepted, until it has expired. ``id`` is a hash of the client and the ``jti``."""

    id = fields.CharField(max_length=64, primary_key=True)
    expires_at = fields.DatetimeField()

    class Meta(Model.Meta):
        table = "used_assertion"
        indexes = [Index(fields=("expires_at",))]
