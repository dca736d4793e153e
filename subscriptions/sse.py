"""GraphQL over Server-Sent Events, after PROTOCOL.md of the npm package ``graphql-sse``; both of its modes.

*Distinct connections*: a request that accepts ``text/event-stream`` is answered by one stream with the answers of its
operation and a ``complete``. Errors of the document come in the stream too. *Single connection*: ``PUT`` reserves a
stream and is answered by a token, ``GET`` with the token opens it, ``POST`` with the token and
``extensions.operationId`` starts an operation whose answers go to the stream, ``DELETE`` ends one.

Each answer of a subscription has its cursor as the ``id`` of the event: a browser's ``EventSource`` sends the last one
when it comes back (``Last-Event-ID``), and the subscription goes on behind it. A stream that ends without ``complete``
was ended by the server or the network: come back. Its last comment says why, with the code that a socket would be
closed with.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import OperationType
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from auth.principals import Principal
from auth.tokens import Unauthenticated
from core import logs
from gateway.accept import Accept, read
from gateway.admission import OperationRequest
from gateway.execution import Operation as Admitted
from gateway.http import read_get, read_post
from gateway.refusals import BAD_REQUEST, UNAUTHENTICATED, Refused, refuse, restarting
from gateway.requests import bearer, locale_of
from subscriptions.direct import EXTENSION
from subscriptions.outbox import Outbox, TaskOutbox
from subscriptions.protocol import Close, same_caller, to_json
from subscriptions.sessions import CLOSED, Operation, Session
from subscriptions.websocket import GraphQLSockets

log = logs.get(__name__)

EVENT_STREAM: Final = "text/event-stream"
TOKEN_HEADER: Final = "x-graphql-event-stream-token"
RESERVED_FOR: Final = 30.0
"""Seconds in which a reserved stream must be opened."""
MAX_RESERVATIONS: Final = 10_000
_DISTINCT: Final = ""
"""The id of the only operation of a stream in distinct connections mode."""


@dataclass(slots=True)
class _Reservation:
    """A stream that was promised, and once it is open the session that serves it."""

    principal: Principal
    token: str | None
    until: float
    session: _Stream | None = None
    early: deque[tuple[str, Admitted]] = field(default_factory=deque[tuple[str, Admitted]])
    """Operations that were asked for before the stream was open."""


class EventStreams:
    """Answers the requests of ``/graphql`` that have to do with event streams."""

    def __init__(self, sockets: GraphQLSockets, max_body: int) -> None:
        self._sockets = sockets
        self._max_body = max_body
        self._reservations: dict[str, _Reservation] = {}

    def takes(self, request: Request) -> bool:
        """Whether ``request`` is one of these protocols, whatever it asks for."""
        return (
            request.method in ("PUT", "DELETE")
            or _stream_token(request) is not None
            or _accepted(request).favourite == EVENT_STREAM
        )

    async def answer(self, request: Request) -> Response:
        """The response to a request that this takes. Raises Refused."""
        match request.method:
            case "PUT":
                return await self._reserve(request)
            case "DELETE":
                return self._stop(request)
            case "GET" | "POST":
                token = _stream_token(request)
                if token is None:
                    return await self._distinct(request)
                if request.method == "GET" or _accepted(request).favourite == EVENT_STREAM:
                    return self._open(request, token)
                return await self._operate(request, token)
            case _:
                raise refuse(BAD_REQUEST, "Use GET, POST, PUT or DELETE.", 405)

    # distinct connections

    async def _distinct(self, request: Request) -> Response:
        asked = await read_post(request, self._max_body) if request.method == "POST" else read_get(request)
        principal, token = await self._caller(request)
        return await self._stream(request, asked, principal, token)

    async def subscribe(self, request: Request, asked: OperationRequest, principal: Principal) -> Response | None:
        """The stream of a subscription for a caller that prefers another media type; None when it takes no stream."""
        if not _accepted(request).names(EVENT_STREAM):
            return None
        return await self._stream(request, asked, principal, bearer(request.headers.get("authorization")))

    async def _stream(
        self, request: Request, asked: OperationRequest, principal: Principal, token: str | None
    ) -> Response:
        self._check_serving()

        async def admit() -> Admitted:
            return await self._sockets.gateway.admitted(principal, asked)

        if request.method == "GET" and await _is_mutation(admit):
            raise refuse(BAD_REQUEST, "Mutations cannot be sent by GET.", 405)

        def begin(session: _Stream) -> None:
            session.principal = principal
            session.authenticated(token)
            session.operate(_DISTINCT, admit, request.headers.get("last-event-id"))

        return _StreamResponse(self._sockets, request, begin, distinct=True)

    # the single connection

    async def _reserve(self, request: Request) -> Response:
        self._check_serving()
        principal, access = await self._caller(request)
        now = asyncio.get_running_loop().time()
        for token, reservation in list(self._reservations.items()):
            if reservation.session is None and reservation.until < now:
                del self._reservations[token]
        if len(self._reservations) >= MAX_RESERVATIONS:
            raise refuse("TOO_MANY_STREAMS", "Too many event streams are reserved; try again later.", 503)
        token = secrets.token_urlsafe(24)
        self._reservations[token] = _Reservation(principal, access, now + RESERVED_FOR)
        return PlainTextResponse(token, 201)

    def _open(self, request: Request, token: str) -> Response:
        self._check_serving()
        reservation = self._reservation(token)
        if reservation.session is not None:
            raise refuse("STREAM_ALREADY_OPEN", "The event stream of this token is open already.", 409)

        def begin(session: _Stream) -> None:
            reservation.session = session
            session.principal = reservation.principal
            session.authenticated(reservation.token)
            while reservation.early:
                id, operation = reservation.early.popleft()
                session.operate(id, _returning(operation))

        def over() -> None:
            self._reservations.pop(token, None)

        return _StreamResponse(self._sockets, request, begin, distinct=False, over=over)

    async def _operate(self, request: Request, token: str) -> Response:
        reservation = self._reservation(token)
        asked = await read_post(request, self._max_body)
        id = asked.extensions.get("operationId")
        if not isinstance(id, str) or not id:
            raise refuse(BAD_REQUEST, "extensions.operationId must be text that names the operation.")
        session = reservation.session
        if request.headers.get("authorization") is not None:
            principal, access = await self._caller(request)
            if not same_caller(principal, reservation.principal):
                raise refuse("ANOTHER_SUBJECT", "The event stream is somebody else's.", 403)
            if session is None:
                reservation.principal, reservation.token = principal, access
            else:
                await session.renew(principal, access)
        principal = reservation.principal if session is None else session.principal
        operation = await self._sockets.gateway.admitted(principal, asked)
        early = [known for known, _ in reservation.early]
        if id in early or (session is not None and id in session.operations):
            raise refuse("OPERATION_EXISTS", f"Operation {id} already exists.", 409)
        if len(early if session is None else session.operations) >= self._sockets.limits.operations:
            raise refuse("TOO_MANY_OPERATIONS", "Complete other operations first.", 429)
        if session is None:
            reservation.early.append((id, operation))
        else:
            session.operate(id, _returning(operation))
        return Response(status_code=202)

    def _stop(self, request: Request) -> Response:
        token = _stream_token(request)
        if token is None:
            raise refuse(BAD_REQUEST, f"The header {TOKEN_HEADER} is missing.")
        reservation = self._reservation(token)
        id = request.query_params.get("operationId")
        if not id:
            raise refuse(BAD_REQUEST, "operationId is missing.")
        reservation.early = deque(one for one in reservation.early if one[0] != id)
        if reservation.session is not None:
            operation = reservation.session.drop(id)
            if operation is not None:
                operation.stop()
        return Response(status_code=200)

    def _reservation(self, token: str) -> _Reservation:
        reservation = self._reservations.get(token)
        now = asyncio.get_running_loop().time()
        if reservation is None or (reservation.session is None and reservation.until < now):
            raise refuse("STREAM_NOT_FOUND", "No event stream is reserved for this token.", 404)
        return reservation

    def _check_serving(self) -> None:
        if self._sockets.draining:
            raise restarting()

    async def _caller(self, request: Request) -> tuple[Principal, str | None]:
        try:
            token = bearer(request.headers.get("authorization"))
            return await self._sockets.authenticator.principal(token), token
        except Unauthenticated as error:
            raise refuse(UNAUTHENTICATED, "The access token is not valid.", 401, reason=error.reason.value) from error


def _returning(operation: Admitted) -> Callable[[], Awaitable[Admitted]]:
    async def admitted() -> Admitted:
        return operation

    return admitted


async def _is_mutation(admit: Callable[[], Awaitable[Admitted]]) -> bool:
    try:
        return (await admit()).kind is OperationType.MUTATION
    except Refused:
        return False  # what is wrong with it is told in the stream


def _stream_token(request: Request) -> str | None:
    token = request.headers.get(TOKEN_HEADER)
    return token if token or not request.scope["query_string"] else request.query_params.get("token")


def _accepted(request: Request) -> Accept:
    return read(",".join(request.headers.getlist("accept")))


class _StreamOperation(Operation):
    """One operation whose answers are events of a stream, with the cursor as their id."""

    __slots__ = ()

    def deliver(self, body: bytes, cursor: str | None, latest: bool) -> None:
        id = b"" if cursor is None else b"id: %b\n" % cursor.encode()
        parts = (b"event: next\n", id, self._before, body, self._behind)
        self._outbox.send(parts, self if latest else None)


class _Stream(Session):
    """One open event stream."""

    operation_type = _StreamOperation

    def __init__(self, sockets: GraphQLSockets, address: str, locale: str, send: Send, distinct: bool) -> None:
        super().__init__(sockets, address, locale)
        self._distinct = distinct
        self._send = send
        limits = sockets.limits
        self._outbox = TaskOutbox(
            self._write, self._overflowed, limits.queue_bytes, limits.queue_messages, together=True
        )
        self.over: asyncio.Future[None] = self.loop.create_future()
        self.reason = b""

    @property
    def outbox(self) -> Outbox:
        return self._outbox

    def authenticated(self, token: str | None) -> None:
        """Note the access token of the caller, by which its rights are looked at again."""
        self.token = token

    async def renew(self, principal: Principal, token: str | None) -> None:
        """Go on with a newer access token of the same caller."""
        async with self._adopting:
            await self.adopt(principal, token)

    async def run(self, receive: Receive) -> None:
        """Until one side ends it."""
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait([gone, self.over], return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():
                with suppress(TimeoutError, OSError):
                    async with asyncio.timeout(self.limits.goodbye):
                        await self._outbox.ready()
                        await self._send({"type": "http.response.body", "body": self.reason})
        finally:
            gone.cancel()
            self._let_go()
            self._outbox.close()

    def end(self, code: Close, reason: str) -> None:
        if self.ended:
            return
        CLOSED.labels(code.value).inc()
        log.info("stream closed", code=code.value, reason=reason, principal=self.principal.kind.value)
        self.reason = b":%d %b\n\n" % (code.value, reason.encode())
        self._let_go()

    def _let_go(self) -> None:
        self.ended = True
        self.stop_all()
        self._finish()

    def _finish(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def _overflowed(self) -> None:
        self.end(Close.RESUME, "resume")

    async def _write(self, text: bytes) -> None:
        await self._send({"type": "http.response.body", "body": text, "more_body": True})

    def ping(self) -> None:
        tops = self.tops
        self._outbox.send((b":%b\n\n" % to_json({"cursors": tops}) if tops else b":\n\n",))

    def framed(self, id: str) -> tuple[bytes, bytes]:
        if self._distinct:
            return b"data: ", b"\n\n"
        return b'data: {"id":%b,"payload":' % to_json(id), b"}\n\n"

    def tell_complete(self, id: str) -> None:
        data = b"" if self._distinct else to_json({"id": id})
        self._outbox.send((b"event: complete\ndata: %b\n\n" % data,))
        if self._distinct:
            self._finish()

    def tell_errors(self, id: str, errors: Sequence[dict[str, Any]]) -> None:
        before, behind = self.framed(id)
        self._outbox.send((b"event: next\n", before, to_json({"errors": errors}), behind))
        self.tell_complete(id)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _StreamResponse(Response):
    """The response that is an event stream. ``begin`` starts what runs on it, ``over`` is called at its end."""

    def __init__(
        self,
        sockets: GraphQLSockets,
        request: Request,
        begin: Callable[[_Stream], None],
        *,
        distinct: bool,
        over: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(headers={"x-accel-buffering": "no"}, media_type=EVENT_STREAM)
        del self.headers["content-length"]
        self._sockets = sockets
        self._locale = locale_of(request.headers.get("accept-language"))
        self._begin = begin
        self._distinct = distinct
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        # Some browsers say that a stream is open only when something has come.
        await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
        address: str = scope["client"][0] if scope.get("client") else ""
        session = _Stream(self._sockets, address, self._locale, send, self._distinct)
        try:
            with self._sockets.opened(session):
                self._begin(session)
                await session.run(receive)
        finally:
            if self._over is not None:
                self._over()
            abort = scope.get("extensions", {}).get(EXTENSION)
            if abort is not None and session.reason:
                abort.abort_unsent()
