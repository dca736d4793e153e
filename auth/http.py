"""``POST /oauth/token``: access tokens for machines, by client credentials (RFC 6749, section 4.4). And the public keys
that tokens are verified by, at ``/.well-known/jwks.json``."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import parse_qsl, unquote_plus
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from auth.keys import SigningKeys
from auth.principals import View
from auth.tokens import hash_secret, issue, same
from core.settings import Settings
from models.database import Database

MAX_BODY: Final = 8192
JWKS_MAX_AGE: Final = 300
"""Seconds; less than a new key is announced before it signs."""
_NO_CLIENT: Final = hash_secret("")


class Ports(Protocol):
    """What the endpoint needs of the running program."""

    @property
    def settings(self) -> Settings: ...

    @property
    def database(self) -> Database: ...


@dataclass(eq=False)
class OAuthError(Exception):
    """An answer of RFC 6749, section 5.2. ``basic``: the client used, or should use, HTTP Basic authentication."""

    error: str
    description: str
    status: int = 400
    basic: bool = False


def routes(ports: Ports, keys: SigningKeys) -> list[Route]:
    """The routes that the composition root mounts."""

    async def token(request: Request) -> Response:
        try:
            form = await _form(request)
            client_id, secret, basic = _credentials(request.headers.get("authorization"), form)
            if "grant_type" not in form:
                raise OAuthError("invalid_request", "grant_type is missing")
            if form["grant_type"] != "client_credentials":
                raise OAuthError("unsupported_grant_type", "only client_credentials is offered")
            if form.get("scope"):
                raise OAuthError("invalid_scope", "scopes are not offered")
            subject, view, generation = await _client(ports.database, client_id, secret, basic)
        except OAuthError as error:
            return _refused(error)
        ttl = ports.settings.access_token_ttl
        text, _ = issue(keys, view, subject, None, ttl, generation)
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


def _credentials(authorization: str | None, form: dict[str, str]) -> tuple[str, str, bool]:
    """``(client id, secret, whether by HTTP Basic)``; a client must use one way only (section 2.3)."""
    if authorization is None:
        if "client_id" not in form or "client_secret" not in form:
            raise OAuthError("invalid_client", "client credentials are missing", status=401, basic=True)
        return form["client_id"], form["client_secret"], False
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise OAuthError("invalid_client", "use HTTP Basic authentication", status=401, basic=True)
    if "client_secret" in form:
        raise OAuthError("invalid_request", "use one way of client authentication")
    try:
        client_id, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:  # no base64, no UTF-8, or not even ASCII
        colon = client_id = secret = ""
    if not colon:
        raise OAuthError("invalid_client", "the credentials cannot be read", status=401, basic=True)
    # Section 2.3.1: both are form-encoded before they are joined.
    return unquote_plus(client_id), unquote_plus(secret), True


async def _client(database: Database, client_id: str, secret: str, basic: bool) -> tuple[UUID, View, int]:
    if "\0" in client_id:
        row = None
    else:
        row = await database.fetchrow(
            "SELECT id, kind, secret_hash, generation FROM client WHERE client_id = $1 AND revoked_at IS NULL",
            client_id,
        )
    known = row["secret_hash"] if row is not None else _NO_CLIENT
    if not same(hash_secret(secret), known) or row is None:
        raise OAuthError("invalid_client", "unknown client or wrong secret", status=401, basic=basic)
    return row["id"], View(row["kind"]), row["generation"]


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
