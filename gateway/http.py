"""``/graphql`` over HTTP, after the GraphQL-over-HTTP specification.

``application/graphql-response+json`` gets a status that tells what happened; ``application/json`` gets 200 for
everything that is a GraphQL answer, as older clients expect. With the profile ``draft`` both get the statuses of the
specification's current draft (2026-08): 422 for what is well-formed JSON and no valid request, 294 for partial
success.
"""

from __future__ import annotations

import hashlib
from asyncio import CancelledError
from contextlib import suppress
from dataclasses import replace
from datetime import UTC
from email.utils import format_datetime
from typing import Any, Final, Protocol, cast
from uuid import uuid4

import orjson
from graphql import OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from auth.authenticate import Authenticator
from auth.principals import ANONYMOUS, Principal
from auth.tokens import Unauthenticated
from core import logs, telemetry
from core.settings import Settings
from gateway.accept import read
from gateway.admission import OperationRequest
from gateway.edge import security_headers
from gateway.errors import is_outage
from gateway.execution import Answer, Gateway
from gateway.limits import too_deep, too_large
from gateway.operations import Registered
from gateway.refusals import (
    BAD_REQUEST,
    BAD_USER_INPUT,
    CSRF_PREVENTED,
    INTERNAL,
    INVALID_JSON,
    NO_SUCH_OPERATION,
    RETRY_AFTER,
    SPECIFIED,
    THROTTLED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    VALIDATION_FAILED,
    Refused,
    refuse,
    restarting,
    told,
)
from gateway.requests import (
    IndexedRequest,
    MakeContext,
    Origins,
    bearer,
    is_too_deep,
    locale_of,
    parse_request,
    remembered,
    request_id_of,
)

log = logs.get(__name__)

JSON: Final = "application/json"
GRAPHQL: Final = "application/graphql-response+json"
PARTIAL_SUCCESS: Final = 294
_OFFERED: Final = (JSON, GRAPHQL)
"""Older clients, which accept anything, know the first one only."""
COST_HEADER: Final = "x-graphql-cost"
"""With the value 1, like ``"cost": true`` in the extensions of the request: tell what it costs."""
_EXPOSED: Final = "x-request-id, retry-after"
_PREFLIGHT: Final = ("apollo-require-preflight", "x-apollo-operation-name", "graphql-require-preflight")
"""Headers that a page cannot send to another origin without its browser asking first."""
_SIMPLE: Final = ("", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
"""Media types of bodies that it can."""
_ALLOWED_HEADERS: Final = ", ".join(
    (
        "authorization",
        "content-type",
        "accept-language",
        "x-request-id",
        COST_HEADER,
        "last-event-id",
        "x-graphql-event-stream-token",
        *_PREFLIGHT,
    )
)
_VARY: Final = (b"vary", b"Origin, Accept, Accept-Language, Accept-Encoding, Authorization")
_NOT_KEPT: Final = (b"cache-control", b"no-store")
_CONTENT_TYPES: Final = {kind: (b"content-type", f"{kind}; charset=utf-8".encode()) for kind in (JSON, GRAPHQL)}
_UNPROCESSABLE: Final = frozenset({BAD_REQUEST, VALIDATION_FAILED, BAD_USER_INPUT, NO_SUCH_OPERATION})
"""Codes of requests that are well-formed JSON and yet no valid request; and all that end in LIMIT_EXCEEDED."""


class Streams(Protocol):
    """Answers requests by event streams, and the requests that manage these (:mod:`subscriptions.sse`)."""

    def takes(self, request: Request) -> bool:
        """Whether the request is for it in any case."""
        ...

    async def answer(self, request: Request) -> Response:
        """The response to a request that it takes. Raises Refused."""
        ...

    async def subscribe(self, request: Request, asked: OperationRequest, principal: Principal) -> Response | None:
        """The stream of a subscription, None when the caller accepts none. Raises Refused."""
        ...


class GraphQLEndpoint:
    """The handler of ``/graphql`` for HTTP."""

    def __init__(
        self,
        gateway: Gateway,
        authenticator: Authenticator,
        make_context: MakeContext,
        settings: Settings,
        streams: Streams | None = None,
    ) -> None:
        self._gateway = gateway
        self._authenticator = authenticator
        self._make_context = make_context
        self._streams = streams
        self._origins = Origins.of(settings)
        self._max_body = settings.max_body
        self._draft = settings.http_profile == "draft"
        self._public = round(settings.public_max_age.total_seconds())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """:meth:`handle` as an application of its own, with what all responses have in common (:mod:`gateway.edge`)."""
        response = await self.handle(IndexedRequest(scope, receive))
        response.raw_headers += security_headers(scope)
        await response(scope, receive, send)

    async def handle(self, request: Request) -> Response:
        """Answer a request of any method."""
        if not telemetry.tracing():
            return await self._handle(request)
        with telemetry.request_span(f"{request.method} /graphql", request.headers) as span:
            response = await self._handle(request)
            span.set_attribute("http.response.status_code", response.status_code)
        return response

    async def _handle(self, request: Request) -> Response:
        request_id = request_id_of(request.headers.get("x-request-id"))
        media_type = JSON
        noted = logs.REQUEST_ID.set(request_id)
        try:
            self._check_origin(request)
            if request.method == "OPTIONS":
                return self._finish(request, Response(status_code=204), request_id)
            if self._streams is not None and self._streams.takes(request):
                with suppress(Refused):
                    media_type = negotiate(request.headers.getlist("accept"))
                response = await self._streams.answer(request)
            else:
                media_type = negotiate(request.headers.getlist("accept"))
                response = await self._answer(request, media_type, request_id)
        except Refused as refused:
            response = self._refusal(request, refused, media_type)
        except ClientDisconnect:
            response = Response(status_code=400)
        except CancelledError:
            # By the server, which ends and has lost its patience: it would make a 500 of it.
            response = self._refusal(request, restarting(), media_type)
        except Exception as error:
            response = self._refusal(request, fault(error), media_type)
        finally:
            logs.REQUEST_ID.reset(noted)
        return self._finish(request, response, request_id)

    async def _answer(self, request: Request, media_type: str, request_id: str) -> Response:
        if request.method == "POST":
            asked = await read_post(request, self._max_body)
        elif request.method == "GET":
            check_preflight(request)
            asked = read_get(request)
        else:
            raise refuse(BAD_REQUEST, "Use GET or POST.", 405)
        if request.headers.get(COST_HEADER) == "1":
            asked = replace(asked, extensions={**asked.extensions, "cost": True})
        principal = await self._principal(request)
        operation = await self._gateway.admitted(principal, asked)
        if operation.kind is OperationType.SUBSCRIPTION:
            stream = None if self._streams is None else await self._streams.subscribe(request, asked, principal)
            if stream is None:
                raise refuse(BAD_REQUEST, "Subscribe over WebSocket, or accept text/event-stream.", 405)
            return stream
        if request.method == "GET" and operation.kind is not OperationType.QUERY:
            raise refuse(BAD_REQUEST, "Only queries may be sent by GET.", 405)
        client = request.scope.get("client")
        address: str = client[0] if client else ""
        context = self._make_context(principal, locale_of(request.headers.get("accept-language")), request_id, address)
        answer = await self._gateway.respond(operation, context)
        partial = self._draft and media_type == GRAPHQL and answer.codes
        response = encode(answer.body, media_type, PARTIAL_SUCCESS if partial else 200)
        if operation.registered is not None:
            _tell_its_end(response, operation.registered)
        if request.method == "GET" and not answer.codes and not operation.tells_cost:
            return self._cacheable(request, response, answer, principal, registered=asked.query is None)
        return response

    async def _principal(self, request: Request) -> Principal:
        try:
            return await self._authenticator.principal(bearer(request.headers.get("authorization")))
        except Unauthenticated as error:
            raise refuse(UNAUTHENTICATED, "The access token is not valid.", 401, reason=error.reason.value) from error

    def _cacheable(
        self, request: Request, response: Response, answer: Answer, principal: Principal, *, registered: bool
    ) -> Response:
        """Let the answer to a query by GET be asked for again at little cost: RFC 9110, 13.1.2; RFC 9111, 5.2.2."""
        tag = f'"{hashlib.blake2b(answer.body, digest_size=16).hexdigest()}"'
        known = [tag_.strip().removeprefix("W/") for tag_ in request.headers.get("if-none-match", "").split(",")]
        if tag in known or "*" in known:
            response = Response(status_code=304)
        response.headers["etag"] = tag
        if principal is ANONYMOUS and registered and self._public:
            response.headers["cache-control"] = f"public, max-age={self._public}"
        else:
            response.headers["cache-control"] = "private, no-cache"
        return response

    def _refusal(self, request: Request, refused: Refused, media_type: str) -> Response:
        status = refused.http_status
        if self._draft:
            media_type = GRAPHQL
            if status == 400 and (refused.code in _UNPROCESSABLE or refused.code.endswith("_LIMIT_EXCEEDED")):
                status = 422
        elif media_type == JSON and refused.code in SPECIFIED:
            status = 200
        errors = told(refused.errors, locale_of(request.headers.get("accept-language")))
        response = encode(orjson.dumps({"errors": errors}), media_type, status)
        if status == 405:
            response.headers["allow"] = "POST" if request.method == "GET" else "GET, POST"
        if status == 503:
            response.headers["retry-after"] = str(RETRY_AFTER)
        if refused.code == THROTTLED:
            response.headers["retry-after"] = str(refused.errors[0]["extensions"]["retryAfter"])
        if status == 401:
            response.headers["www-authenticate"] = 'Bearer error="invalid_token"'
        return response

    # -- browsers

    def _check_origin(self, request: Request) -> None:
        if not self._origins.admits(request.headers.get("origin"), request.headers.get("host")):
            raise refuse("ORIGIN_NOT_ALLOWED", "This origin may not call the API from a browser.", 403)

    def _finish(self, request: Request, response: Response, request_id: str) -> Response:
        raw = response.raw_headers
        if not any(name == b"cache-control" for name, _ in raw):
            raw.append(_NOT_KEPT)
        raw += [(b"x-request-id", request_id.encode()), _VARY]
        origin = request.headers.get("origin")
        if origin is None and request.method != "OPTIONS":
            return response
        headers = response.headers
        if origin is not None and self._origins.admits(origin, request.headers.get("host")):
            headers["access-control-allow-origin"] = origin
            headers["access-control-expose-headers"] = _EXPOSED
            if request.method == "OPTIONS":
                headers["access-control-allow-methods"] = "GET, POST, PUT, DELETE"
                headers["access-control-allow-headers"] = _ALLOWED_HEADERS
                headers["access-control-max-age"] = "7200"
        if request.method == "OPTIONS":
            headers["allow"] = "GET, POST, PUT, DELETE, OPTIONS"
        return response


def _tell_its_end(response: Response, registered: Registered) -> None:
    """Deprecation (RFC 9745) and Sunset (RFC 8594) of the document that was called."""
    if registered.deprecated_from is not None:
        response.headers["deprecation"] = f"@{round(registered.deprecated_from.timestamp())}"
    if registered.retired_at is not None:
        response.headers["sunset"] = format_datetime(registered.retired_at.astimezone(UTC), usegmt=True)


def fault(error: Exception) -> Refused:
    """What a caller is told of an exception that comes before the execution: it is not the caller's fault."""
    if is_outage(error):
        log.warning("unavailable", error=repr(error))
        return refuse(UNAVAILABLE, "Please try again in a moment.", 503, retryAfterSeconds=RETRY_AFTER)
    error_id = uuid4().hex
    log.error("request failed", error_id=error_id, exc_info=error)
    return refuse(INTERNAL, "Something went wrong on our side.", 500, errorId=error_id)


class _Answered(Response):
    """Starlette's, whose headers are made once."""

    def __init__(self, body: bytes, status: int, content_type: tuple[bytes, bytes]) -> None:
        self.body = body
        self.status_code = status
        self.background = None
        self.raw_headers = [content_type, (b"content-length", str(len(body)).encode())]


def encode(answer: bytes, media_type: str, status: int) -> Response:
    """The response with a GraphQL answer as its body."""
    return _Answered(answer, status, _CONTENT_TYPES[media_type])


def negotiate(accept: list[str]) -> str:
    """The media type to answer with; the caller's favourite, the first of equals. Raises Refused with 406."""
    if not accept:
        return JSON
    return _negotiate(accept[0] if len(accept) == 1 else ",".join(accept))


@remembered
def _negotiate(accept: str) -> str:
    chosen = read(accept).best(_OFFERED)
    if chosen is None:
        raise refuse(BAD_REQUEST, f"Accept {GRAPHQL} or {JSON}.", 406)
    return chosen


def check_preflight(request: Request) -> None:
    """Refuse what a page of another site made a browser send without asking first.

    Apollo's rule: a request passes that is not "simple" (Fetch, CORS-safelisted), by its content type or by a header.
    A browser says which requests come from elsewhere; programs that are none need no header. Raises Refused.
    """
    headers = request.headers
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _SIMPLE and not any(name in headers for name in (*_PREFLIGHT, "authorization")):
        raise refuse(CSRF_PREVENTED, f"A query by GET from another site needs the header {_PREFLIGHT[0]}.", 403)


async def read_post(request: Request, max_body: int) -> OperationRequest:
    """The request in a JSON body. Raises Refused.

    Only ``application/json`` is read: a browser sends that to another origin only after asking, so that a page
    cannot make its visitors' browsers act.
    """
    content_type = request.headers.get("content-type", "")
    if content_type != JSON:
        name, _, parameters = content_type.lower().partition(";")
        charset = parameters.partition("charset=")[2].partition(";")[0].strip(' "') or "utf-8"
        if name.strip() != JSON or charset not in ("utf-8", "utf8"):
            raise refuse(BAD_REQUEST, f"Send {JSON} in UTF-8.", 415)
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_body:
        raise _too_long(max_body, int(length))
    body = await _read_body(request, max_body)
    try:
        content: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _unreadable("The body", error) from None
    if isinstance(content, list):
        message = "Batches are not accepted; send several requests."
        raise refuse("BATCH_LIMIT_EXCEEDED", message, limit=1, value=len(cast(list[Any], content)))
    if not isinstance(content, dict):
        raise refuse(BAD_REQUEST, "The body must be a JSON object.")
    return parse_request(cast(dict[str, Any], content))


async def _read_body(request: Request, max_body: int) -> bytes:
    """The whole body. Raises Refused, and ClientDisconnect."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > max_body:
            raise _too_long(max_body, size)
        if not message.get("more_body", False):
            return b"".join((*parts, part)) if parts else part
        parts.append(part)


def read_get(request: Request) -> OperationRequest:
    """The request in the query string, or a document id in the path. Raises Refused."""
    content: dict[str, Any] = dict(request.query_params)
    for name in ("variables", "extensions"):
        if content.get(name):
            try:
                content[name] = orjson.loads(content[name])
            except orjson.JSONDecodeError as error:
                raise _unreadable(name, error) from None
        else:
            content.pop(name, None)
    if "id" in request.path_params:
        content["documentId"] = request.path_params["id"]
    return parse_request(content)


def _unreadable(what: str, error: orjson.JSONDecodeError) -> Refused:
    return too_deep(None) if is_too_deep(error) else refuse(INVALID_JSON, f"{what} is not JSON.")


def _too_long(limit: int, value: int) -> Refused:
    return too_large("BODY_LIMIT_EXCEEDED", "bytes in the body", limit, value, 413)
