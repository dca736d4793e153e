"""What surrounds the whole application: who the caller is behind proxies, headers that browsers obey, compression."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import MutableHeaders
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
_HSTS: Final = "max-age=31536000; includeSubDomains"


class SecurityHeaders:
    """Adds to every response what tells browsers to be careful; HSTS (RFC 6797) where the request came by TLS."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        secure = scope["scheme"] == "https"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if secure:
                    headers.setdefault("strict-transport-security", _HSTS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def edge(settings: Settings) -> list[Middleware]:
    """The middleware of the application, the outermost first."""
    layers: list[Middleware] = []
    if settings.trusted_proxies:
        layers.append(Middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies))
    layers.append(Middleware(SecurityHeaders))
    if settings.compression:
        layers.append(Middleware(GZipMiddleware, minimum_size=SMALLEST_COMPRESSED, compresslevel=_LEVEL))
    return layers
