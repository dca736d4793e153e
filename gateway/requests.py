"""What requests over HTTP and messages over WebSocket have in common: who asks, from where, for what."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, wraps
from random import getrandbits
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import orjson
from starlette.datastructures import Headers
from starlette.requests import Request

from auth.principals import Principal
from auth.tokens import Reason, Unauthenticated
from core.settings import Settings
from gateway.admission import OperationRequest
from gateway.refusals import BAD_REQUEST, refuse
from resolvers.context import Context

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_TEXT: Final = (str, type(None))
_OBJECT: Final = (dict, type(None))

T = TypeVar("T")

_REMEMBERED: Final = 1_000
_LONGEST_REMEMBERED: Final = 200

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


def is_too_deep(error: orjson.JSONDecodeError) -> bool:
    """Whether a text may well be JSON, nested deeper than orjson reads: 1024 levels."""
    return "depth" in error.msg


def parse_request(content: Mapping[str, Any]) -> OperationRequest:
    """The request in a decoded JSON object, from HTTP or a socket. Raises Refused."""
    for name in ("query", "documentId", "operationName"):
        if not isinstance(content.get(name), _TEXT):
            raise refuse(BAD_REQUEST, f"{name} must be text.")
    for name in ("variables", "extensions"):
        if not isinstance(content.get(name), _OBJECT):
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


def remembered(read: Callable[[str], T]) -> Callable[[str], T]:
    """``read``, which remembers what headers mean unless they are long; clients of one kind all send the same."""
    remembering = lru_cache(maxsize=_REMEMBERED)(read)

    @wraps(read)
    def read_again(header: str) -> T:
        return (remembering if len(header) <= _LONGEST_REMEMBERED else read)(header)

    return read_again


def request_id_of(given: str | None) -> str:
    """The caller's request id when it is harmless, else a new one."""
    return given if given and _REQUEST_ID.fullmatch(given) else f"{getrandbits(128):032x}"


class _IndexedHeaders(Headers):
    """Starlette's goes through all headers for each that is asked for, and encodes and decodes on the way."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        super().__init__(raw=raw)
        self._index: dict[str, list[str]] = {}
        for name, value in raw:
            self._index.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))

    def get(self, key: str, default: Any = None) -> Any:
        found = self._index.get(key.lower())
        return default if found is None else found[0]

    def getlist(self, key: str) -> list[str]:
        return self._index.get(key.lower(), [])


class IndexedRequest(Request):
    """Starlette's request, whose headers are asked for many times."""

    @property
    def headers(self) -> Headers:
        if not hasattr(self, "_headers"):
            self._headers = _IndexedHeaders(self.scope["headers"])
        return self._headers
