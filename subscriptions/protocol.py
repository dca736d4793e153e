"""The ``graphql-transport-ws`` subprotocol: its messages, and the codes that this server closes with.

Its codes and messages are those of the protocol (PROTOCOL.md of the npm package ``graphql-ws``). Besides these a
socket is closed with:

====  =======================================================================================================
1009  a message is too long
1012  ``service restart``: this process is about to end; connect again, another one answers
1013  ``try again later``: something of ours failed; connect again with the last cursor
4290  ``resume``: the peer takes its messages too slowly; connect again with the last cursor
4291  ``silent``: the peer answers no pings
4403  ``token expired``, ``token invalid``, ``session revoked``, ``another subject``
====  =======================================================================================================

``connection_init`` may carry ``{"authorization": "Bearer …"}`` or ``{"token": …}``, and ``locale``; without them the
headers of the handshake count. A ``ping`` with a new authorization prolongs the socket for the same caller.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, cast

import orjson

from auth.principals import Principal
from auth.tokens import Reason, Unauthenticated
from gateway.admission import OperationRequest
from gateway.refusals import Refused
from gateway.requests import bearer, is_too_deep, parse_request

SUBPROTOCOL: Final = "graphql-transport-ws"
_LONGEST_REASON: Final = 123
PING: Final = b'{"type":"ping"}'
PONG: Final = b'{"type":"pong"}'
ACK: Final = b'{"type":"connection_ack"}'


class Close(IntEnum):
    """Codes that this server closes with."""

    TOO_BIG = 1009
    RESTART = 1012
    TRY_LATER = 1013
    RESUME = 4290
    SILENT = 4291
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    SUBPROTOCOL = 4406
    INIT_TIMEOUT = 4408
    SUBSCRIBER_EXISTS = 4409
    TOO_MANY_INITS = 4429


REASONS: Final = {
    Reason.EXPIRED: "token expired",
    Reason.INVALID: "token invalid",
    Reason.WRONG_AUDIENCE: "token invalid",
    Reason.REVOKED: "session revoked",
}


class Closing(Exception):
    """The socket is to be closed. Raised for every message that breaks the protocol."""

    def __init__(self, code: Close, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def message_of(text: str | None, longest: int) -> dict[str, Any]:
    """The message in a text frame; ``text`` is None for another frame."""
    if text is None:
        raise Closing(Close.BAD_REQUEST, "Invalid message received: not text")
    if len(text) > longest:
        raise Closing(Close.TOO_BIG, "Message too long")
    try:
        content: Any = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        why = "nested too deeply" if is_too_deep(error) else "not JSON"
        raise Closing(Close.BAD_REQUEST, f"Invalid message received: {why}") from None
    if not isinstance(content, dict):
        raise Closing(Close.BAD_REQUEST, "Invalid message received: not an object")
    return cast(dict[str, Any], content)


def payload_of(message: dict[str, Any]) -> dict[str, Any] | None:
    payload = message.get("payload")
    if not isinstance(payload, dict | None):
        raise Closing(Close.BAD_REQUEST, "Invalid message received: payload")
    return cast("dict[str, Any] | None", payload)


def request_of(message: dict[str, Any]) -> OperationRequest:
    """What a ``subscribe`` message asks for: a query, or the id of a registered document."""
    payload = message.get("payload")
    if not isinstance(payload, dict):
        raise Closing(Close.BAD_REQUEST, "Invalid message received: payload")
    try:
        request = parse_request(cast(dict[str, Any], payload))
    except Refused as refused:
        raise Closing(Close.BAD_REQUEST, f"Invalid message received: {refused}") from refused
    if request.query is None and request.document_id is None and "persistedQuery" not in request.extensions:
        raise Closing(Close.BAD_REQUEST, "Invalid message received: no query")
    return request


def id_of(message: dict[str, Any]) -> str:
    id = message.get("id")
    if not isinstance(id, str) or not id:
        raise Closing(Close.BAD_REQUEST, "Invalid message received: id")
    return id


def has_credentials(payload: dict[str, Any]) -> bool:
    return any(payload.get(name) is not None for name in ("authorization", "Authorization", "token"))


def token_of(payload: dict[str, Any]) -> str | None:
    """The token in ``payload``. Raises Unauthenticated when it cannot be one."""
    token = payload.get("token")
    if token is None:
        authorization = payload.get("authorization") or payload.get("Authorization")
        token = bearer(authorization) if isinstance(authorization, str) else ""
    if not isinstance(token, str) or not token:
        raise Unauthenticated(Reason.INVALID)
    return token


def same_caller(one: Principal, other: Principal) -> bool:
    return (one.kind, one.view, one.subject) == (other.kind, other.view, other.subject)


def to_json(value: Any) -> bytes:
    return orjson.dumps(value)


def refusal(code: str, message: str) -> dict[str, Any]:
    return {"message": message, "extensions": {"code": code}}


def shortened(reason: str) -> str:
    """A reason as long as a close frame can hold."""
    return reason.encode()[:_LONGEST_REASON].decode(errors="ignore")


def close_message(code: Close, reason: str) -> dict[str, Any]:
    """The ASGI message."""
    return {"type": "websocket.close", "code": code.value, "reason": shortened(reason)}
