"""What requests over HTTP and messages over WebSocket have in common: who asks, from where, for what."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

from auth.principals import Principal
from auth.tokens import Reason, Unauthenticated
from core.settings import Settings
from gateway.admission import OperationRequest
from gateway.refusals import BAD_REQUEST, refuse
from resolvers.context import Context

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

MakeContext = Callable[[Principal, str, str, str], Context]
"""``(principal, locale, request id, client address)`` → the context of one operation."""


@dataclass(frozen=True, slots=True)
class Origins:
    """The browser origins that may call: the server's own and the configured ones."""

    allowed: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> Origins:
        own = [settings.public_url] if settings.public_url else []
        return cls(frozenset(origin.strip().rstrip("/").lower() for origin in [*settings.allowed_origins, *own]))

    def admits(self, origin: str | None, host: str | None) -> bool:
        """Whether a request with these Origin and Host headers is welcome; without Origin it is from no browser."""
        if origin is None:
            return True
        origin = origin.lower()
        return origin in self.allowed or (host is not None and urlsplit(origin).netloc == host.lower())


def parse_request(content: Mapping[str, Any]) -> OperationRequest:
    """The request in a decoded JSON object, from HTTP or a socket. Raises Refused."""
    for name in ("query", "documentId", "operationName"):
        if not isinstance(content.get(name), str | None):
            raise refuse(BAD_REQUEST, f"{name} must be text.")
    for name in ("variables", "extensions"):
        if not isinstance(content.get(name), dict | None):
            raise refuse(BAD_REQUEST, f"{name} must be an object.")
    return OperationRequest(
        query=content.get("query"),
        document_id=content.get("documentId"),
        operation_name=content.get("operationName"),
        variables=content.get("variables") or {},
        extensions=content.get("extensions") or {},
    )


def bearer(authorization: str | None) -> str | None:
    """The token of an Authorization header, None without one. Raises Unauthenticated for another scheme."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated(Reason.INVALID)
    return token.strip()


def locale_of(accept_language: str | None) -> str:
    """``zh-CN`` when the first language asked for is a Chinese one, else ``en``."""
    return "zh-CN" if (accept_language or "").strip().lower().startswith("zh") else "en"


def request_id_of(given: str | None) -> str:
    """The caller's request id when it is harmless, else a new one."""
    return given if given and _REQUEST_ID.fullmatch(given) else uuid4().hex
