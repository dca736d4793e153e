"""GraphQL over WebSocket: the endpoint and its open sockets."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from auth import changes
from auth.authenticate import Authenticator
from auth.principals import Principal
from auth.tokens import Unauthenticated
from core import logs
from gateway.admission import OperationRequest
from gateway.execution import Gateway
from gateway.requests import Origins, bearer, locale_of, request_id_of
from resolvers.context import Context
from services.runtime import Runtime
from subscriptions.census import census
from subscriptions.direct import direct
from subscriptions.hub import Hub
from subscriptions.outbox import DirectOutbox, Outbox, TaskOutbox
from subscriptions.protocol import (
    ACK,
    PING,
    PONG,
    REASONS,
    SUBPROTOCOL,
    Close,
    Closing,
    close_message,
    has_credentials,
    id_of,
    message_of,
    payload_of,
    refusal,
    request_of,
    same_caller,
    shortened,
    to_json,
    token_of,
)
from subscriptions.sessions import CLOSED, SOCKETS, Limits, Operation, Session
from subscriptions.tail import FeedTails

log = logs.get(__name__)

_RECHECKED: Final = 200
"""Callers looked up by one statement."""
_DRAIN_PACE: Final = 0.02
"""Seconds between two sockets when a few are drained; many share the window."""


class GraphQLSockets:
    """The WebSocket endpoint, an ASGI application, and all open connections, event streams included."""

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
        self._open: set[Session] = set()
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

    async def census(self) -> Mapping[str, int]:
        """Count what is connected, by the names of :mod:`services.presence`."""
        return await census(self._open)

    @property
    def draining(self) -> bool:
        """Whether no more connections are taken."""
        return self._draining

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
        socket = _Socket(self, scope, headers, receive, send)
        with self.opened(socket):
            await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
            await socket.run()

    @contextmanager
    def opened(self, session: Session) -> Generator[None]:
        """Look after a connection."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._tend()), asyncio.create_task(self._recheck())]
            self._deaf = changes.listen(self._changed)
        self._open.add(session)
        SOCKETS.inc()
        try:
            yield
        finally:
            self._open.discard(session)
            SOCKETS.dec()

    async def drain(self, window: timedelta | None = None) -> None:
        """Take no more sockets and close the open ones, in random order, over ``window`` at the longest.

        Their clients then do not all connect to the other processes in the same moment. Those that wait for an answer
        get it first, if it comes in that time. Default: the settings' ``drain_window``.
        """
        self._draining = True
        seconds = (window if window is not None else self._runtime.settings.drain_window).total_seconds()
        sockets = list(self._open)
        random.shuffle(sockets)
        pause = min(_DRAIN_PACE, seconds / max(len(sockets), 1))
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        while sockets:
            waiting = [socket for socket in sockets if socket.busy and loop.time() < ends]
            for socket in sockets:
                if socket not in waiting:
                    socket.end(Close.RESTART, "service restart")
                    await asyncio.sleep(pause)
            if waiting:
                await asyncio.sleep(_DRAIN_PACE)
            sockets = waiting
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
            await asyncio.wait(running, timeout=2 * self.limits.goodbye)

    async def _tend(self) -> None:
        """One timer for all sockets: pings, and everything that is due or overdue."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.limits.tick)
            now, wall = loop.time(), time.time()
            for socket in list(self._open):
                if socket.due <= now or socket.outbox.troubled:
                    socket.tend(now, wall)

    def _changed(self, subject: UUID) -> None:
        """Grants or sessions of a caller have changed: nothing more for its sockets before that is looked at."""
        for socket in self._open:
            if socket.principal.subject == subject:
                socket.suspend()

    async def _recheck(self) -> None:
        """For changes that nobody told: many callers in one statement, then one socket after the other."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.limits.tick)
            now = loop.time()
            due = [socket for socket in self._open if socket.recheck_at <= now]
            for begin in range(0, len(due), _RECHECKED):
                some = due[begin : begin + _RECHECKED]
                try:
                    await self.authenticator.prepare([socket.token for socket in some if socket.token is not None])
                except Exception as error:
                    log.warning("sockets.not_rechecked", error=repr(error))
                    break  # all again at the next turn
                for socket in some:
                    socket.recheck_at = loop.time() + self.limits.recheck * random.uniform(0.9, 1.1)
                    await socket.recheck()


class _Socket(Session):
    """One WebSocket. Its task reads messages."""

    operation_type = Operation

    def __init__(self, sockets: GraphQLSockets, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        address: str = scope["client"][0] if scope.get("client") else ""
        super().__init__(sockets, address, locale_of(headers.get("accept-language")))
        self._receive = receive
        self._asgi_send = send
        self._authorization = headers.get("authorization")
        self._opened = self._heard = self.loop.time()
        self._initialised = self._acknowledged = False
        self._closing: Closing | None = None
        limits = self.limits
        self._protocol = direct(scope)
        if self._protocol is not None:
            self._outbox: Outbox = DirectOutbox(
                self._protocol, self._overflowed, limits.queue_bytes, limits.queue_messages
            )
        else:
            self._outbox = TaskOutbox(self._write, self._overflowed, limits.queue_bytes, limits.queue_messages)

    @property
    def outbox(self) -> Outbox:
        return self._outbox

    async def run(self) -> None:
        """Until one side ends it; then nothing of it is left."""
        try:
            while True:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    break
                self._heard = self.loop.time()
                if not self.ended:
                    await self._handle(message.get("text"))
        except Closing as closing:
            self.end(closing.code, closing.reason)
        except asyncio.CancelledError:
            # Only one of the cancellations is from end(); any other is not ours to swallow.
            if self._closing is None or self.task.uncancel() > 0:
                raise
        finally:
            self._let_go()
        if isinstance(self._outbox, TaskOutbox):
            if self._closing is not None:
                with suppress(TimeoutError, OSError):
                    async with asyncio.timeout(self.limits.goodbye):
                        await self._outbox.ready()
                        await self._asgi_send(close_message(self._closing.code, self._closing.reason))
            self._outbox.close()

    def end(self, code: Close, reason: str) -> None:
        if self.ended:
            return
        self._closing = Closing(code, shortened(reason))
        CLOSED.labels(code.value).inc()
        log.info("socket closed", code=code.value, reason=reason, principal=self.principal.kind.value)
        self._let_go()
        if self._protocol is not None:
            self._protocol.end(code.value, self._closing.reason, self.limits.goodbye)
        elif self.task is not asyncio.current_task():
            self.task.cancel()

    def _let_go(self) -> None:
        self.ended = True
        self.stop_all()
        if self._protocol is not None:
            self._outbox.close()

    def _overflowed(self) -> None:
        self.end(Close.RESUME, "resume")

    async def _write(self, text: bytes) -> None:
        await self._asgi_send({"type": "websocket.send", "text": text.decode()})

    def tend(self, now: float, wall: float) -> None:
        if not self._initialised and now - self._opened > self.limits.init:
            self.end(Close.INIT_TIMEOUT, "Connection initialisation timeout")
        elif now - self._heard > self.limits.silence:
            self.end(Close.SILENT, "silent")
        else:
            super().tend(now, wall)
            self.due = min(self.due, self._heard + self.limits.silence)
            if not self._initialised:
                self.due = min(self.due, self._opened + self.limits.init)

    # messages

    async def _handle(self, text: str | None) -> None:
        message = message_of(text, self.limits.message)
        match message.get("type"):
            case "connection_init":
                await self._initialise(payload_of(message))
            case "ping":
                await self._pong(payload_of(message))
            case "pong":
                payload_of(message)
            case "subscribe":
                self._subscribe(id_of(message), request_of(message))
            case "complete":
                operation = self.drop(id_of(message))
                if operation is not None:
                    operation.stop()
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
        self._send(ACK)

    async def _pong(self, payload: dict[str, Any] | None) -> None:
        if self._acknowledged and payload is not None and has_credentials(payload):
            await self._authenticate(payload)
            expires_at = self.principal.expires_at
            ends = datetime.fromtimestamp(expires_at, UTC).isoformat() if expires_at is not None else None
            self._send(to_json({"type": "pong", "payload": {"expiresAt": ends}}))
        else:
            self._send(to_json({"type": "pong", "payload": payload}) if payload is not None else PONG)

    async def _authenticate(self, payload: dict[str, Any]) -> None:
        try:
            async with self._adopting:
                token = token_of(payload) if has_credentials(payload) else bearer(self._authorization)
                principal = await self.sessions.authenticator.principal(token)
                if self._acknowledged and not same_caller(principal, self.principal):
                    raise Closing(Close.FORBIDDEN, "another subject")
                await self.adopt(principal, token)
        except Unauthenticated as error:
            raise Closing(Close.FORBIDDEN, REASONS[error.reason]) from error
        except Closing:
            raise
        except Exception as error:
            log.warning("socket.not_authenticated", error=repr(error))
            raise Closing(Close.TRY_LATER, "try again later") from error

    def _subscribe(self, id: str, request: OperationRequest) -> None:
        if not self._acknowledged:
            raise Closing(Close.UNAUTHORIZED, "Unauthorized")
        if id in self.operations:
            raise Closing(Close.SUBSCRIBER_EXISTS, f"Subscriber for {id} already exists")
        if len(self.operations) >= self.limits.operations:
            self.tell_errors(id, [refusal("TOO_MANY_OPERATIONS", "Complete other operations first.")])
            return
        principal = self.principal
        self.operate(id, lambda: self.sessions.gateway.admitted(principal, request))

    # sending

    def ping(self) -> None:
        if self._acknowledged:
            tops = self.tops
            self._send(to_json({"type": "ping", "payload": {"cursors": tops}}) if tops else PING)

    def framed(self, id: str) -> tuple[bytes, bytes]:
        return b'{"id":%b,"type":"next","payload":' % to_json(id), b"}"

    def tell_complete(self, id: str) -> None:
        self._send(to_json({"id": id, "type": "complete"}))

    def tell_errors(self, id: str, errors: Sequence[dict[str, Any]]) -> None:
        self._send(to_json({"id": id, "type": "error", "payload": errors}))

    def _send(self, text: bytes) -> None:
        self._outbox.send((text,))


async def _deny(scope: Scope, send: Send, status: int) -> None:
    """Refuse the handshake with an HTTP status, where the server can."""
    if "websocket.http.response" in scope.get("extensions", {}):
        await send({"type": "websocket.http.response.start", "status": status, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b""})
    else:
        await send({"type": "websocket.close"})
