"""Which client is at the token endpoint: by its secret, or by an assertion that its key signed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote_plus
from uuid import UUID

from auth import assertions
from auth.assertions import AssertionInvalid
from auth.principals import View
from auth.tokens import hash_secret, same
from core.clock import wall_now
from models.database import Database, Record

_SQL: Final = """
SELECT c.id, c.kind, c.generation, c.secret_hash AS own_secret_hash,
       k.id AS credential_id, k.secret_hash, k.kid, k.public_key
FROM client c
LEFT JOIN client_credential k ON k.client_id = c.id AND k.revoked_at IS NULL AND (k.ends_at IS NULL OR k.ends_at > $2)
WHERE c.client_id = $1 AND c.revoked_at IS NULL
"""


@dataclass(eq=False)
class OAuthError(Exception):
    """An answer of RFC 6749, section 5.2. ``basic``: the client used, or should use, HTTP Basic authentication."""

    error: str
    description: str
    status: int = 400
    basic: bool = False


@dataclass(eq=False)
class TooManyAttempts(Exception):
    """So many wrong codes came from an address that it may try again only in ``retry_after_seconds``."""

    retry_after_seconds: int


@dataclass(frozen=True, slots=True)
class AuthenticatedClient:
    id: UUID
    view: View
    generation: int


async def authenticate(
    database: Database, authorization: str | None, form: dict[str, str], audiences: Collection[str]
) -> AuthenticatedClient:
    """The client of a token request. ``audiences``: what assertions may be for. Raises OAuthError."""
    if "client_assertion" not in form and "client_assertion_type" not in form:
        return await _by_secret(database, *_credentials(authorization, form))
    if authorization is not None or "client_secret" in form:
        raise OAuthError("invalid_request", "use one way of client authentication")
    if form.get("client_assertion_type") != assertions.TYPE:
        raise OAuthError("invalid_request", f"client_assertion_type must be {assertions.TYPE}")
    try:
        return await _by_assertion(database, form.get("client_assertion", ""), form.get("client_id"), audiences)
    except AssertionInvalid as error:
        raise OAuthError("invalid_client", str(error), status=401) from error


def _credentials(authorization: str | None, form: dict[str, str]) -> tuple[str, str, bool]:
    """``(client id, secret, whether by HTTP Basic)``; a client must use one way only (section 2.3)."""
    if authorization is None:
        if "client_id" not in form or "client_secret" not in form:
            raise OAuthError("invalid_client", "client credentials are missing", status=401, basic=True)
        return form["client_id"], form["client_secret"], False
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise OAuthError("invalid_client", "use HTTP Basic authentication", status=401, basic=True)
    if "client_secret" in form:
        raise OAuthError("invalid_request", "use one way of client authentication")
    try:
        client_id, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:  # no base64, no UTF-8, or not even ASCII
        colon = client_id = secret = ""
    if not colon:
        raise OAuthError("invalid_client", "the credentials cannot be read", status=401, basic=True)
    # Section 2.3.1: both are form-encoded before they are joined.
    return unquote_plus(client_id), unquote_plus(secret), True


async def _known(database: Database, client_id: str) -> list[Record]:
    """A row per live credential of the client, or one without."""
    return [] if "\0" in client_id else await database.fetch(_SQL, client_id, wall_now())


async def _by_secret(database: Database, client_id: str, secret: str, basic: bool) -> AuthenticatedClient:
    given = hash_secret(secret)
    for row in await _known(database, client_id):
        if row["secret_hash"] is not None and same(given, row["secret_hash"]):
            await _used(database, row["credential_id"])
            return _client(row)
        if row["own_secret_hash"] is not None and same(given, row["own_secret_hash"]):
            return _client(row)
    raise OAuthError("invalid_client", "unknown client or wrong secret", status=401, basic=basic)


async def _by_assertion(
    database: Database, assertion: str, client_id: str | None, audiences: Collection[str]
) -> AuthenticatedClient:
    claimed = assertions.claimed_client(assertion)
    if client_id not in (None, claimed):
        raise AssertionInvalid("client_id is another client's")
    rows = {row["kid"]: row for row in await _known(database, claimed) if row["public_key"] is not None}
    proven = assertions.verify(assertion, {kid: row["public_key"] for kid, row in rows.items()}, audiences)
    row = rows[proven.kid]
    # Section 3: an assertion is good once.
    fresh = await database.fetchval(
        "INSERT INTO used_assertion (id, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1",
        hashlib.sha256(f"{row['id']}\n{proven.token_id}".encode()).hexdigest(),
        datetime.fromtimestamp(proven.expires_at, UTC),
    )
    if fresh is None:
        raise AssertionInvalid("the assertion was used before")
    await _used(database, row["credential_id"])
    return _client(row)


async def _used(database: Database, credential_id: UUID) -> None:
    """Note the use, to the minute."""
    await database.execute(
        """UPDATE client_credential SET last_used_at = $2
           WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2::timestamptz - interval '1 minute')""",
        credential_id,
        wall_now(),
    )


def _client(row: Record) -> AuthenticatedClient:
    return AuthenticatedClient(row["id"], View(row["kind"]), row["generation"])
