"""WeChat's server API for mini-programs, behind a narrow port: who signed in, and which phone they have.

Documented at developers.weixin.qq.com: ``auth.code2Session``, ``getStableAccessToken``, ``getPhoneNumber``. Refusals
have status 200 and an ``errcode``.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol, cast

import aiohttp
import orjson

from core import logs

log = logs.get(__name__)

TIMEOUT: Final = aiohttp.ClientTimeout(total=5, connect=2)
LARGEST_ANSWER: Final = 64 * 1024
RENEW_BEFORE: Final = 300.0
"""Seconds before its end at which an access token is replaced."""


class Fault(StrEnum):
    """Why WeChat did not tell."""

    CODE_INVALID = "CODE_INVALID"
    LIMITED = "LIMITED"
    RISKY = "RISKY"
    BUSY = "BUSY"
    MISCONFIGURED = "MISCONFIGURED"


FAULTS: Final = {
    40029: Fault.CODE_INVALID,  # invalid code
    40163: Fault.CODE_INVALID,  # code been used
    45011: Fault.LIMITED,  # API minute-quota reached
    45009: Fault.LIMITED,  # API daily quota reached
    40226: Fault.RISKY,  # high-risk user, sign-in blocked
    -1: Fault.BUSY,  # system busy
}
TOKEN_OVER: Final = frozenset({40001, 40014, 42001})
"""The access token is invalid or has expired: another process renewed it, for example."""


class WeChatError(Exception):
    """WeChat refused or could not be reached. ``errcode`` is its own number, None without an answer."""

    def __init__(self, fault: Fault, errcode: int | None, message: str) -> None:
        super().__init__(f"{fault} ({errcode}): {message}")
        self.fault = fault
        self.errcode = errcode


@dataclass(frozen=True, slots=True)
class WeChatIdentity:
    """Who signed in: ``openid`` in this app, ``unionid`` in all apps of the same owner where there are several.

    The session key is not kept: nothing here decrypts data of the mini-program.
    """

    app_id: str
    openid: str
    unionid: str | None


class WeChat(Protocol):
    async def code2session(self, code: str) -> WeChatIdentity:
        """Who the code of ``wx.login`` is of; good once, for five minutes. Raises WeChatError."""
        ...

    async def phone_number(self, code: str) -> str:
        """The phone, with country code, that the code of ``getPhoneNumber`` is of; good once. Raises WeChatError."""
        ...


class NoWeChat:
    """In place of an app that the installation has not configured."""

    async def code2session(self, code: str) -> WeChatIdentity:
        raise WeChatError(Fault.MISCONFIGURED, None, "no WeChat app is configured")

    async def phone_number(self, code: str) -> str:
        raise WeChatError(Fault.MISCONFIGURED, None, "no WeChat app is configured")


class HttpWeChat:
    """Asks WeChat's servers. One per process; ``close`` at the end."""

    def __init__(self, app_id: str, secret: str, url: str) -> None:
        self._app_id = app_id
        self._secret = secret
        self._url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._token: tuple[str, float] | None = None
        self._renewing = asyncio.Lock()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def code2session(self, code: str) -> WeChatIdentity:
        query = {
            "appid": self._app_id,
            "secret": self._secret,
            "js_code": code,
            "grant_type": "authorization_code",
        }
        answer = _accepted(await self._ask("GET", "/sns/jscode2session", query))
        return WeChatIdentity(self._app_id, _text(answer, "openid"), cast("str | None", answer.get("unionid")) or None)

    async def phone_number(self, code: str) -> str:
        token = await self._access_token()
        answer = await self._ask_for_phone(code, token)
        if answer.get("errcode") in TOKEN_OVER:
            answer = await self._ask_for_phone(code, await self._access_token(over=token))
        info = _accepted(answer).get("phone_info")
        if not isinstance(info, dict):
            raise WeChatError(Fault.BUSY, None, "the answer has no phone_info")
        found = cast("dict[str, Any]", info)
        return f"+{_text(found, 'countryCode')}{_text(found, 'purePhoneNumber')}"

    async def _ask_for_phone(self, code: str, token: str) -> dict[str, Any]:
        return await self._ask("POST", "/wxa/business/getuserphonenumber", {"access_token": token}, {"code": code})

    async def _access_token(self, *, over: str | None = None) -> str:
        """A token for calls of the server, another one than ``over``; renewed once for all who wait for it."""
        async with self._renewing:
            if self._token is None or self._token[0] == over or time.monotonic() >= self._token[1]:
                # The stable endpoint gives all processes the same token, so that none ends another's.
                body = {"grant_type": "client_credential", "appid": self._app_id, "secret": self._secret}
                answer = _accepted(await self._ask("POST", "/cgi-bin/stable_token", {}, body))
                life = float(answer.get("expires_in") or 0)
                self._token = _text(answer, "access_token"), time.monotonic() + max(life - RENEW_BEFORE, life / 2)
            return self._token[0]

    async def _ask(
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())
        data = None if body is None else orjson.dumps(body)
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            async with self._session.request(
                method, f"{self._url}{path}", params=query, data=data, headers=headers, allow_redirects=False
            ) as response:
                text = await response.content.read(LARGEST_ANSWER)
                if response.status != 200:
                    raise WeChatError(Fault.BUSY, None, f"HTTP status {response.status}")
            answer = orjson.loads(text)  # its media type is often text/plain
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            # Not the error's text: the address in it has the app's secret.
            raise WeChatError(Fault.BUSY, None, type(error).__name__) from None
        if not isinstance(answer, dict):
            raise WeChatError(Fault.BUSY, None, "the answer is no object")
        return cast("dict[str, Any]", answer)


def _accepted(answer: dict[str, Any]) -> dict[str, Any]:
    errcode = answer.get("errcode") or 0
    if errcode != 0:
        fault = FAULTS.get(errcode, Fault.MISCONFIGURED)
        if fault is Fault.MISCONFIGURED:
            log.error("wechat.misconfigured", errcode=errcode, errmsg=answer.get("errmsg"))
        raise WeChatError(fault, errcode, str(answer.get("errmsg")))
    return answer


def _text(answer: dict[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise WeChatError(Fault.BUSY, None, f"the answer has no {name}")
    return value
