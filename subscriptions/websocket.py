"""GraphQL over WebSocket: the endpoint and its open sockets.

There is no queue per socket: an operation waits until the connection takes its message. What it follows is told
nothing meanwhile: newest-value feeds skip, and lossless ones are read from the log when it goes on.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID

import structlog
from graphql import OperationType
from prometheus_client import Counter, Gauge
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from auth import changes
from auth.authenticate import Authenticator
from auth.principals import ANONYMOUS, Principal
from auth.tokens import Reason, Unauthenticated
from core import logs
from gateway import metrics
from gateway.errors import describe
from gateway.execution import Gateway, Interrupted, OperationRequest
from gateway.refusals import INTERNAL, Refused
from gateway.requests import Origins, bearer, locale_of, request_id_of
from resolvers.context import Context
from services.errors import AccessEnded, EndReason
from services.runtime import Runtime
from subscriptions.hub import Hub
from subscriptions.protocol import (
    ACK,
    PING,
    PONG,
    REASONS,
    SUBPROTOCOL,
    Close,
    Closing,
    close_message,
    error_message,
    has_credentials,
    id_of,
    message_of,
    payload_of,
    refusal,
    request_of,
    same_caller,
    to_json,
    token_of,
)
from subscriptions.tail import FeedTails

log = logs.get(__name__)

_GOODBYE: Final = 1.0
"""Seconds that a peer has to take the close frame."""
_DRAIN_PACE: Final = 0.02
"""Seconds between two sockets when a few are drained; many share the window."""
SOCKETS: Final = Gauge("hutong_sockets", "Open WebSockets.", registry=metrics.REGISTRY)
OPERATIONS: Final = Gauge("hutong_socket_operations", "Operations running on WebSockets.", registry=metrics.REGISTRY)
CLOSED: Final = Counter("hutong_sockets_closed_total", "WebSockets closed by us.", ["code"], registry=metrics.REGISTRY)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and sizes of a socket."""

    init: float = 3.0
    """From the handshake to ``connection_init``."""
    keep_alive: float = 25.0
    """Between two pings."""
    silence: float = 75.0
    """Without any message of the peer."""
    stall: float = 15.0
    """For which a message may wait for the peer to take it."""
    recheck: float = 10.0
    """Between two looks whether the session and the grants of the caller still hold."""
    tick: float = 0.5
    """Precision of all these."""
    operations: int = 100
    message: int = 1_000_000
    """Characters of one message."""


class GraphQLSockets:
    """The WebSocket endpoint, an ASGI application, and all its open sockets."""

    def __init__(
        self,
        gateway: Gateway,
        authenticator: Authenticator,
        runtime: Runtime,
        tails: FeedTails,
        origins: Origins,
        limits: Limits | None = None,
    ) -> None:
        self.gateway = gateway
        self.hub = Hub(gateway)
        self.authenticator = authenticator
        self.limits = limits or Limits()
        self._runtime = runtime
        self._tails = tails
        self._origins = origins
        self._open: set[_Socket] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._deaf: Callable[[], None] | None = None
        self._draining = False

    @property
    def sockets(self) -> int:
        """Number of open sockets."""
        return len(self._open)

    @property
    def operations(self) -> int:
        """Number of operations that run on them."""
        return sum(len(socket.operations) for socket in self._open)

    def context(self, principal: Principal, locale: str, address: str) -> Context:
        return Context(self._runtime, self._tails, principal, locale, request_id_of(None), address)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        await receive()
        if not self._origins.admits(headers.get("origin"), headers.get("host")):
            await send({"type": "websocket.close"})
            return
        if self._draining:
            await _deny(scope, send, 503)
            return
        if SUBPROTOCOL not in scope["subprotocols"]:
            await send({"type": "websocket.accept"})
            await send(close_message(Close.SUBPROTOCOL, "Subprotocol not acceptable"))
            return
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._tend()), asyncio.create_task(self._recheck())]
            self._deaf = changes.listen(self._changed)
        socket = _Socket(self, scope, headers, receive, send)
        self._open.add(socket)
        try:
            await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
            with SOCKETS.track_inprogress():
                await socket.run()
        finally:
            self._open.discard(socket)

    async def drain(self, window: timedelta | None = None) -> None:
        """Take no more sockets and close the open ones, in random order, over ``window`` at the longest.

        Their clients then do not all connect to the other processes in the same moment. Default: the settings'
        ``drain_window``.
        """
        self._draining = True
        seconds = (window if window is not None else self._runtime.settings.drain_window).total_seconds()
        sockets = list(self._open)
        random.shuffle(sockets)
        pause = min(_DRAIN_PACE, seconds / max(len(sockets), 1))
        for socket in sockets:
            socket.end(Close.RESTART, "service restart")
            await asyncio.sleep(pause)
        await self._gone()

    async def close(self) -> None:
        """Close what is still open, at once."""
        self._draining = True
        if self._deaf is not None:
            self._deaf()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for socket in list(self._open):
            socket.end(Close.RESTART, "service restart")
        await self._gone()
        await self.hub.finish()

    async def _gone(self) -> None:
        running = [socket.task for socket in self._open]
        if running:
            await asyncio.wait(running, timeout=2 * _GOODBYE)

    async def _tend(self) -> None:
        """One timer for all sockets: pings, and everything that is due or overdue."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.limits.tick)
            now, wall = loop.time(), time.time()
            for socket in list(self._open):
                socket.tend(now, wall)

    def _changed(self, subject: UUID) -> None:
        """Grants or sessions of a caller have changed: nothing more for its sockets before that is looked at."""
        for socket in self._open:
            if socket.subject == subject:
                socket.suspend()

    async def _recheck(self) -> None:
        """For changes that nobody told: one by one, so that many sockets do not crowd requests out of the database."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.limits.tick)
            for socket in list(self._open):
                if socket.recheck_at <= loop.time():
                    socket.recheck_at = loop.time() + self.limits.recheck * random.uniform(0.9, 1.1)
                    await socket.recheck()


@dataclass(slots=True)
class _Running:
    """One operation of a socket."""

    task: asyncio.Task[None]
    context: Context


class _Socket:
    """One connection. Its task reads messages; every operation has a task of its own."""

    def __init__(self, sockets: GraphQLSockets, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        self._sockets = sockets
        self._limits = sockets.limits
        self._receive = receive
        self._asgi_send = send
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._address: str = scope["client"][0] if scope.get("client") else ""
        self._authorization = headers.get("authorization")
        self._locale = locale_of(headers.get("accept-language"))
        self._principal = ANONYMOUS
        self._token: str | None = None
        self._opened = self._heard = self._taken = now
        self._next_ping = now + self._limits.keep_alive * random.uniform(0.5, 1)
        self._sending = 0
        self._initialised = self._acknowledged = False
        self._closing: Closing | None = None
        self._over = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._adopting = asyncio.Lock()
        self._suspensions = 0
        self._verified = asyncio.Event()
        self._verified.set()
        self.operations: dict[str, _Running] = {}
        self.recheck_at = now + self._limits.recheck * random.uniform(0.5, 1)
        current = asyncio.current_task()
        assert current is not None
        self.task = cast("asyncio.Task[None]", current)

    async def run(self) -> None:
        """Until one side ends it; then nothing of it is left."""
        try:
            try:
                while True:
                    message = await self._receive()
                    if message["type"] == "websocket.disconnect":
                        break
                    self._heard = self._loop.time()
                    await self._handle(message.get("text"))
            except Closing as closing:
                self._closing = self._closing or closing
            except asyncio.CancelledError:
                # Only one of the cancellations is from end(); any other is not ours to swallow.
                if self._closing is None or self.task.uncancel() > 0:
                    raise
            self._over = True
            for task in self._tasks:
                task.cancel()
            if self._closing is not None:
                await self._say_goodbye(self._closing)
        finally:
            self._over = True
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def end(self, code: Close, reason: str) -> None:
        """Close the socket, from anywhere."""
        if self._closing is None and not self._over:
            self._closing = Closing(code, reason)
            self.task.cancel()

    def tend(self, now: float, wall: float) -> None:
        """Do what the time asks for."""
        limits = self._limits
        expires_at = self._principal.expires_at
        if not self._initialised and now - self._opened > limits.init:
            self.end(Close.INIT_TIMEOUT, "Connection initialisation timeout")
        elif expires_at is not None and wall >= expires_at:
            self.end(Close.FORBIDDEN, REASONS[Reason.EXPIRED])
        elif self._sending and now - self._taken > limits.stall:
            self.end(Close.RESUME, "resume")
        elif now - self._heard > limits.silence:
            self.end(Close.SILENT, "silent")
        elif self._acknowledged and now >= self._next_ping:
            self._next_ping = now + limits.keep_alive
            if not self._sending:
                self._start(self._send(PING))

    @property
    def subject(self) -> UUID | None:
        """The person or client that it belongs to."""
        return self._principal.subject

    def suspend(self) -> None:
        """Hold back the events of its subscriptions until the rights of the caller are known again."""
        self._suspensions += 1
        self._verified.clear()
        self._start(self.recheck())

    async def recheck(self) -> None:
        """Look whether the session and the grants of the caller still hold, and end what they do not allow any more."""
        token, suspensions = self._token, self._suspensions
        if token is None or self._over:
            return
        try:
            async with self._adopting:
                principal = await self._sockets.authenticator.principal(token)
                if token == self._token:
                    await self._adopt(principal, token)
        except Unauthenticated as error:
            if token == self._token:
                await self._cut_off(error.reason)
        except Exception as error:
            log.warning("socket.not_rechecked", error=repr(error))
            self.recheck_at = self._loop.time()  # again at the next turn
        else:
            if suspensions == self._suspensions:
                self._verified.set()

    async def _cut_off(self, reason: Reason) -> None:
        """Close the socket, whose token does not hold any more."""
        if reason is Reason.REVOKED:
            # Coming back would not help the subscriptions; what else runs is a request that has begun.
            for id in [id for id, running in self.operations.items() if running.context.admission is not None]:
                await self._end_operation(id, AccessEnded(reason=EndReason.SESSION_REVOKED))
        self.end(Close.FORBIDDEN, REASONS[reason])

    # -- messages

    async def _handle(self, text: str | None) -> None:
        message = message_of(text, self._limits.message)
        match message.get("type"):
            case "connection_init":
                await self._initialise(payload_of(message))
            case "ping":
                await self._ping(payload_of(message))
            case "pong":
                payload_of(message)
            case "subscribe":
                await self._subscribe(id_of(message), request_of(message))
            case "complete":
                running = self.operations.pop(id_of(message), None)
                if running is not None:
                    running.task.cancel()
            case _:
                raise Closing(Close.BAD_REQUEST, "Invalid message received: unknown type")

    async def _initialise(self, payload: dict[str, Any] | None) -> None:
        if self._initialised:
            raise Closing(Close.TOO_MANY_INITS, "Too many initialisation requests")
        self._initialised = True
        payload = payload or {}
        if isinstance(payload.get("locale"), str):
            self._locale = locale_of(payload["locale"])
        await self._authenticate(payload)
        self._acknowledged = True
        await self._send(ACK)

    async def _ping(self, payload: dict[str, Any] | None) -> None:
        if self._acknowledged and payload is not None and has_credentials(payload):
            await self._authenticate(payload)
            expires_at = self._principal.expires_at
            ends = datetime.fromtimestamp(expires_at, UTC).isoformat() if expires_at is not None else None
            await self._send(to_json({"type": "pong", "payload": {"expiresAt": ends}}))
        else:
            await self._send(to_json({"type": "pong", "payload": payload}) if payload is not None else PONG)

    async def _authenticate(self, payload: dict[str, Any]) -> None:
        try:
            async with self._adopting:
                token = token_of(payload) if has_credentials(payload) else bearer(self._authorization)
                principal = await self._sockets.authenticator.principal(token)
                if self._acknowledged and not same_caller(principal, self._principal):
                    raise Closing(Close.FORBIDDEN, "another subject")
                await self._adopt(principal, token)
        except Unauthenticated as error:
            raise Closing(Close.FORBIDDEN, REASONS[error.reason]) from error
        except Closing:
            raise
        except Exception as error:
            log.warning("socket.not_authenticated", error=repr(error))
            raise Closing(Close.TRY_LATER, "try again later") from error

    async def _adopt(self, principal: Principal, token: str | None) -> None:
        """Go on as ``principal``; what it may not follow any more ends."""
        held, self._principal = self._principal, principal
        try:
            if principal != replace(held, expires_at=principal.expires_at):
                for id, running in list(self.operations.items()):
                    try:
                        await running.context.adopt(principal)
                    except AccessEnded as ended:
                        await self._end_operation(id, ended)
        except BaseException:
            self._principal = held
            raise
        self._token = token

    async def _end_operation(self, id: str, ended: AccessEnded) -> None:
        running = self.operations.pop(id, None)
        if running is not None:
            running.task.cancel()
            message, extensions = describe(ended, running.context, mask=True)
            await self._send(error_message(id, [{"message": message, "extensions": extensions}]))

    async def _subscribe(self, id: str, request: OperationRequest) -> None:
        if not self._acknowledged:
            raise Closing(Close.UNAUTHORIZED, "Unauthorized")
        if id in self.operations:
            raise Closing(Close.SUBSCRIBER_EXISTS, f"Subscriber for {id} already exists")
        if len(self.operations) >= self._limits.operations:
            await self._send(error_message(id, [refusal("TOO_MANY_OPERATIONS", "Complete other operations first.")]))
            return
        context = self._sockets.context(self._principal, self._locale, self._address)
        self.operations[id] = _Running(self._start(self._operate(id, request, context)), context)

    # -- operations

    async def _operate(self, id: str, request: OperationRequest, context: Context) -> None:
        """Send the answers of one operation, and its end unless the client ended it."""
        structlog.contextvars.bind_contextvars(request_id=context.request_id)
        prefix = f'{{"id":{to_json(id)},"type":"next","payload":'
        with OPERATIONS.track_inprogress():
            try:
                await self._verified.wait()
                context.principal = self._principal
                operation = self._sockets.gateway.admit(context.principal, request)
                async with aclosing(self._sockets.hub.answers(operation, context)) as answers:
                    async for answer in answers:
                        if operation.kind is OperationType.SUBSCRIPTION:
                            await self._verified.wait()
                        await self._send(f"{prefix}{answer.decode()}}}")
                last = to_json({"id": id, "type": "complete"})
            except Refused as refused:
                last = error_message(id, refused.errors)
            except Interrupted as interrupted:
                self.end(Close.TRY_LATER, f"try again later {interrupted.error_id}".strip())
                return
            except Exception:
                log.exception("socket.operation_failed")
                last = error_message(id, [refusal(INTERNAL, "Something went wrong on our side.")])
        # The id is free before the client can know it: it may use it again at once.
        running = self.operations.get(id)
        if running is not None and running.context is context:
            del self.operations[id]
            await self._send(last)

    def _start(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- sending

    async def _send(self, text: str) -> None:
        """Wait until the connection takes ``text``."""
        if not self._sending:
            self._taken = self._loop.time()
        self._sending += 1
        try:
            if not self._over:
                await self._asgi_send({"type": "websocket.send", "text": text})
        except OSError:
            pass  # the peer is gone; what reads messages learns it too and ends everything
        finally:
            self._sending -= 1
            self._taken = self._loop.time()

    async def _say_goodbye(self, closing: Closing) -> None:
        CLOSED.labels(closing.code.value).inc()
        log.info("socket closed", code=closing.code.value, reason=closing.reason, principal=self._principal.kind.value)
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_GOODBYE):
                await self._asgi_send(close_message(closing.code, closing.reason))


async def _deny(scope: Scope, send: Send, status: int) -> None:
    """Refuse the handshake with an HTTP status, where the server can."""
    if "websocket.http.response" in scope.get("extensions", {}):
        await send({"type": "websocket.http.response.start", "status": status, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b""})
    else:
        await send({"type": "websocket.close"})
