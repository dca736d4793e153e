"""Sessions: a family of refresh tokens, each of which is exchanged for the next (RFC 9700, section 4.14.2)."""

from __future__ import annotations

import base64
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from auth.principals import Principal, View
from auth.tokens import hash_secret, issue, same
from core.clock import wall_now
from models.database import Record
from models.identity import Person
from services import access
from services.errors import PermissionDenied, SessionInvalid
from services.runtime import Runtime
from services.unit import Unit


@dataclass(frozen=True, slots=True)
class Session:
    """Tokens of one sign-in. Using the refresh token gives the next."""

    access_token: str
    refresh_token: str
    expires_at: datetime
    view: View
    person: Person


@dataclass(frozen=True, slots=True)
class SignedOut:
    at: datetime


def _refresh_token(runtime: Runtime, session_id: UUID, secret: str) -> str:
    """Family, secret and a tag that tells our old tokens, which end the family, from made-up ones, which must not."""
    text = f"{session_id.hex}.{secret}"
    return f"{text}.{hmac.digest(runtime.keys.derive('refresh tokens'), text.encode(), 'sha256').hex()[:32]}"


def _read_refresh_token(runtime: Runtime, token: str) -> tuple[UUID, str] | None:
    """``(family, secret)``, None when the token was not made here."""
    family, _, rest = token.partition(".")
    try:
        session_id = UUID(hex=family)
    except ValueError:
        return None
    secret = rest.partition(".")[0]
    expected = _refresh_token(runtime, session_id, secret)
    return (session_id, secret) if same(token, expected) else None


def _successor(runtime: Runtime, session_id: UUID, secret: str) -> str:
    """The secret that follows ``secret``: always the same, so that a repeated exchange can be answered alike."""
    key = runtime.keys.derive("refresh successors")
    digest = hmac.digest(key, f"{session_id.hex}.{secret}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


async def open_session(
    unit: Unit, person_id: UUID, view: View, access_ttl: timedelta, device: str | None = None
) -> Session:
    """A new family of refresh tokens with its first access token; it calls off a deletion of the account.

    Raises PermissionDenied when the person was deleted a moment ago.
    """
    calling_off = "UPDATE person SET deletion_due_at = NULL WHERE id = $1 AND deleted_at IS NULL"
    if not await unit.sql.execute(calling_off, person_id):
        raise PermissionDenied(reason="the account was deleted")
    secret, now = secrets.token_urlsafe(32), wall_now()
    session_id = unit.runtime.new_id()
    await unit.sql.execute(
        """INSERT INTO refresh_session (id, person_id, view, token_hash, generation, created_at, expires_at, device)
           VALUES ($1, $2, $3, $4, 0, $5, $6, $7)""",
        session_id,
        person_id,
        view,
        hash_secret(secret),
        now,
        now + unit.runtime.settings.refresh_token_ttl,
        device,
    )
    access, expires_at = issue(unit.runtime.keys, view, person_id, session_id, access_ttl)
    token = _refresh_token(unit.runtime, session_id, secret)
    return Session(access, token, expires_at, view, await Person.get(id=person_id))


async def refresh_session(runtime: Runtime, refresh_token: str) -> Session:
    """Exchange a refresh token for the next one. One that was used before ends the whole family: a copy exists.

    A phone that lost the answer asks again: for ``refresh_grace`` after the exchange the same answer is given, as long
    as the next token has not been used. Nobody gains a second line of tokens by that, so that a thief's and the
    owner's exchanges still meet: whoever comes second, after the grace, ends both.

    Raises SessionInvalid (UNKNOWN, EXPIRED, REUSED, ENDED).
    """
    known = _read_refresh_token(runtime, refresh_token)
    if known is None:
        raise SessionInvalid(reason="UNKNOWN")
    session_id, secret = known
    following, now = _successor(runtime, session_id, secret), wall_now()
    row = await runtime.database.fetchrow(
        """UPDATE refresh_session SET token_hash = $3, previous_hash = token_hash, refreshed_at = $4,
               generation = generation + 1, expires_at = $5
           WHERE id = $1 AND token_hash = $2 AND ended_at IS NULL AND expires_at > $4 RETURNING person_id, view""",
        session_id,
        hash_secret(secret),
        hash_secret(following),
        now,
        now + runtime.settings.refresh_token_ttl,
    ) or await _exchanged_just_now(runtime, session_id, hash_secret(secret), hash_secret(following))
    view = View(row["view"])
    access, expires_at = issue(runtime.keys, view, row["person_id"], session_id, runtime.settings.access_token_ttl)
    person = await Person.get(id=row["person_id"])
    return Session(access, _refresh_token(runtime, session_id, following), expires_at, view, person)


async def _exchanged_just_now(runtime: Runtime, session_id: UUID, token_hash: str, following_hash: str) -> Record:
    """The session whose token was exchanged for the following one a moment ago. Raises SessionInvalid."""
    row = await runtime.database.fetchrow(
        """SELECT person_id, view, token_hash, previous_hash, refreshed_at, ended_at, expires_at
           FROM refresh_session WHERE id = $1""",
        session_id,
    )
    if row is None:
        raise SessionInvalid(reason="UNKNOWN")
    if row["ended_at"] is not None:
        raise SessionInvalid(reason="ENDED")
    if row["token_hash"] == token_hash:
        raise SessionInvalid(reason="EXPIRED")
    exchanged = (row["previous_hash"], row["token_hash"]) == (token_hash, following_hash)
    if exchanged and row["refreshed_at"] + runtime.settings.refresh_grace > wall_now():
        return row
    # The token is ours but not the current one: it was used before.
    await end_session(runtime, session_id, "REUSED")
    raise SessionInvalid(reason="REUSED")


async def end_session(runtime: Runtime, session_id: UUID, reason: str) -> None:
    """End a session, if it has not ended before."""
    person_id = await runtime.database.fetchval(
        """UPDATE refresh_session SET ended_at = $2, end_reason = $3 WHERE id = $1 AND ended_at IS NULL
           RETURNING person_id""",
        session_id,
        wall_now(),
        reason,
    )
    if person_id is not None:
        await access.changed(runtime, person_id)


async def sign_out(runtime: Runtime, principal: Principal) -> SignedOut:
    """End the session of the caller: its access tokens stop within a second. Raises PermissionDenied."""
    if principal.session_id is None:
        raise PermissionDenied(reason="there is no session to end")
    await end_session(runtime, principal.session_id, "SIGNED_OUT")
    return SignedOut(wall_now())
