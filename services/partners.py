"""Partners: integrators who call the API from their own servers, and what they prove by who they are.

Where a principal is asked for, None is the operator at the command line of the installation.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from asyncpg.exceptions import UniqueViolationError

from auth.assertions import read_public_key
from auth.principals import Principal, View
from auth.tokens import hash_secret
from core.clock import wall_now
from models.database import Connection, Record
from models.identity import CredentialKind
from services import access, audit
from services.errors import CredentialLimitReached, InvalidInput, NotFound, PermissionDenied
from services.merchants.checks import text
from services.pages import of_each
from services.runtime import Runtime
from services.unit import Unit, transaction

MOST_LIVE: Final = 2
"""Credentials of one kind at the same time: the one in use and the one that follows it."""
LONGEST_OVERLAP: Final = timedelta(days=90)
MAX_NAME: Final = 80
MAX_REASON: Final = 200


@dataclass(frozen=True, slots=True)
class PartnerRecord:
    """One partner client, without its secrets."""

    id: UUID
    name: str
    client_id: str
    city_id: UUID
    created_at: datetime
    revoked_at: datetime | None


_COLUMNS: Final = ", ".join(PartnerRecord.__slots__)


def _partner(row: Record) -> PartnerRecord:
    return PartnerRecord(*[row[name] for name in PartnerRecord.__slots__])


async def get(runtime: Runtime, principal: Principal, partner_id: UUID) -> PartnerRecord:
    """A partner for itself and for the admins of its city. Raises NotFound."""
    row = await runtime.database.fetchrow(
        f"SELECT {_COLUMNS} FROM client WHERE id = $1 AND kind = 'PARTNER' AND city_id IS NOT NULL", partner_id
    )
    own = principal.view is View.PARTNER and principal.subject == partner_id
    if row is None or not (own or principal.administers(row["city_id"])):
        raise NotFound(resource="Partner")
    return _partner(row)


async def by_ids(runtime: Runtime, partner_ids: Sequence[UUID]) -> dict[UUID, PartnerRecord]:
    """Partners by key, without any check of who asks."""
    rows = await runtime.database.fetch(
        f"SELECT {_COLUMNS} FROM client WHERE id = ANY($1::uuid[]) AND kind = 'PARTNER' AND city_id IS NOT NULL",
        list(partner_ids),
    )
    return {row["id"]: _partner(row) for row in rows}


async def of_cities(
    runtime: Runtime, city_ids: Sequence[UUID], limit: int, after: UUID | None
) -> dict[UUID, list[PartnerRecord]]:
    """Partners of each city by key, at most ``limit`` with keys above ``after``, without any check of who asks."""
    page = f"""SELECT {_COLUMNS} FROM client WHERE kind = 'PARTNER' AND city_id = k.key
        AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3"""
    found = await of_each(runtime, city_ids, "uuid", page, "page.id", after, limit)
    return {key: [_partner(row) for row in rows] for key, rows in found.items()}


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """A secret or key of a partner, without the secret. ``kid`` names a key. Instants are wall time."""

    id: UUID
    partner_id: UUID
    kind: CredentialKind
    name: str
    kid: str | None
    created_at: datetime
    ends_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret that was just made; it cannot be read again."""

    partner: PartnerRecord
    credential: CredentialRecord
    secret: str


_CREDENTIAL: Final = "id, client_id AS partner_id, kind, name, kid, created_at, ends_at, revoked_at, last_used_at"


def _credential(row: Record) -> CredentialRecord:
    id, partner_id, kind, *rest = [row[name] for name in CredentialRecord.__slots__]
    return CredentialRecord(id, partner_id, CredentialKind(kind), *rest)


async def credentials_of(runtime: Runtime, partner_ids: Sequence[UUID]) -> dict[UUID, list[CredentialRecord]]:
    """All credentials of each partner, the newest first, without any check of who asks."""
    found: dict[UUID, list[CredentialRecord]] = {partner_id: [] for partner_id in partner_ids}
    rows = await runtime.database.fetch(
        f"SELECT {_CREDENTIAL} FROM client_credential WHERE client_id = ANY($1::uuid[]) ORDER BY created_at DESC, id",
        list(partner_ids),
    )
    for row in rows:
        found[row["partner_id"]].append(_credential(row))
    return found


async def create(
    runtime: Runtime, principal: Principal | None, city_id: UUID, name: str, client_id: str | None = None
) -> NewSecret:
    """A partner of the city with its first secret. ``client_id``: what it signs in with, made up by default.

    Raises NotFound (city), InvalidInput (also for a client id that is taken).
    """
    if principal is not None and not principal.administers(city_id):
        raise NotFound(resource="City")
    name = text("name", name, MAX_NAME)
    if client_id is None:
        client_id = f"partner-{secrets.token_hex(8)}"
    elif not 3 <= len(client_id) <= 40 or not client_id.isascii() or not client_id.replace("-", "a").isalnum():
        raise InvalidInput(field="clientId", reason="must be 3 to 40 letters, digits and hyphens")
    async with transaction(runtime) as unit:
        if not await unit.sql.fetchval("SELECT 1 FROM city WHERE id = $1", city_id):
            raise NotFound(resource="City")
        row = await unit.sql.fetchrow(
            f"""INSERT INTO client (id, kind, name, client_id, city_id, created_at)
                VALUES ($1, 'PARTNER', $2, $3, $4, $5) ON CONFLICT (client_id) DO NOTHING RETURNING {_COLUMNS}""",
            runtime.new_id(),
            name,
            client_id,
            city_id,
            wall_now(),
        )
        if row is None:
            raise InvalidInput(field="clientId", reason="is taken")
        partner, secret = _partner(row), secrets.token_urlsafe(32)
        credential = await add_secret(unit, partner.id, "First secret", secret)
        await audit.note(unit, principal, "create_partner", partner.id, {"client_id": client_id, "name": name})
    return NewSecret(partner, credential, secret)


async def add_secret(unit: Unit, partner_id: UUID, name: str, secret: str) -> CredentialRecord:
    """Let the partner sign in with ``secret``; repeating it changes nothing."""
    row = await unit.sql.fetchrow(
        f"""INSERT INTO client_credential (id, client_id, kind, name, secret_hash, created_at)
            VALUES ($1, $2, 'SECRET', $3, $4, $5)
            ON CONFLICT (client_id, secret_hash) DO UPDATE SET kind = excluded.kind RETURNING {_CREDENTIAL}""",
        unit.runtime.new_id(),
        partner_id,
        name,
        hash_secret(secret),
        wall_now(),
    )
    assert row is not None
    return _credential(row)


async def rotate_secret(
    runtime: Runtime, principal: Principal | None, partner_id: UUID, previous_ends_at: datetime | None
) -> NewSecret:
    """Another secret for a partner. Those before go on, until ``previous_ends_at`` where that is given.

    Raises NotFound, InvalidInput, PermissionDenied (a disabled partner), CredentialLimitReached.
    """
    now = wall_now()
    if previous_ends_at is not None and not now <= previous_ends_at <= now + LONGEST_OVERLAP:
        raise InvalidInput(field="previousEndsAt", reason=f"must be within {LONGEST_OVERLAP.days} days from now")
    async with transaction(runtime) as unit:
        partner = await _hold(unit, principal, partner_id)
        await _require_room(unit.sql, partner_id, CredentialKind.SECRET)
        if previous_ends_at is not None:
            await unit.sql.execute(
                """UPDATE client_credential SET ends_at = least(ends_at, $2)
                   WHERE client_id = $1 AND kind = 'SECRET' AND revoked_at IS NULL""",
                partner_id,
                previous_ends_at,
            )
        secret = secrets.token_urlsafe(32)
        credential = await add_secret(unit, partner_id, f"Secret of {now:%Y-%m-%d}", secret)
        facts = {"credential": credential.id, "previous_ends_at": previous_ends_at}
        await audit.note(unit, principal, "rotate_partner_secret", partner_id, facts)
    return NewSecret(partner, credential, secret)


async def add_key(
    runtime: Runtime, principal: Principal | None, partner_id: UUID, public_key: str, name: str
) -> CredentialRecord:
    """Let a partner sign in with assertions that the private key of ``public_key`` (P-256, PEM or JWK) signs.

    Raises NotFound, InvalidInput, PermissionDenied (a disabled partner), CredentialLimitReached.
    """
    name = text("name", name, MAX_NAME)
    try:
        kid, pem = read_public_key(public_key)
    except ValueError as error:
        raise InvalidInput(field="publicKey", reason=str(error)) from error
    try:
        async with transaction(runtime) as unit:
            await _hold(unit, principal, partner_id)
            await _require_room(unit.sql, partner_id, CredentialKind.KEY)
            row = await unit.sql.fetchrow(
                f"""INSERT INTO client_credential (id, client_id, kind, name, kid, public_key, created_at)
                    VALUES ($1, $2, 'KEY', $3, $4, $5, $6) RETURNING {_CREDENTIAL}""",
                runtime.new_id(),
                partner_id,
                name,
                kid,
                pem,
                wall_now(),
            )
            assert row is not None
            await audit.note(unit, principal, "add_partner_key", partner_id, {"credential": row["id"], "kid": kid})
    except UniqueViolationError:
        raise InvalidInput(field="publicKey", reason="is or was a key of the partner already") from None
    return _credential(row)


async def revoke_credential(
    runtime: Runtime, principal: Principal | None, credential_id: UUID, reason: str, *, end_tokens: bool
) -> CredentialRecord:
    """End a secret or key, for good; with ``end_tokens`` also all access tokens that the partner has. Repeatable.

    Raises NotFound, InvalidInput.
    """
    reason = text("reason", reason, MAX_REASON)
    async with transaction(runtime) as unit:
        partner_id = await unit.sql.fetchval("SELECT client_id FROM client_credential WHERE id = $1", credential_id)
        if partner_id is None:
            raise NotFound(resource="PartnerCredential")
        try:
            await _hold(unit, principal, partner_id, disabled=True)
        except NotFound:
            raise NotFound(resource="PartnerCredential") from None
        row = await unit.sql.fetchrow(
            f"""UPDATE client_credential SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1
                RETURNING {_CREDENTIAL}""",
            credential_id,
            wall_now(),
        )
        assert row is not None
        if end_tokens:
            await unit.sql.execute("UPDATE client SET generation = generation + 1 WHERE id = $1", partner_id)
        facts = {"credential": credential_id, "end_tokens": end_tokens, "reason": reason}
        await audit.note(unit, principal, "revoke_partner_credential", partner_id, facts)
    if end_tokens:
        await access.changed(runtime, partner_id)
    return _credential(row)


async def _hold(unit: Unit, principal: Principal | None, partner_id: UUID, *, disabled: bool = False) -> PartnerRecord:
    """The partner, whose credentials nobody else changes meanwhile. Raises NotFound, PermissionDenied."""
    row = await unit.sql.fetchrow(
        f"SELECT {_COLUMNS} FROM client WHERE id = $1 AND kind = 'PARTNER' AND city_id IS NOT NULL FOR UPDATE",
        partner_id,
    )
    if row is None or not (principal is None or principal.administers(row["city_id"])):
        raise NotFound(resource="Partner")
    if row["revoked_at"] is not None and not disabled:
        raise PermissionDenied(reason="the partner is disabled")
    return _partner(row)


async def _require_room(sql: Connection, partner_id: UUID, kind: CredentialKind) -> None:
    live = await sql.fetchval(
        """SELECT count(*) FROM client_credential WHERE client_id = $1 AND kind = $2 AND revoked_at IS NULL
           AND (ends_at IS NULL OR ends_at > $3)""",
        partner_id,
        kind,
        wall_now(),
    )
    if live >= MOST_LIVE:
        raise CredentialLimitReached(kind=kind, maximum=MOST_LIVE)
