"""Access tokens: short-lived JWTs signed with ES256, one audience per view.

Claims: ``iss`` "hutong", ``aud`` the view in lower case, ``sub`` the person or client, ``sid`` the session (people
only), ``gen`` the generation of a client's tokens, ``iat``, ``exp``, ``jti``. Lifetimes are wall time. Standards:
RFC 7519 (JWT), RFC 8725 (best practices).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, cast
from uuid import UUID

from jose import jwt  # pyright: ignore[reportMissingTypeStubs]
from jose.exceptions import JOSEError  # pyright: ignore[reportMissingTypeStubs]

from auth.keys import ALGORITHM, SigningKeys
from auth.principals import View
from core.clock import wall_now

ISSUER: Final = "hutong"
MAX_LENGTH: Final = 2048
"""Longest text that is looked at as a token; ours have about 400 characters."""

_AUDIENCES: Final = {view.lower(): view for view in View}
_jwt: Final = cast(Any, jwt)


class Reason(StrEnum):
    """Why a token was not accepted."""

    INVALID = "INVALID"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"
    WRONG_AUDIENCE = "WRONG_AUDIENCE"


class Unauthenticated(Exception):
    """The caller's token does not tell who is asking."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. ``expires_at`` is Unix time."""

    view: View
    subject: UUID
    session_id: UUID | None
    expires_at: float
    token_id: str
    generation: int
    """Of the client's tokens; 0 for people, whose sessions end instead."""


def issue(
    keys: SigningKeys, view: View, subject: UUID, session_id: UUID | None, ttl: timedelta, generation: int = 0
) -> tuple[str, datetime]:
    """A token for ``subject`` in ``view`` that ends after ``ttl``, and the instant it ends (whole seconds)."""
    now = wall_now().replace(microsecond=0)
    expires_at = now + ttl
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": view.lower(),
        "sub": str(subject),
        "iat": int(now.timestamp()),
        "exp": int(expires_at.timestamp()),
        "jti": secrets.token_urlsafe(12),
    }
    if session_id is not None:
        claims["sid"] = str(session_id)
    if generation:
        claims["gen"] = generation
    key = keys.signing
    return _jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid}), expires_at


def verify(keys: SigningKeys, token: str) -> Claims:
    """The claims of ``token``. Raises Unauthenticated (INVALID, EXPIRED or WRONG_AUDIENCE)."""
    if len(token) > MAX_LENGTH:
        raise Unauthenticated(Reason.INVALID)
    try:
        header = _jwt.get_unverified_header(token)
        key = keys.find(str(header.get("kid")))
        if key is None or header.get("alg") != ALGORITHM:
            raise Unauthenticated(Reason.INVALID)
        # Expiry and audience are judged below, because they have reasons of their own. (``require_exp`` would make
        # python-jose judge expiry whatever ``verify_exp`` says.)
        options = {"verify_aud": False, "verify_exp": False}
        claims = _jwt.decode(token, key.public, algorithms=[ALGORITHM], issuer=ISSUER, options=options)
        subject = UUID(claims["sub"])
        session_id = UUID(claims["sid"]) if "sid" in claims else None
        expires_at = float(claims["exp"])
        audience = claims["aud"]
        generation = int(claims.get("gen", 0))
    except (JOSEError, KeyError, TypeError, ValueError, AttributeError):
        raise Unauthenticated(Reason.INVALID) from None
    view = _AUDIENCES.get(audience) if isinstance(audience, str) else None
    if view is None:
        raise Unauthenticated(Reason.WRONG_AUDIENCE)
    if expires_at <= wall_now().timestamp():
        raise Unauthenticated(Reason.EXPIRED)
    return Claims(view, subject, session_id, expires_at, str(claims.get("jti", "")), generation)


class Verifier:
    """Verifies tokens and remembers the good ones until they end: a signature check costs some 90 µs."""

    def __init__(self, keys: SigningKeys, *, remembered: int = 32_768) -> None:
        self._keys = keys
        self._remembered = remembered
        self._known: OrderedDict[str, Claims] = OrderedDict()
        self._revision = keys.revision

    def verify(self, token: str, view: View | None = None) -> Claims:
        """The claims of ``token``, which must be for ``view`` when one is given. Raises Unauthenticated."""
        self._keys.look()
        if self._revision != self._keys.revision:
            self._revision = self._keys.revision
            self._known.clear()  # what a retired key signed does not count any more
        claims = self._known.get(token)
        if claims is None:
            claims = self._known[token] = verify(self._keys, token)
            if len(self._known) > self._remembered:
                self._known.popitem(last=False)
        elif claims.expires_at <= wall_now().timestamp():
            del self._known[token]
            raise Unauthenticated(Reason.EXPIRED)
        else:
            self._known.move_to_end(token)
        if view is not None and claims.view is not view:
            raise Unauthenticated(Reason.WRONG_AUDIENCE)
        return claims


def hash_secret(secret: str) -> str:
    """What is stored of a client secret or refresh token: its SHA-256, enough because both are long random texts."""
    return hashlib.sha256(secret.encode()).hexdigest()


def same(one: str, other: str) -> bool:
    """Equality of two digests or secrets, in time that does not depend on where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())
