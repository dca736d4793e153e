"""What surrounds the whole application: who the caller is behind proxies, headers that browsers obey, compression."""

from __future__ import annotations

from typing import Final, TypeAlias
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from core.settings import Settings

SMALLEST_COMPRESSED: Final = 1_000
"""Bytes: what is shorter fits into one packet anyway."""
FILES: Final = "/files/"
"""Pictures, which are compressed already, and of which parts may be asked for."""
_LEVEL: Final = 1
"""The fastest: an answer is compressed on the loop, and the first level already saves most."""

_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_POLICY: Final = (
    "default-src 'self'; img-src 'self' data:{pictures}; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self' ws: wss:{uploads}; frame-ancestors 'self'; base-uri 'none'; form-action 'self'"
)
_HSTS: Final = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")

Headers: TypeAlias = list[tuple[bytes, bytes]]


def _with_policy(pictures: str = "", uploads: str = "") -> tuple[Headers, Headers]:
    """The headers of answers, and of those by TLS."""
    policy = _POLICY.format(pictures=pictures and f" {pictures}", uploads=uploads and f" {uploads}")
    headers = _HEADERS | {"content-security-policy": policy}
    plain = [(name.encode(), value.encode()) for name, value in headers.items()]
    return plain, [*plain, _HSTS]


_PLAIN, _SECURE = _with_policy()


def security_headers(scope: Scope) -> Headers:
    """What tells browsers to be careful; HSTS (RFC 6797) where the request came by TLS."""
    return _SECURE if scope["scheme"] == "https" else _PLAIN


class SecurityHeaders:
    """Adds to every response that has not its own what :func:`security_headers` says.

    Pages may show pictures of the origin ``pictures`` and upload to ``uploads``, besides our own.
    """

    def __init__(self, app: ASGIApp, pictures: str = "", uploads: str = "") -> None:
        self._app = app
        self._plain, self._secure = _with_policy(pictures, uploads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = self._secure if scope["scheme"] == "https" else self._plain

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(header for header in added if header[0] not in own)]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Compression(GZipMiddleware):
    """Starlette's, out of the way of clients that take no compressed answers, and of what is compressed already."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, minimum_size=SMALLEST_COMPRESSED, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and not scope["path"].startswith(FILES)
            and any(n == b"accept-encoding" and b"gzip" in v for n, v in scope["headers"])
        ):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def compressed(app: ASGIApp, settings: Settings) -> ASGIApp:
    """``app``, whose answers are compressed if that is set."""
    return Compression(app) if settings.compression else app


def edge(settings: Settings) -> list[Middleware]:
    """The middleware of the application, the outermost first."""
    layers: list[Middleware] = []
    if settings.trusted_proxies:
        layers.append(Middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies))
    bucket = settings.files_bucket_url
    pictures = settings.files_public_url or bucket or settings.public_url
    uploads = bucket or settings.public_url
    layers.append(Middleware(SecurityHeaders, pictures=_origin(pictures), uploads=_origin(uploads)))
    if settings.compression:
        layers.append(Middleware(Compression))
    return layers


def _origin(url: str | None) -> str:
    parts = urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
