"""The public API as a client sees it: HTTP for queries and mutations, sessions that stay signed in, latencies."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self, cast
from urllib.parse import quote, urljoin

import aiohttp
import orjson

from replay import operations
from replay.operations import Operation

GRAPHQL_PATH: Final = "/graphql"
SMS_PATH: Final = "/sandbox/sms"
RENEW_BEFORE: Final = 120.0
"""Seconds before its end at which an access token is replaced."""
BUSY_CODES: Final = frozenset({"THROTTLED", "RATE_LIMITED", "TOO_MANY_REQUESTS", "COST_LIMIT_EXCEEDED"})
MOST_PAUSES: Final = 20


class CallFailed(Exception):
    """No answer, or an answer that is no result: transport, HTTP or GraphQL errors. ``unsigned``: sign in again."""

    def __init__(self, operation: str, reason: str, *, unsigned: bool = False) -> None:
        super().__init__(f"{operation}: {reason}")
        self.operation = operation
        self.reason = reason
        self.unsigned = unsigned


class Refused(Exception):
    """The server refused with a typed error."""

    def __init__(self, operation: str, code: str, message: str) -> None:
        super().__init__(f"{operation}: {code}: {message}")
        self.operation = operation
        self.code = code


@dataclass(slots=True)
class Session:
    """A signed-in person in one view. ``expires`` is Unix time."""

    access: str
    refresh: str
    expires: float
    person: str = ""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    renewing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.headers = {**HEADERS, "Authorization": f"Bearer {self.access}"}

    def replace(self, answer: dict[str, Any]) -> None:
        """Take over the tokens of a Session answer."""
        self.access, self.refresh = answer["accessToken"], answer["refreshToken"]
        self.expires = datetime.fromisoformat(answer["expiresAt"]).timestamp()
        self.headers = {**HEADERS, "Authorization": f"Bearer {self.access}"}


HEADERS: Final = {"Content-Type": "application/json", "Accept": "application/json"}


def session_of(answer: dict[str, Any]) -> Session:
    """The session told by signIn or refreshSession."""
    expires = datetime.fromisoformat(answer["expiresAt"]).timestamp()
    return Session(answer["accessToken"], answer["refreshToken"], expires, answer["person"]["id"])


def ready_session(token: str) -> Session:
    """Somebody by a ready access token, which is used as long as it lasts."""
    return Session(token, "", float("inf"))


class Api:
    """Calls of many users over a shared pool of connections.

    :param base_url: where the server listens, for example ``http://127.0.0.1:8000``.
    :param parallel: most ordinary calls under way at once; urgent ones do not queue.
    """

    def __init__(self, base_url: str, *, parallel: int = 12, timeout: float = 20.0) -> None:
        self.base_url = base_url.rstrip("/")
        self.latencies: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self.calls = 0
        self.pauses = 0
        self._url = self.base_url + GRAPHQL_PATH
        self._slots = asyncio.Semaphore(parallel)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
        )
        self._clock: tuple[float, float, float] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def call(
        self,
        operation: Operation,
        session: Session | None = None,
        *,
        urgent: bool = False,
        **variables: object,
    ) -> Any:
        """The value of the operation's root field. Raises Refused for a typed error and CallFailed otherwise."""
        body = operation.body(variables)
        for _ in range(MOST_PAUSES):
            if session is not None and session.refresh and session.expires - time.time() < RENEW_BEFORE:
                await self.renew(session)
            headers = HEADERS if session is None else session.headers
            if urgent:
                answer = await self._post(operation, body, headers)
            else:
                async with self._slots:
                    answer = await self._post(operation, body, headers)
            if not isinstance(answer, float):
                return answer
            self.pauses += 1
            await asyncio.sleep(answer)
        raise CallFailed(operation.name, "throttled for too long")

    async def _post(self, operation: Operation, body: bytes, headers: dict[str, str]) -> Any:
        """The answer, or as a float how long (seconds) the server wants to be left alone."""
        began = time.perf_counter()
        try:
            async with self._http.post(self._url, data=body, headers=headers) as response:
                raw = await response.read()
                status = response.status
        except TimeoutError:
            raise CallFailed(operation.name, "timed out") from None
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            # aiohttp says RuntimeError when the day is over and the pool closed.
            raise CallFailed(operation.name, f"no connection: {error}") from error
        self.calls += 1
        self.latencies[operation.name].append(time.perf_counter() - began)
        try:
            answer: Any = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise CallFailed(operation.name, f"HTTP {status}: not JSON: {raw[:120]!r}") from None
        return _result(operation, status, answer)

    async def renew(self, session: Session, before: float = RENEW_BEFORE) -> None:
        """Replace an access token that ends in ``before`` seconds, once however many ask. Raises as :meth:`call`."""
        async with session.renewing:
            if session.refresh and session.expires - time.time() < before:
                session.replace(await self.call(operations.REFRESH, refreshToken=session.refresh))

    async def sign_in(self, phone: str, view: str, name: str | None = None) -> Session:
        """Sign in by a one-time code that the sandbox's telephone received. Raises as :meth:`call`."""
        await self.call(operations.REQUEST_OTP, phone=phone, view=view)
        code = await self._read_code(phone)
        return session_of(await self.call(operations.SIGN_IN, phone=phone, code=code, view=view, name=name))

    async def _read_code(self, phone: str) -> str:
        began = time.perf_counter()
        try:
            async with self._http.get(f"{self.base_url}{SMS_PATH}?phone={quote(phone)}") as response:
                raw = await response.read()
                messages: Any = orjson.loads(raw) if response.status == 200 else []
        except (aiohttp.ClientError, OSError, orjson.JSONDecodeError) as error:
            raise CallFailed("sandbox SMS", str(error)) from error
        self.latencies["sandbox SMS"].append(time.perf_counter() - began)
        texts = [cast(str, m["text"]) for m in messages if m["phone"] == phone]
        digits = "".join(c if c.isdigit() else " " for c in texts[-1]).split() if texts else []
        code = next((d for d in digits if 4 <= len(d) <= 8), None)
        if code is None:
            raise CallFailed("sandbox SMS", f"no code for {phone}: is the server in sandbox mode?")
        return code

    async def pay_in_wallet(self, pay_url: str) -> None:
        """Do what a consumer does in the wallet: agree to pay. Raises CallFailed."""
        began = time.perf_counter()
        try:
            async with self._http.post(urljoin(self.base_url, pay_url)) as response:
                raw = await response.read()
                if response.status >= 300:
                    raise CallFailed("wallet", f"HTTP {response.status}: {raw[:120]!r}")
        except TimeoutError:
            raise CallFailed("wallet", "timed out") from None
        except (aiohttp.ClientError, OSError) as error:
            raise CallFailed("wallet", f"no connection: {error}") from error
        self.latencies["wallet"].append(time.perf_counter() - began)

    async def connect(self) -> aiohttp.ClientWebSocketResponse:
        """A new WebSocket of the API. Raises CallFailed."""
        try:
            return await self._http.ws_connect(
                "ws" + self._url.removeprefix("http"),
                protocols=("graphql-transport-ws",),
                compress=0,
                max_msg_size=0,
                autoclose=True,
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise CallFailed("WebSocket", str(error) or type(error).__name__) from error

    async def read_clock(self) -> tuple[float, float]:
        """Domain time (Unix seconds) and its speed, and remember them for :meth:`domain_time`."""
        before = time.time()
        clock = await self.call(operations.CLOCK)
        speed = float(clock["speed"])
        now = datetime.fromisoformat(clock["now"]).timestamp()
        # The answer was made some time in between: taking the end as its instant never gets ahead of the server.
        self._clock = (now, max(time.time(), before), speed)
        return now, speed

    def domain_time(self) -> float:
        """The server's domain time as far as known, Unix seconds; never ahead of it."""
        if self._clock is None:
            raise RuntimeError("the clock has not been read")
        now, at, speed = self._clock
        return now + (time.time() - at) * speed


def _result(operation: Operation, status: int, answer: Any) -> Any:
    errors = answer.get("errors")
    if errors:
        extensions: dict[str, Any] = errors[0].get("extensions") or {}
        code = str(extensions.get("code", ""))
        if code in BUSY_CODES or status == 429:
            return float(extensions.get("retryAfterSeconds") or 0.5)
        unsigned = code == "UNAUTHENTICATED"
        raise CallFailed(operation.name, f"HTTP {status}: {code}: {errors[0].get('message')}", unsigned=unsigned)
    if status == 429:
        return 0.5
    if status != 200:
        raise CallFailed(operation.name, f"HTTP {status}")
    value = answer["data"][operation.field]
    if isinstance(value, dict) and "code" in value:
        refusal = cast(dict[str, Any], value)
        raise Refused(operation.name, refusal["code"], refusal["message"])
    return cast(Any, value)
