"""A payment provider for development and tests, bad days included, and the client that speaks to it.

:class:`SandboxPayments` is both sides. The provider's side is HTTP routes under ``/sandbox/payments`` with a durable
state of its own (PostgreSQL schema ``sandbox``) that nothing else touches; the client's side implements
:class:`clients.payments.PaymentProvider` by calling them. They share only what a merchant and a real provider share:
an API key one way and the provider's public key the other way.

Notifications are JSON bodies signed with Ed25519 over ``timestamp \\n nonce \\n body``, repeated with growing pauses
until the receiver answers 2xx; they survive a restart. Several processes may each have one: they share the state, and
the secret that API key and signing key are derived from.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
from typing import Any, Final, cast
from uuid import uuid4

import aiohttp
import asyncpg
import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from clients.payments import (
    ChargeState,
    ChargeStatus,
    Notification,
    NotificationInvalid,
    NotificationKind,
    Prepaid,
    ProviderError,
)
from core import logs
from core.clock import wall_now
from core.settings import Settings

log = logs.get(__name__)

PREFIX: Final = "/sandbox/payments"
FRESH_SECONDS: Final = 300
PAUSES: Final = (0.1, 0.5, 2.0, 10.0, 60.0)
"""Seconds before each repetition of a notification; the last one repeats."""
TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
LARGEST: Final = 10**12
CALLS_AT_ONCE: Final = 100
SENDINGS_AT_ONCE: Final = 32
"""Notifications on their way at once; fewer than the calls, so that a burst of them does not keep payments waiting."""
KEEP_ALIVE: Final = 4.0
"""Seconds an idle connection is kept; less than servers do, or a call would now and then meet a closing one."""

_NUMBER: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")

TABLES: Final = """
CREATE SCHEMA IF NOT EXISTS sandbox;
CREATE TABLE IF NOT EXISTS sandbox.charge (
    out_trade_no text PRIMARY KEY, trade_no text NOT NULL, amount bigint NOT NULL CHECK (amount > 0),
    currency text NOT NULL, notify_url text NOT NULL, state text NOT NULL DEFAULT 'PENDING',
    refunded bigint NOT NULL DEFAULT 0 CHECK (refunded <= amount));
CREATE TABLE IF NOT EXISTS sandbox.refund (
    out_refund_no text PRIMARY KEY, out_trade_no text NOT NULL REFERENCES sandbox.charge, amount bigint NOT NULL);
CREATE TABLE IF NOT EXISTS sandbox.notification (
    id uuid PRIMARY KEY, url text NOT NULL, body text NOT NULL, made_at timestamptz NOT NULL DEFAULT now());
"""


class Refused(Exception):
    """The provider's side says no."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class SandboxPayments:
    """The provider and its client. ``start`` needs the URL of a database and where this server can be reached.

    ``secret`` is used when the settings name none; all processes of an installation need the same.
    """

    def __init__(self, settings: Settings, secret: bytes) -> None:
        if settings.payment_notify_secret is not None:
            secret = settings.payment_notify_secret.encode()
        seed = hashlib.sha256(b"sandbox payments " + secret)
        self._private = Ed25519PrivateKey.from_private_bytes(seed.digest())
        self._public = self._private.public_key()
        self._api_key = hashlib.sha256(seed.digest()).hexdigest()
        self._faults = settings.sandbox_payment_faults
        self._base = ""
        self._pool: asyncpg.Pool | None = None
        self._http: aiohttp.ClientSession | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._lines = asyncio.Semaphore(SENDINGS_AT_ONCE)

    async def start(self, database_url: str, public_url: str) -> None:
        """Open connections and send what was still to be notified when the process ended."""
        self._base = public_url.rstrip("/")
        self._pool = await asyncpg.create_pool(database_url, min_size=1, max_size=3)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('sandbox payments'))")
            await connection.execute(TABLES)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CALLS_AT_ONCE, keepalive_timeout=KEEP_ALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=TIMEOUT,
        )
        for row in await self._pool.fetch("SELECT id, url, body FROM sandbox.notification ORDER BY made_at"):
            self._send_later(str(row["id"]), row["url"], row["body"].encode())

    async def stop(self) -> None:
        http, pool = self._http, self._pool
        self._http = self._pool = None
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        if http is not None:
            await http.close()
        if pool is not None:
            await pool.close()

    # the client's side

    async def prepay(self, out_trade_no: str, amount: int, currency: str, description: str) -> Prepaid:
        answer = await self._call(
            "POST",
            "/v1/charges",
            {
                "out_trade_no": out_trade_no,
                "amount": amount,
                "currency": currency,
                "description": description,
                "notify_url": self._notify_url,
            },
        )
        return Prepaid(answer["pay_url"])

    async def query(self, out_trade_no: str) -> ChargeStatus | None:
        try:
            return _status(await self._call("GET", f"/v1/charges/{out_trade_no}"))
        except ProviderError as error:
            if error.reason == "NO_SUCH_CHARGE":
                return None
            raise

    async def close(self, out_trade_no: str) -> ChargeStatus:
        return _status(await self._call("POST", f"/v1/charges/{out_trade_no}/close"))

    async def refund(self, out_trade_no: str, out_refund_no: str, amount: int, reason: str) -> None:
        await self._call(
            "POST",
            "/v1/refunds",
            {"out_trade_no": out_trade_no, "out_refund_no": out_refund_no, "amount": amount, "reason": reason},
        )

    def verify(self, headers: dict[str, str], body: bytes) -> Notification:
        try:
            timestamp, nonce = headers["x-sandbox-timestamp"], headers["x-sandbox-nonce"]
            signature = base64.b64decode(headers["x-sandbox-signature"], validate=True)
            self._public.verify(signature, _signed(timestamp, nonce, body))
            if abs(int(timestamp) - wall_now().timestamp()) > FRESH_SECONDS:
                raise NotificationInvalid("the notification is not fresh")
            data = orjson.loads(body)
            kind = NotificationKind(data["kind"])
            refund = data["out_refund_no"] if kind is NotificationKind.REFUNDED else None
            return Notification(
                kind, str(data["out_trade_no"]), refund, int(data["amount"]), str(data["currency"]), data["trade_no"]
            )
        except (KeyError, ValueError, TypeError, OverflowError, InvalidSignature) as error:
            raise NotificationInvalid(f"{type(error).__name__} in the notification") from None

    @property
    def _notify_url(self) -> str:
        return f"{self._base}/webhooks/payments/sandbox"

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if self._http is None:
            raise ProviderError("NOT_STARTED", retryable=True)
        try:
            async with self._http.request(
                method,
                f"{self._base}{PREFIX}{path}",
                data=None if body is None else orjson.dumps(body),
                headers={"authorization": f"Bearer {self._api_key}", "content-type": "application/json"},
            ) as response:
                answer = orjson.loads(await response.read())
                if response.status >= 400:
                    retryable = response.status >= 500 or response.status == 429
                    raise ProviderError(str(answer["reason"]), retryable=retryable)
                return answer
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
            raise ProviderError(f"UNREACHABLE ({type(error).__name__})", retryable=True) from error

    # the provider's side

    def routes(self) -> list[Mount]:
        """Routes for the composition root."""
        return [
            Mount(
                PREFIX,
                routes=[
                    Route("/v1/charges", self._answer(self._charge, private=True), methods=["POST"]),
                    Route("/v1/charges/{no}", self._answer(self._look_up, private=True), methods=["GET"]),
                    Route("/v1/charges/{no}/close", self._answer(self._close, private=True), methods=["POST"]),
                    Route("/v1/charges/{no}/pay", self._answer(self._pay, private=False), methods=["POST"]),
                    Route("/v1/refunds", self._answer(self._refund, private=True), methods=["POST"]),
                    Route("/v1/refunds/{no}", self._answer(self._look_up_refund, private=True), methods=["GET"]),
                ],
            )
        ]

    def _answer(self, handle: Any, *, private: bool) -> Any:
        async def endpoint(request: Request) -> Response:
            if not _NUMBER.fullmatch(request.path_params.get("no", "-")):
                return _json(404, {"reason": "NO_SUCH_NUMBER"})
            given = request.headers.get("authorization", "")
            if private and not secrets.compare_digest(given.encode(), f"Bearer {self._api_key}".encode()):
                return _json(401, {"reason": "UNAUTHORIZED"})
            try:
                return _json(200, await handle(request))
            except Refused as refused:
                return _json(refused.status, {"reason": refused.reason})

        return endpoint

    @property
    def _db(self) -> asyncpg.Pool:
        if self._pool is None:
            raise Refused(503, "STARTING")
        return self._pool

    async def _charge(self, request: Request) -> dict[str, Any]:
        body = await _body(request)
        no, currency, notify = _number(body, "out_trade_no"), _text(body, "currency"), _text(body, "notify_url")
        amount = _amount(body)
        row = await self._db.fetchrow(
            """INSERT INTO sandbox.charge (out_trade_no, trade_no, amount, currency, notify_url)
               VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (out_trade_no) DO UPDATE SET trade_no = sandbox.charge.trade_no RETURNING *""",
            no,
            uuid4().hex,
            amount,
            currency,
            notify,
        )
        assert row is not None
        if (row["amount"], row["currency"]) != (amount, currency):
            raise Refused(409, "OTHER_CHARGE_WITH_THIS_NUMBER")
        return {"pay_url": f"{self._base}{PREFIX}/v1/charges/{no}/pay", **_shown(row)}

    async def _look_up(self, request: Request) -> dict[str, Any]:
        row = await self._db.fetchrow("SELECT * FROM sandbox.charge WHERE out_trade_no = $1", request.path_params["no"])
        if row is None:
            raise Refused(404, "NO_SUCH_CHARGE")
        return _shown(row)

    async def _close(self, request: Request) -> dict[str, Any]:
        await self._db.execute(
            "UPDATE sandbox.charge SET state = 'CLOSED' WHERE out_trade_no = $1 AND state = 'PENDING'",
            request.path_params["no"],
        )
        return await self._look_up(request)

    async def _pay(self, request: Request) -> dict[str, Any]:
        """The consumer's wallet pays."""
        row = await self._db.fetchrow(
            """WITH paid AS (
                   UPDATE sandbox.charge SET state = 'PAID' WHERE out_trade_no = $1 AND state = 'PENDING' RETURNING *
               ), told AS (
                   INSERT INTO sandbox.notification (id, url, body)
                   SELECT $2, notify_url, json_build_object('kind', 'PAID', 'out_refund_no', NULL, 'amount', amount,
                       'out_trade_no', out_trade_no, 'trade_no', trade_no, 'currency', currency)::text
                   FROM paid RETURNING id, url, body
               )
               SELECT paid.*, told.id, told.url, told.body FROM paid, told""",
            request.path_params["no"],
            uuid4(),
        )
        if row is None:
            shown = await self._look_up(request)
            if shown["state"] == "CLOSED":
                raise Refused(409, "CHARGE_CLOSED")
            return shown
        self._send_later(str(row["id"]), row["url"], row["body"].encode())
        return _shown(row)

    async def _refund(self, request: Request) -> dict[str, Any]:
        body = await _body(request)
        no, refund_no, amount = _number(body, "out_trade_no"), _number(body, "out_refund_no"), _amount(body)
        async with self._db.acquire() as connection, connection.transaction():
            row = await connection.fetchrow("SELECT * FROM sandbox.charge WHERE out_trade_no = $1 FOR UPDATE", no)
            if row is None:
                raise Refused(404, "NO_SUCH_CHARGE")
            known = await connection.fetchrow("SELECT * FROM sandbox.refund WHERE out_refund_no = $1", refund_no)
            if known is not None:
                if (known["out_trade_no"], known["amount"]) != (no, amount):
                    raise Refused(409, "OTHER_REFUND_WITH_THIS_NUMBER")
                return {"out_refund_no": refund_no, "amount": amount}
            if row["state"] != "PAID" or row["refunded"] + amount > row["amount"]:
                raise Refused(409, "NOT_ENOUGH_PAID")
            await connection.execute(
                "UPDATE sandbox.charge SET refunded = refunded + $2 WHERE out_trade_no = $1", no, amount
            )
            made = await connection.fetchval(
                "INSERT INTO sandbox.refund VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING 1",
                refund_no,
                no,
                amount,
            )
            if made is None:  # taken meanwhile, for another charge: this one's refunds wait for its lock
                raise Refused(409, "OTHER_REFUND_WITH_THIS_NUMBER")
            notify = await _note(connection, row, {"kind": "REFUNDED", "amount": amount, "out_refund_no": refund_no})
        self._send_later(*notify)
        return {"out_refund_no": refund_no, "amount": amount}

    async def _look_up_refund(self, request: Request) -> dict[str, Any]:
        row = await self._db.fetchrow(
            "SELECT * FROM sandbox.refund WHERE out_refund_no = $1", request.path_params["no"]
        )
        if row is None:
            raise Refused(404, "NO_SUCH_REFUND")
        return dict(row)

    # notifications

    def _send_later(self, key: str, url: str, body: bytes) -> None:
        if self._http is None:  # stopped meanwhile: the next start sends it
            return
        task = asyncio.create_task(self._send(key, url, body))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, key: str, url: str, body: bytes) -> None:
        """Deliver one notification at least once. On a bad day it is late, repeated, or lost the first time."""
        fault = fate(body, self._faults)
        attempt = 0
        if fault in ("late", "lost"):
            await asyncio.sleep(PAUSES[2] if fault == "lost" else PAUSES[1])
        while not await self._deliver(url, body):
            await asyncio.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
            attempt += 1
        if fault == "twice":
            await self._deliver(url, body)
        try:
            await self._db.execute("DELETE FROM sandbox.notification WHERE id = $1::text::uuid", key)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            log.warning("sandbox.notification_not_settled", error=repr(error))  # it will be sent once more

    async def _deliver(self, url: str, body: bytes) -> bool:
        assert self._http is not None
        timestamp, nonce = str(int(wall_now().timestamp())), secrets.token_hex(8)
        signature = base64.b64encode(self._private.sign(_signed(timestamp, nonce, body))).decode()
        headers = {
            "content-type": "application/json",
            "x-sandbox-timestamp": timestamp,
            "x-sandbox-nonce": nonce,
            "x-sandbox-signature": signature,
        }
        try:
            async with self._lines, self._http.post(url, data=body, headers=headers) as response:
                return response.status < 300
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            log.info("sandbox.notification_undelivered", url=url, error=repr(error))
            return False


async def _note(connection: Any, charge: asyncpg.Record, fact: dict[str, Any]) -> tuple[str, str, bytes]:
    """Store a notification together with what it tells; ``(key, url, body)`` to send."""
    told = {"out_trade_no": charge["out_trade_no"], "trade_no": charge["trade_no"], "currency": charge["currency"]}
    body = orjson.dumps({**fact, **told})
    key = uuid4()
    await connection.execute(
        "INSERT INTO sandbox.notification (id, url, body) VALUES ($1, $2, $3)", key, charge["notify_url"], body.decode()
    )
    return str(key), charge["notify_url"], body


def fate(body: bytes, share: float) -> str | None:
    """What goes wrong with a notification: "late", "twice", "lost" (the first time) or, mostly, nothing.

    It depends on the kind and the merchant's numbers alone, so that it is the same in every run.
    """
    told = orjson.loads(body)
    name = f"{told['kind']} {told['out_trade_no']} {told['out_refund_no']}"
    dice = hashlib.sha256(name.encode()).digest()
    if int.from_bytes(dice[:4], "big") / 2**32 >= share:
        return None
    return ("late", "twice", "lost")[dice[4] % 3]


def _signed(timestamp: str, nonce: str, body: bytes) -> bytes:
    return timestamp.encode() + b"\n" + nonce.encode() + b"\n" + body


def _status(data: dict[str, Any]) -> ChargeStatus:
    return ChargeStatus(
        data["out_trade_no"], ChargeState(data["state"]), data["amount"], data["currency"], data["trade_no"]
    )


def _shown(row: asyncpg.Record) -> dict[str, Any]:
    return {name: row[name] for name in ("out_trade_no", "trade_no", "amount", "currency", "state", "refunded")}


def _json(status: int, content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


async def _body(request: Request) -> dict[str, Any]:
    try:
        data = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        data = None
    if not isinstance(data, dict):
        raise Refused(400, "NOT_A_JSON_OBJECT")
    return cast(dict[str, Any], data)


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= 500 or not value.isprintable():
        raise Refused(400, f"BAD_{name.upper()}")
    return value


def _number(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise Refused(400, f"BAD_{name.upper()}")
    return value


def _amount(body: dict[str, Any]) -> int:
    value = body.get("amount")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LARGEST:
        raise Refused(400, "BAD_AMOUNT")
    return value
