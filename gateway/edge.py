"""What surrounds the whole application: who the caller is behind proxies, headers that browsers obey, compression."""

from __future__ import annotations

from typing import Final

from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from core.settings import Settings

SMALLEST_COMPRESSED: Final = 1_000
"""Bytes: what is shorter fits into one packet anyway."""
_LEVEL: Final = 1
"""The fastest: an answer is compressed on the loop, and the first level already saves most."""

_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "content-security-policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self' ws: wss:; frame-ancestors 'self'; base-uri 'none'; form-action 'self'",
}
_PLAIN: Final = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
_SECURE: Final = [*_PLAIN, (b"strict-transport-security", b"max-age=31536000; includeSubDomains")]


def security_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """What tells browsers to be careful; HSTS (RFC 6797) where the request came by TLS."""
    return _SECURE if scope["scheme"] == "https" else _PLAIN


class SecurityHeaders:
    """Adds :func:`security_headers` to every response that has not its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = security_headers(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(header for header in added if header[0] not in own)]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Compression(GZipMiddleware):
    """Starlette's, out of the way of clients that take no compressed answers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and any(n == b"accept-encoding" and b"gzip" in v for n, v in scope["headers"]):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def compressed(app: ASGIApp, settings: Settings) -> ASGIApp:
    """``app``, whose answers are compressed if that is set."""
    if not settings.compression:
        return app
    return Compression(app, minimum_size=SMALLEST_COMPRESSED, compresslevel=_LEVEL)


def edge(settings: Settings) -> list[Middleware]:
    """The middleware of the application, the outermost first."""
    layers: list[Middleware] = []
    if settings.trusted_proxies:
        layers.append(Middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies))
    layers.append(Middleware(SecurityHeaders))
    if settings.compression:
        layers.append(Middleware(Compression, minimum_size=SMALLEST_COMPRESSED, compresslevel=_LEVEL))
    return layers
