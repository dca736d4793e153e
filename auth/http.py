"""``POST /oauth/token``: access tokens for machines, by client credentials (RFC 6749, section 4.4). And the public keys
that tokens are verified by, at ``/.well-known/jwks.json``."""

from __future__ import annotations

from typing import Final, Protocol
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from auth.clients import OAuthError, authenticate
from auth.keys import SigningKeys
from auth.tokens import issue
from core.settings import Settings
from models.database import Database

MAX_BODY: Final = 8192
JWKS_MAX_AGE: Final = 300
"""Seconds; less than a new key is announced before it signs."""


class Ports(Protocol):
    """What the endpoint needs of the running program."""

    @property
    def settings(self) -> Settings: ...

    @property
    def database(self) -> Database: ...


def audiences(settings: Settings) -> frozenset[str]:
    """What a client assertion may be for: the token endpoint, or the installation as a whole."""
    base = (settings.public_url or f"http://{settings.host}:{settings.port}").rstrip("/")
    return frozenset({base, f"{base}/oauth/token"})


def routes(ports: Ports, keys: SigningKeys) -> list[Route]:
    """The routes that the composition root mounts."""
    expected = audiences(ports.settings)

    async def token(request: Request) -> Response:
        try:
            form = await _form(request)
            if "grant_type" not in form:
                raise OAuthError("invalid_request", "grant_type is missing")
            if form["grant_type"] != "client_credentials":
                raise OAuthError("unsupported_grant_type", "only client_credentials is offered")
            if form.get("scope"):
                raise OAuthError("invalid_scope", "scopes are not offered")
            client = await authenticate(ports.database, request.headers.get("authorization"), form, expected)
        except OAuthError as error:
            return _refused(error)
        ttl = ports.settings.access_token_ttl
        text, _ = issue(keys, client.view, client.id, None, ttl, client.generation)
        return _answer(200, {"access_token": text, "token_type": "Bearer", "expires_in": int(ttl.total_seconds())})

    async def jwks(request: Request) -> Response:
        """Whoever verifies our access tokens finds the public keys here (RFC 7517)."""
        headers = {"Cache-Control": f"public, max-age={JWKS_MAX_AGE}", "Access-Control-Allow-Origin": "*"}
        return Response(orjson.dumps(keys.jwks()), media_type="application/jwk-set+json", headers=headers)

    return [Route("/oauth/token", token, methods=["POST"]), Route("/.well-known/jwks.json", jwks, methods=["GET"])]


async def _form(request: Request) -> dict[str, str]:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "send application/x-www-form-urlencoded")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise OAuthError("invalid_request", "the request is too long", status=413)
    try:
        pairs = parse_qsl(body.decode(), strict_parsing=True, max_num_fields=20, errors="strict") if body else []
    except ValueError:
        raise OAuthError("invalid_request", "the form cannot be read") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError("invalid_request", "a parameter is repeated")
    return form


def _answer(status: int, content: dict[str, object], headers: dict[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(content),
        status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", "Pragma": "no-cache", **(headers or {})},
    )


def _refused(error: OAuthError) -> Response:
    headers = {"WWW-Authenticate": 'Basic realm="hutong", charset="UTF-8"'} if error.basic else None
    return _answer(error.status, {"error": error.error, "error_description": error.description}, headers)
