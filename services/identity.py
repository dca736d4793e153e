"""Signing in, staying signed in, and who may do what.

All lifetimes here are wall time: they protect people, not dinners. Codes are kept as keyed hashes, refresh tokens as
hashes; both are compared in constant time or by unique index.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from auth.authenticate import PERSON_VIEWS
from auth.principals import Principal, View
from auth.tokens import hash_secret, issue, same
from clients.sms import SmsError
from core import logs
from core.clock import wall_now
from core.phones import normalise
from models.identity import STORE_ROLES, Grant, GrantRole, Person
from services import access
from services.columns import ALL, Columns, Shape
from services.delivery.reading import RiderRecord, riders_by_ids
from services.errors import InvalidInput, NotFound, OtpInvalid, OtpRateLimited, PermissionDenied, SessionInvalid
from services.merchants import get_store
from services.runtime import Runtime
from services.unit import Unit, transaction
from subscriptions.feeds import CITY

CODE_DIGITS: Final = 6
MAX_NAME: Final = 80

log = logs.get(__name__)


@dataclass(slots=True)
class PersonRecord:
    """What is shown of one row of ``person``."""

    id: UUID
    phone: str
    name: str | None


_PEOPLE: Final = Shape(PersonRecord, "p")


@dataclass(frozen=True, slots=True)
class OtpSent:
    phone: str
    expires_at: datetime
    resend_after_seconds: int


@dataclass(frozen=True, slots=True)
class Session:
    """Tokens of one sign-in. The refresh token is valid once; using it gives the next."""

    access_token: str
    refresh_token: str
    expires_at: datetime
    view: View
    person: Person


@dataclass(frozen=True, slots=True)
class SignedOut:
    at: datetime


def checked_phone(phone: str, field: str = "phone") -> str:
    """``phone`` in E.164. Raises InvalidInput."""
    normal = normalise(phone)
    if normal is None:
        raise InvalidInput(field=field, reason="is not a phone number")
    return normal


def checked_name(name: str) -> str:
    """``name`` without outer spaces. Raises InvalidInput."""
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidInput(field="name", reason=f"must have 1 to {MAX_NAME} printable characters")
    return name


def _code_hash(runtime: Runtime, phone: str, view: View, code: str) -> str:
    key = runtime.keys.derive("one-time codes")
    return hmac.new(key, f"{phone}\n{view}\n{code}".encode(), hashlib.sha256).hexdigest()


def _person_view(view: View) -> View:
    if view not in PERSON_VIEWS:
        raise InvalidInput(field="view", reason="is for machines; people sign in to the other ones")
    return view


async def request_otp(runtime: Runtime, phone: str, view: View) -> OtpSent:
    """Send a one-time code by SMS; it replaces the ones before. Raises InvalidInput, OtpRateLimited."""
    settings, now = runtime.settings, wall_now()
    phone = checked_phone(phone)
    _person_view(view)
    code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"
    code_id = runtime.new_id()
    expires_at = now + settings.otp_ttl
    async with transaction(runtime) as unit:
        # Two requests for one phone at once: the second waits and then sees the first one's code.
        await unit.sql.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"otp {phone}")
        last = await unit.sql.fetchval("SELECT max(created_at) FROM one_time_code WHERE phone = $1", phone)
        if last is not None and last + settings.otp_resend_after > now:
            pause = last + settings.otp_resend_after - now
            raise OtpRateLimited(retry_after_seconds=math.ceil(pause.total_seconds()))
        await unit.sql.execute(
            "UPDATE one_time_code SET used_at = $3 WHERE phone = $1 AND view = $2 AND used_at IS NULL", phone, view, now
        )
        await unit.sql.execute(
            """INSERT INTO one_time_code (id, phone, view, code_hash, attempts_left, created_at, expires_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7)""",
            code_id,
            phone,
            view,
            _code_hash(runtime, phone, view, code),
            settings.otp_max_attempts,
            now,
            expires_at,
        )
    try:
        await runtime.sms.send(phone, f"[Hutong] {code} is your code. 您的验证码是 {code}，请勿告诉他人。")
    except SmsError as error:
        log.warning("otp.not_sent", reason=str(error))
        # Nobody has this code, so nobody has to wait for it.
        await runtime.database.execute("DELETE FROM one_time_code WHERE id = $1", code_id)
        raise InvalidInput(field="phone", reason="cannot be sent a text message now") from error
    return OtpSent(phone, expires_at, round(settings.otp_resend_after.total_seconds()))


async def sign_in(runtime: Runtime, phone: str, code: str, view: View, name: str | None = None) -> Session:
    """Exchange a code for a session; consumers are registered on the way.

    Raises InvalidInput, OtpInvalid, PermissionDenied (the person has no role in that view; the code is used up).
    """
    phone = checked_phone(phone)
    _person_view(view)
    name = None if name is None else checked_name(name)
    await _use_code(runtime, phone, view, code.strip())
    async with transaction(runtime) as unit:
        person_id = await ensure_person(unit, phone, name)
        if not await _has_role(unit, person_id, view):
            raise PermissionDenied(reason=f"this phone has no {view.lower()} role")
        return await open_session(unit, person_id, view, runtime.settings.access_token_ttl)


async def _use_code(runtime: Runtime, phone: str, view: View, code: str) -> None:
    """Take one attempt, durably and before comparing, so that parallel guesses cannot have more than allowed."""
    row = await runtime.database.fetchrow(
        """UPDATE one_time_code SET attempts_left = attempts_left - 1
           WHERE id = (SELECT id FROM one_time_code WHERE phone = $1 AND view = $2 ORDER BY created_at DESC LIMIT 1)
             AND used_at IS NULL AND attempts_left > 0 AND expires_at > $3
           RETURNING id, code_hash, attempts_left""",
        phone,
        view,
        wall_now(),
    )
    if row is None:
        raise OtpInvalid(attempts_left=0)
    if not same(row["code_hash"], _code_hash(runtime, phone, view, code)):
        raise OtpInvalid(attempts_left=row["attempts_left"])
    used = await runtime.database.fetchval(
        "UPDATE one_time_code SET used_at = $2 WHERE id = $1 AND used_at IS NULL RETURNING 1", row["id"], wall_now()
    )
    if used is None:
        raise OtpInvalid(attempts_left=0)


async def ensure_person(unit: Unit, phone: str, name: str | None) -> UUID:
    """The person with that E.164 phone, new if there is none; a name is only set where there was none."""
    return await unit.sql.fetchval(
        """INSERT INTO person (id, phone, name, created_at) VALUES ($1, $2, $3, $4)
           ON CONFLICT (phone) DO UPDATE SET name = coalesce(person.name, excluded.name) RETURNING id""",
        unit.runtime.new_id(),
        phone,
        name,
        unit.now,
    )


async def _has_role(unit: Unit, person_id: UUID, view: View) -> bool:
    if view is View.CONSUMER:
        return True
    roles: Sequence[GrantRole]
    match view:
        case View.MERCHANT:
            roles = sorted(STORE_ROLES)
        case View.RIDER:
            roles = [GrantRole.RIDER]
        case _:
            roles = [GrantRole.CITY_ADMIN]
    found = await unit.sql.fetchval(
        'SELECT 1 FROM "grant" WHERE person_id = $1 AND revoked_at IS NULL AND role = ANY($2::text[]) LIMIT 1',
        person_id,
        list(roles),
    )
    if found is None and view is View.MERCHANT:
        # Somebody who owns a merchant without a store yet signs in to open the first one.
        found = await unit.sql.fetchval("SELECT 1 FROM merchant WHERE owner_id = $1 LIMIT 1", person_id)
    return found is not None


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


async def open_session(unit: Unit, person_id: UUID, view: View, access_ttl: timedelta) -> Session:
    """A new family of refresh tokens with its first access token."""
    refresh, now = secrets.token_urlsafe(32), wall_now()
    session_id = unit.runtime.new_id()
    await unit.sql.execute(
        """INSERT INTO refresh_session (id, person_id, view, token_hash, generation, created_at, expires_at)
           VALUES ($1, $2, $3, $4, 0, $5, $6)""",
        session_id,
        person_id,
        view,
        hash_secret(refresh),
        now,
        now + unit.runtime.settings.refresh_token_ttl,
    )
    access, expires_at = issue(unit.runtime.keys, view, person_id, session_id, access_ttl)
    token = _refresh_token(unit.runtime, session_id, refresh)
    return Session(access, token, expires_at, view, await Person.get(id=person_id))


async def refresh_session(runtime: Runtime, refresh_token: str) -> Session:
    """Exchange a refresh token for the next one. One that was used before ends the whole family: a copy exists.

    Raises SessionInvalid (UNKNOWN, EXPIRED, REUSED, ENDED).
    """
    known = _read_refresh_token(runtime, refresh_token)
    if known is None:
        raise SessionInvalid(reason="UNKNOWN")
    session_id, secret = known
    following, now = secrets.token_urlsafe(32), wall_now()
    row = await runtime.database.fetchrow(
        """UPDATE refresh_session SET token_hash = $3, generation = generation + 1, expires_at = $5
           WHERE id = $1 AND token_hash = $2 AND ended_at IS NULL AND expires_at > $4 RETURNING person_id, view""",
        session_id,
        hash_secret(secret),
        hash_secret(following),
        now,
        now + runtime.settings.refresh_token_ttl,
    )
    if row is None:
        raise SessionInvalid(reason=await _why_invalid(runtime, session_id, hash_secret(secret)))
    view = View(row["view"])
    access, expires_at = issue(runtime.keys, view, row["person_id"], session_id, runtime.settings.access_token_ttl)
    person = await Person.get(id=row["person_id"])
    return Session(access, _refresh_token(runtime, session_id, following), expires_at, view, person)


async def _why_invalid(runtime: Runtime, session_id: UUID, token_hash: str) -> str:
    row = await runtime.database.fetchrow(
        "SELECT token_hash, ended_at, expires_at FROM refresh_session WHERE id = $1", session_id
    )
    if row is None:
        return "UNKNOWN"
    if row["ended_at"] is not None:
        return "ENDED"
    if row["token_hash"] == token_hash:
        return "EXPIRED"
    # The token is ours but not the current one: it was used before.
    await _end(runtime, session_id, "REUSED")
    return "REUSED"


async def _end(runtime: Runtime, session_id: UUID, reason: str) -> None:
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
    await _end(runtime, principal.session_id, "SIGNED_OUT")
    return SignedOut(wall_now())


# roles


async def register_rider(runtime: Runtime, principal: Principal, city_id: UUID, phone: str, name: str) -> RiderRecord:
    """Make somebody a rider of the city; repeating it changes nothing. Raises NotFound (city), InvalidInput."""
    if not principal.administers(city_id):
        raise NotFound(resource="City")
    phone, name = checked_phone(phone), checked_name(name)
    async with transaction(runtime) as unit:
        person_id = await ensure_person(unit, phone, name)
        await _grant(unit, person_id, GrantRole.RIDER, None, city_id)
        rider_id = await unit.sql.fetchval(
            """INSERT INTO rider (id, person_id, city_id, name, phone, online, created_at)
               VALUES ($1, $2, $3, $4, $5, false, $6)
               ON CONFLICT (person_id, city_id) DO UPDATE SET name = excluded.name RETURNING id""",
            runtime.new_id(),
            person_id,
            city_id,
            name,
            phone,
            unit.now,
        )
        unit.signal(CITY.of(city_id))
    await access.changed(runtime, person_id)
    return (await riders_by_ids(runtime, [rider_id]))[rider_id]


async def _grant(unit: Unit, person_id: UUID, role: GrantRole, store_id: UUID | None, city_id: UUID | None) -> UUID:
    """A live grant of the role: the one there is, or a new one."""
    place = "city_id" if store_id is None else "store_id"
    # The update changes nothing, but holds the row: a revocation comes before it or waits.
    return await unit.sql.fetchval(
        f"""INSERT INTO "grant" (id, person_id, role, store_id, city_id, created_at) VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (person_id, role, {place}) WHERE revoked_at IS NULL AND {place} IS NOT NULL
            DO UPDATE SET role = excluded.role RETURNING id""",
        unit.runtime.new_id(),
        person_id,
        role,
        store_id,
        city_id,
        unit.now,
    )


def _owns(principal: Principal, store_id: UUID) -> bool:
    return principal.view is View.MERCHANT and any(
        held.store_id == store_id and held.role is GrantRole.STORE_OWNER for held in principal.grants
    )


async def grant_store_role(
    runtime: Runtime, principal: Principal, store_id: UUID, phone: str, role: GrantRole
) -> Grant:
    """Let somebody work at a store; its owner or an admin of its city decides.

    Raises NotFound, PermissionDenied, InvalidInput.
    """
    await _require_owner(runtime, principal, store_id)
    if role not in STORE_ROLES:
        raise InvalidInput(field="role", reason="must be a store role")
    phone = checked_phone(phone)
    async with transaction(runtime) as unit:
        person_id = await ensure_person(unit, phone, None)
        grant_id = await _grant(unit, person_id, role, store_id, None)
    await access.changed(runtime, person_id)
    return await Grant.get(id=grant_id)


async def _require_owner(runtime: Runtime, principal: Principal, store_id: UUID) -> None:
    if _owns(principal, store_id):
        return
    store = await get_store(runtime, store_id)
    if principal.administers(store.city_id):
        return
    if principal.works_at(store_id):
        raise PermissionDenied(reason="only the owner decides who works here")
    raise NotFound(resource="Store")


async def revoke_grant(runtime: Runtime, principal: Principal, grant_id: UUID) -> Grant:
    """End a grant; repeating it changes nothing. Admins end any of their city, owners those of their store.

    A rider whose grant ends is offered nothing more. Raises NotFound, PermissionDenied (also for one's own
    CITY_ADMIN grant: a city must not lose its last admin by mistake).
    """
    grant = await Grant.get_or_none(id=grant_id)
    if grant is None:
        raise NotFound(resource="Grant")
    if grant.store_id is not None:
        await _require_owner(runtime, principal, grant.store_id)
    elif grant.city_id is None or not principal.administers(grant.city_id):
        raise NotFound(resource="Grant")
    elif grant.role is GrantRole.CITY_ADMIN and await Grant.exists(id=grant_id, person_id=principal.subject):
        raise PermissionDenied(reason="another admin of the city must end your own grant")
    async with transaction(runtime) as unit:
        person_id = await unit.sql.fetchval(
            'UPDATE "grant" SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL RETURNING person_id',
            grant_id,
            unit.now,
        )
        if person_id is not None and grant.role is GrantRole.RIDER and grant.city_id is not None:
            await unit.sql.execute(
                """UPDATE rider r SET online = false FROM "grant" g
                   WHERE g.id = $1 AND r.person_id = g.person_id AND r.city_id = g.city_id""",
                grant_id,
            )
            unit.signal(CITY.of(grant.city_id))
    if person_id is not None:
        await access.changed(runtime, person_id)
    return await Grant.get(id=grant_id)


# reading


async def people(runtime: Runtime, ids: Sequence[UUID], columns: Columns = ALL) -> dict[UUID, PersonRecord]:
    """People by key, without any check of who asks."""
    chosen = _PEOPLE.choose(columns.of(PersonRecord))
    rows = await runtime.database.fetch(f"SELECT {chosen.sql} FROM person p WHERE p.id = ANY($1::uuid[])", list(ids))
    return {person.id: person for person in map(chosen.record, rows)}


async def grants_of_person(runtime: Runtime, principal: Principal) -> list[Grant]:
    """The caller's own live grants."""
    if principal.subject is None or principal.view not in PERSON_VIEWS:
        return []
    return await Grant.filter(person_id=principal.subject, revoked_at=None).order_by("created_at", "id")


async def staff(runtime: Runtime, store_ids: Sequence[UUID]) -> dict[UUID, list[Grant]]:
    """Live grants at each store."""
    found: dict[UUID, list[Grant]] = {store_id: [] for store_id in store_ids}
    for grant in await Grant.filter(store_id__in=list(store_ids), revoked_at=None).order_by("created_at", "id"):
        if grant.store_id is not None:
            found[grant.store_id].append(grant)
    return found
