"""One-time codes by text message.

Lifetimes and limits are wall time: they protect people, not dinners. Codes are kept as keyed hashes. Nothing here
depends on whether somebody with the phone exists.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from auth.principals import View
from auth.tokens import same
from clients.sms import SmsError
from core import logs
from core.clock import wall_now
from services.errors import InvalidInput, OtpInvalid, OtpLimit, OtpRateLimited
from services.identity.people import checked_name, checked_phone, person_view
from services.limits import Exhausted, Limit, give_back, limit, network, seconds_until, take
from services.limits import guarded as counted
from services.runtime import Runtime
from services.unit import Unit, transaction

CODE_DIGITS: Final = 6
SHORTEST_INSTALLATION: Final = 16
LONGEST_INSTALLATION: Final = 128

log = logs.get(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OtpSent:
    phone: str
    expires_at: datetime
    resend_after_seconds: int


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request comes from. ``installation`` is what the app says of itself: its random id."""

    address: str = ""
    installation: str | None = None
    device: str | None = None
    """What the person knows the device as, for the list of sessions."""

    @classmethod
    def checked(cls, address: str, installation: str | None, device: str | None) -> Caller:
        """Raises InvalidInput."""
        if installation is not None and not (
            SHORTEST_INSTALLATION <= len(installation) <= LONGEST_INSTALLATION and installation.isprintable()
        ):
            reason = f"must have {SHORTEST_INSTALLATION} to {LONGEST_INSTALLATION} printable characters"
            raise InvalidInput(field="installation.id", reason=reason)
        return cls(address, installation, None if device is None else checked_name(device, "installation.name"))


UNKNOWN: Final = Caller()


def _limits(runtime: Runtime, name: str, phone: int, address: int, device: int, number: str, by: Caller) -> list[Limit]:
    """One per scope that is known and limited, always in this order."""
    wanted = [
        (OtpLimit.PHONE, number, phone),
        (OtpLimit.ADDRESS, network(by.address), address),
        (OtpLimit.DEVICE, by.installation, device),
    ]
    return [limit(runtime, name, scope, subject, most) for scope, subject, most in wanted if subject and most]


def _sending(runtime: Runtime, phone: str, caller: Caller) -> list[Limit]:
    s = runtime.settings
    most = (s.otp_codes_per_phone, s.otp_codes_per_address, s.otp_codes_per_device)
    return _limits(runtime, "otp code", *most, phone, caller)


def _guessing(runtime: Runtime, phone: str, caller: Caller) -> list[Limit]:
    s = runtime.settings
    most = (s.otp_guesses_per_phone, s.otp_guesses_per_address, s.otp_guesses_per_device)
    return _limits(runtime, "otp guess", *most, phone, caller)


def _code_hash(runtime: Runtime, phone: str, purpose: str, code: str) -> str:
    key = runtime.keys.derive("one-time codes")
    return hmac.new(key, f"{phone}\n{purpose}\n{code}".encode(), hashlib.sha256).hexdigest()


def _limited(scope: OtpLimit, until: datetime) -> OtpRateLimited:
    return OtpRateLimited(retry_after_seconds=seconds_until(until), limit=scope)


async def _take(unit: Unit, limits: Sequence[Limit]) -> None:
    exhausted = await take(unit.sql, limits)
    if exhausted is not None:
        raise _limited(OtpLimit(exhausted[0].scope), exhausted[1])


async def request_otp(runtime: Runtime, phone: str, view: View, caller: Caller = UNKNOWN) -> OtpSent:
    """Send a code to sign in to ``view``; it replaces the ones before. Raises InvalidInput, OtpRateLimited."""
    return await send_code(runtime, checked_phone(phone), person_view(view), caller)


async def send_code(runtime: Runtime, phone: str, purpose: str, caller: Caller) -> OtpSent:
    """Send a code to the E.164 ``phone``, good for ``purpose`` only. Raises InvalidInput, OtpRateLimited."""
    settings, now = runtime.settings, wall_now()
    code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"
    code_id = runtime.new_id()
    expires_at = now + settings.otp_ttl
    limits = _sending(runtime, phone, caller)
    async with transaction(runtime) as unit:
        # Two requests for one phone at once: the second waits and then sees the first one's code.
        await unit.sql.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"otp {phone}")
        last = await unit.sql.fetchval("SELECT max(created_at) FROM one_time_code WHERE phone = $1", phone)
        if last is not None and last + settings.otp_resend_after > now:
            raise _limited(OtpLimit.PAUSE, last + settings.otp_resend_after)
        await _take(unit, limits)
        await unit.sql.execute(
            "UPDATE one_time_code SET used_at = $3 WHERE phone = $1 AND view = $2 AND used_at IS NULL",
            phone,
            purpose,
            now,
        )
        await unit.sql.execute(
            """INSERT INTO one_time_code (id, phone, view, code_hash, attempts_left, created_at, expires_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7)""",
            code_id,
            phone,
            purpose,
            _code_hash(runtime, phone, purpose, code),
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
        await give_back(runtime.database, limits)
        raise InvalidInput(field="phone", reason="cannot be sent a text message now") from error
    return OtpSent(phone, expires_at, round(settings.otp_resend_after.total_seconds()))


async def use_code(runtime: Runtime, phone: str, purpose: str, code: str, caller: Caller) -> None:
    """Take the code that was sent to the E.164 ``phone`` for ``purpose``, once. Raises OtpInvalid, OtpRateLimited.

    The attempt is counted, durably, before anything is compared, so that parallel guesses cannot have more than
    allowed; what was no guess after all is given back.
    """
    limits = _guessing(runtime, phone, caller)
    async with transaction(runtime) as unit:
        await _take(unit, [one for one in limits if one.scope != OtpLimit.PHONE])
        row = await unit.sql.fetchrow(
            """UPDATE one_time_code SET attempts_left = attempts_left - 1
               WHERE id = (SELECT id FROM one_time_code WHERE phone = $1 AND view = $2 ORDER BY created_at DESC LIMIT 1)
                 AND used_at IS NULL AND attempts_left > 0 AND expires_at > $3
               RETURNING id, code_hash, attempts_left""",
            phone,
            purpose,
            wall_now(),
        )
        if row is not None:
            # Only where there is a code to guess: a stranger cannot use up the guesses of a phone otherwise.
            await _take(unit, [one for one in limits if one.scope == OtpLimit.PHONE])
    if row is None:
        raise OtpInvalid(attempts_left=0)
    if not same(row["code_hash"], _code_hash(runtime, phone, purpose, code.strip())):
        raise OtpInvalid(attempts_left=row["attempts_left"])
    used = await runtime.database.fetchval(
        "UPDATE one_time_code SET used_at = $2 WHERE id = $1 AND used_at IS NULL RETURNING 1", row["id"], wall_now()
    )
    if used is None:
        raise OtpInvalid(attempts_left=0)
    await give_back(runtime.database, limits)


async def guarded(
    runtime: Runtime, name: str, caller: Caller, ask: Callable[[], Awaitable[T]], counts: type[Exception]
) -> T:
    """What ``ask`` gives. Where it raises ``counts``, that is one of the wrong codes of the caller's address and
    installation, limited as one-time codes are. Raises OtpRateLimited."""
    s = runtime.settings
    limits = _limits(runtime, name, 0, s.otp_guesses_per_address, s.otp_guesses_per_device, "", caller)
    try:
        return await counted(runtime.database, limits, ask, counts)
    except Exhausted as error:
        raise _limited(OtpLimit(error.limit.scope), error.ends_at) from None
