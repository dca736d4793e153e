"""``POST /oauth/register``: a device exchanges its pairing code for a client's credentials.

OAuth 2.0 Dynamic Client Registration (RFC 7591): the pairing code is the initial access token, sent as a bearer token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from auth.clients import TooManyAttempts

MAX_BODY: Final = 8192
MAX_CODE: Final = 64


class Credentials(Protocol):
    """Of a client that was just registered."""

    @property
    def client_id(self) -> str: ...

    @property
    def secret(self) -> str: ...

    @property
    def name(self) -> str: ...


def route(claim: Callable[[str, str], Awaitable[Credentials | None]]) -> Route:
    """The route that the composition root mounts.

    ``claim`` exchanges a code, once, for a caller at an address; it may raise TooManyAttempts.
    """

    async def register(request: Request) -> Response:
        # Client metadata (section 2) may be sent and are not needed: the merchant has described the device.
        received = 0
        async for chunk in request.stream():
            received += len(chunk)
            if received > MAX_BODY:
                return _answer(413, {"error": "invalid_client_metadata", "error_description": "too long"})
        scheme, _, code = request.headers.get("authorization", "").partition(" ")
        code = code.strip()
        given = None
        if scheme.lower() == "bearer" and 0 < len(code) <= MAX_CODE:
            try:
                given = await claim(code, request.client.host if request.client else "")
            except TooManyAttempts as error:
                return _answer(
                    429,
                    {"error": "temporarily_unavailable", "error_description": "too many wrong pairing codes"},
                    {"Retry-After": str(error.retry_after_seconds)},
                )
        if given is None:
            words = "the pairing code is unknown, used or too old"
            return _answer(
                401,
                {"error": "invalid_token", "error_description": words},
                {"WWW-Authenticate": f'Bearer realm="hutong", error="invalid_token", error_description="{words}"'},
            )
        return _answer(
            201,
            {
                "client_id": given.client_id,
                "client_secret": given.secret,
                "client_secret_expires_at": 0,
                "client_name": given.name,
                "grant_types": ["client_credentials"],
                "token_endpoint_auth_method": "client_secret_basic",
            },
        )

    return Route("/oauth/register", register, methods=["POST"])


def _answer(status: int, content: dict[str, object], headers: dict[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(content),
        status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", "Pragma": "no-cache", **(headers or {})},
    )
