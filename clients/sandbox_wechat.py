"""WeChat's side for development and tests, bad days included: its server API, and the phone with the mini-program.

``GET /sandbox/wechat/login?user=NAME`` plays ``wx.login`` and ``GET /sandbox/wechat/phone?phone=+86…`` plays the button
of ``getPhoneNumber``; both answer ``{"code": …}``, good once within five minutes. With ``&fault=ERRCODE`` the code is
refused with that number, ``fault=slow``: the answer takes too long, ``fault=garbage``: it is no JSON.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

PREFIX: Final = "/sandbox/wechat"
APP_ID: Final = "wxsandbox"
CODE_LIFE: Final = 300.0
TOKEN_LIFE: Final = 7200
SLOW: Final = 20.0
KEPT: Final = 10_000
MESSAGES: Final = {
    -1: "system error",
    40001: "invalid credential, access_token is invalid or not latest",
    40013: "invalid appid",
    40029: "invalid code",
    40125: "invalid appsecret",
    40163: "code been used",
    40226: "code blocked",
    45011: "api minute-quota reach limit, must slower, retry next minute",
}


class SandboxWeChat:
    """The provider. Codes hold what they say, so that every process knows them; which were used, each by itself."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.secret = hmac.digest(key, b"app secret", "sha256").hex()
        self._used: dict[str, None] = {}
        self._token = ""
        self.renewed = 0
        """How often an access token was asked for."""

    def routes(self) -> list[Mount]:
        return [
            Mount(
                PREFIX,
                routes=[
                    Route("/login", self._login),
                    Route("/phone", self._phone),
                    Route("/sns/jscode2session", self._code2session),
                    Route("/cgi-bin/stable_token", self._stable_token, methods=["POST"]),
                    Route("/wxa/business/getuserphonenumber", self._phone_number, methods=["POST"]),
                ],
            )
        ]

    def code(self, **says: Any) -> str:
        """A code as the phone would get it; ``user`` or ``phone``, and ``fault``."""
        body = orjson.dumps({**says, "at": time.time(), "salt": secrets.token_hex(4)})
        text = base64.urlsafe_b64encode(body).decode()
        return f"{text}.{self._tag(text)}"

    def forget_token(self) -> None:
        """As if its access token had been renewed elsewhere."""
        self._token = ""

    def _tag(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), "sha256").hex()[:16]

    async def _login(self, request: Request) -> Response:
        query = request.query_params
        return _json({"code": self.code(user=query.get("user", "somebody"), fault=query.get("fault"))})

    async def _phone(self, request: Request) -> Response:
        query = request.query_params
        number = "+" + query.get("phone", "").strip().removeprefix("+")
        return _json({"code": self.code(phone=number, fault=query.get("fault"))})

    async def _code2session(self, request: Request) -> Response:
        query = request.query_params
        if query.get("appid") != APP_ID:
            return _refusal(40013)
        if query.get("secret") != self.secret:
            return _refusal(40125)
        says = self._use(query.get("js_code", ""), "user")
        if (bad := await _bad_day(says)) is not None:
            return bad
        digest = hashlib.sha256(says["user"].encode()).hexdigest()
        answer = {"openid": f"o{digest[:27]}", "session_key": base64.b64encode(secrets.token_bytes(16)).decode()}
        if not says["user"].startswith("alone-"):
            answer["unionid"] = f"u{digest[27:54]}"
        return _json(answer)

    async def _stable_token(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
        if (body.get("appid"), body.get("secret")) != (APP_ID, self.secret):
            return _refusal(40125)
        self.renewed += 1
        self._token = self._token or secrets.token_hex(16)
        return _json({"access_token": self._token, "expires_in": TOKEN_LIFE})

    async def _phone_number(self, request: Request) -> Response:
        if not self._token or request.query_params.get("access_token") != self._token:
            return _refusal(40001)
        says = self._use(orjson.loads(await request.body()).get("code", ""), "phone")
        if (bad := await _bad_day(says)) is not None:
            return bad
        pure = says["phone"].removeprefix("+86")
        info = {
            "phoneNumber": pure,
            "purePhoneNumber": pure,
            "countryCode": "86",
            "watermark": {"timestamp": int(time.time()), "appid": APP_ID},
        }
        return _json({"errcode": 0, "errmsg": "ok", "phone_info": info})

    def _use(self, code: str, kind: str) -> dict[str, Any]:
        """What the code says, once."""
        text, _, tag = code.partition(".")
        if not hmac.compare_digest(tag.encode(), self._tag(text).encode()):
            return {"fault": "40029"}
        says = orjson.loads(base64.urlsafe_b64decode(text))
        if kind not in says or says["at"] < time.time() - CODE_LIFE:
            return {"fault": "40029"}
        if code in self._used:
            return {"fault": "40163"}
        self._used[code] = None
        if len(self._used) > KEPT:
            del self._used[next(iter(self._used))]
        return says


async def _bad_day(says: dict[str, Any]) -> Response | None:
    match says.get("fault"):
        case None:
            return None
        case "slow":
            await asyncio.sleep(SLOW)
            return _refusal(-1)
        case "garbage":
            return Response("<html>502 Bad Gateway</html>", media_type="text/html")
        case errcode:
            return _refusal(int(errcode))


def _refusal(errcode: int) -> Response:
    return _json({"errcode": errcode, "errmsg": MESSAGES.get(errcode, "error")})


def _json(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), media_type="text/plain")
