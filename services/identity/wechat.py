"""Signing in with WeChat, from a mini-program.

WeChat tells who somebody is to this app (openid), and to all apps of the same owner (unionid). The first time the
phone is asked for, by WeChat's own button or by a one-time code, and the account is bound to the person with it.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

import orjson

from auth.principals import View
from auth.tokens import same
from clients.wechat import Fault, WeChatError, WeChatIdentity
from core import logs
from core.clock import wall_now
from services.errors import (
    InvalidInput,
    PermissionDenied,
    WeChatAccountAtRisk,
    WeChatCodeInvalid,
    WeChatTicketInvalid,
    WeChatUnavailable,
)
from services.identity.codes import Caller, guarded, use_code
from services.identity.people import checked_phone, ensure_person, has_role, person_view
from services.identity.tokens import Session, open_session
from services.runtime import Runtime
from services.unit import Unit, transaction

TICKET_LIFE: Final = timedelta(minutes=10)
MAX_CODE: Final = 512
MAX_TICKET: Final = 1024
TRY_AGAIN_SECONDS: Final = {Fault.BUSY: 1, Fault.LIMITED: 60}

log = logs.get(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WeChatPhoneNeeded:
    """The WeChat account is known to nobody yet. ``ticket`` stands for it until ``expires_at`` (wall time)."""

    ticket: str
    expires_at: datetime


async def sign_in_with_wechat(
    runtime: Runtime, code: str, view: View, phone_code: str | None, caller: Caller
) -> Session | WeChatPhoneNeeded:
    """Exchange the code of ``wx.login`` for a session. ``phone_code``: of ``getPhoneNumber``, to bind a new account.

    Raises InvalidInput, PermissionDenied (no role in that view), WeChatCodeInvalid, WeChatAccountAtRisk,
    WeChatUnavailable, OtpRateLimited (too many bad codes from there).
    """
    person_view(view)
    _checked(code, "code")
    if phone_code is not None:
        _checked(phone_code, "phoneCode")
    who = await _told(runtime, caller, lambda: runtime.wechat.code2session(code))
    async with transaction(runtime) as unit:
        person_id = await _bound(unit, who)
        if person_id is not None:
            return await _enter(unit, person_id, view, caller)
    if phone_code is not None:
        return await _bind(runtime, who, await _phone_of(runtime, phone_code, caller), view, caller)
    expires_at = (wall_now() + TICKET_LIFE).replace(microsecond=0)
    return WeChatPhoneNeeded(_ticket(runtime, who, expires_at), expires_at)


async def bind_wechat(
    runtime: Runtime,
    ticket: str,
    view: View,
    phone_code: str | None,
    phone: str | None,
    code: str | None,
    caller: Caller,
) -> Session:
    """Bind the account that ``ticket`` stands for to the person with the phone, and sign in.

    The phone is proven by ``phone_code`` of ``getPhoneNumber``, or by a one-time ``code`` for ``view`` to ``phone``.
    Raises as :func:`sign_in_with_wechat`, and WeChatTicketInvalid, OtpInvalid.
    """
    person_view(view)
    who = _read_ticket(runtime, ticket)
    if phone_code is not None and phone is None and code is None:
        number = await _phone_of(runtime, phone_code, caller)
    elif phone_code is None and phone is not None and code is not None:
        number = checked_phone(phone)
        await use_code(runtime, number, view, code, caller)
    else:
        raise InvalidInput(field="phoneCode", reason="must be given, or phone and code in its place")
    return await _bind(runtime, who, number, view, caller)


async def _phone_of(runtime: Runtime, phone_code: str, caller: Caller) -> str:
    _checked(phone_code, "phoneCode")
    number = await _told(runtime, caller, lambda: runtime.wechat.phone_number(phone_code))
    return checked_phone(number, "phoneCode")


def _checked(code: str, field: str) -> None:
    if not 1 <= len(code) <= MAX_CODE or not code.isprintable():
        raise InvalidInput(field=field, reason="is not a code of WeChat")


async def _told(runtime: Runtime, caller: Caller, ask: Callable[[], Awaitable[T]]) -> T:
    """What WeChat answers; its refusals in our words. Made-up codes are limited: WeChat counts our calls."""

    async def asked() -> T:
        try:
            return await ask()
        except WeChatError as error:
            if error.fault is Fault.CODE_INVALID:
                raise WeChatCodeInvalid from error
            if error.fault is Fault.RISKY:
                raise WeChatAccountAtRisk from error
            log.warning("wechat.unavailable", fault=error.fault, errcode=error.errcode, reason=str(error))
            raise WeChatUnavailable(retry_after_seconds=TRY_AGAIN_SECONDS.get(error.fault)) from error

    return await guarded(runtime, "wechat code", caller, asked, WeChatCodeInvalid)


async def _bound(unit: Unit, who: WeChatIdentity) -> UUID | None:
    """The person of the account: by its openid, or else by the unionid of the same human in another app."""
    row = await unit.sql.fetchrow(
        """SELECT person_id, openid = $2 AND app_id = $1 AS same_app FROM wechat_account
           WHERE (app_id = $1 AND openid = $2) OR unionid = $3 ORDER BY same_app DESC, created_at LIMIT 1""",
        who.app_id,
        who.openid,
        who.unionid,
    )
    if row is None:
        return None
    if not row["same_app"]:
        await _remember(unit, who, row["person_id"])
    return row["person_id"]


async def _remember(unit: Unit, who: WeChatIdentity, person_id: UUID) -> UUID:
    """Bind the account, unless somebody was faster; the person it is bound to."""
    return await unit.sql.fetchval(
        """INSERT INTO wechat_account (id, app_id, openid, unionid, person_id, created_at)
           VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (app_id, openid) DO UPDATE SET unionid = coalesce(wechat_account.unionid, excluded.unionid)
           RETURNING person_id""",
        unit.runtime.new_id(),
        who.app_id,
        who.openid,
        who.unionid,
        person_id,
        wall_now(),
    )


async def _bind(runtime: Runtime, who: WeChatIdentity, phone: str, view: View, caller: Caller) -> Session:
    async with transaction(runtime) as unit:
        person_id = await ensure_person(unit, phone, None)
        if not await has_role(unit, person_id, view):
            raise PermissionDenied(reason=f"this phone has no {view.lower()} role")
        if await _remember(unit, who, person_id) != person_id:
            # The same ticket was used with another phone: which of them is meant is not for us to guess.
            raise WeChatTicketInvalid
        return await _enter(unit, person_id, view, caller)


async def _enter(unit: Unit, person_id: UUID, view: View, caller: Caller) -> Session:
    if not await has_role(unit, person_id, view):
        raise PermissionDenied(reason=f"this person has no {view.lower()} role")
    return await open_session(unit, person_id, view, unit.runtime.settings.access_token_ttl, caller.device)


def _ticket(runtime: Runtime, who: WeChatIdentity, expires_at: datetime) -> str:
    body = orjson.dumps([who.app_id, who.openid, who.unionid, int(expires_at.timestamp())])
    text = base64.urlsafe_b64encode(body).decode()
    return f"{text}.{_tag(runtime, text)}"


def _tag(runtime: Runtime, text: str) -> str:
    return hmac.digest(runtime.keys.derive("wechat tickets"), text.encode(), "sha256").hex()


def _read_ticket(runtime: Runtime, ticket: str) -> WeChatIdentity:
    text, _, tag = ticket.partition(".")
    if len(ticket) > MAX_TICKET or not same(tag, _tag(runtime, text)):
        raise WeChatTicketInvalid
    app_id, openid, unionid, expires_at = orjson.loads(base64.urlsafe_b64decode(text))
    if datetime.fromtimestamp(expires_at, UTC) <= wall_now():
        raise WeChatTicketInvalid
    return WeChatIdentity(app_id, openid, unionid)
