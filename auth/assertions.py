"""Client assertions: a client proves with its private key who it is (``private_key_jwt``; RFC 7523, section 2.2).

ES256 only. Public keys are taken as PEM or JWK (RFC 7517) and named by their thumbprint (RFC 7638).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, cast

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jose import jws  # pyright: ignore[reportMissingTypeStubs]
from jose.exceptions import JOSEError  # pyright: ignore[reportMissingTypeStubs]

from auth.keys import ALGORITHM
from core.clock import wall_now

TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONGEST_LIFE: Final = timedelta(minutes=5)
SKEW: Final = timedelta(seconds=30)
"""How far the client's clock may be from ours."""
MAX_LENGTH: Final = 4096
MAX_JTI: Final = 128
MAX_KEY: Final = 2048

_jws: Final = cast(Any, jws)


class AssertionInvalid(Exception):
    """The assertion proves nothing; the text tells the client's developer why."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a verified assertion says. ``expires_at`` is Unix time."""

    client_id: str
    token_id: str
    expires_at: float
    kid: str


def read_public_key(text: str) -> tuple[str, str]:
    """``(thumbprint, PEM)`` of a P-256 public key given as PEM or JWK. Raises ValueError, whose text says why."""
    text = text.strip()
    if len(text) > MAX_KEY:
        raise ValueError("is too long for a public key")
    if "PRIVATE KEY" in text or _is_private_jwk(text):
        raise ValueError("is a private key: make a new pair and send the public one")
    try:
        key = _from_jwk(text) if text.startswith("{") else serialization.load_pem_public_key(text.encode())
    except Exception:
        raise ValueError("is not a public key in PEM or JWK") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("must be of the curve P-256")
    numbers = key.public_numbers()
    members = {"crv": "P-256", "kty": "EC", "x": _coordinate(numbers.x), "y": _coordinate(numbers.y)}
    # RFC 7638, section 3: the required members in lexicographic order, without spaces.
    thumbprint = _encode(hashlib.sha256(orjson.dumps(members)).digest())
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return thumbprint, pem.decode()


def _is_private_jwk(text: str) -> bool:
    try:
        members = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(members, dict) and "d" in members


def _from_jwk(text: str) -> ec.EllipticCurvePublicKey:
    members = orjson.loads(text)
    if members["kty"] != "EC" or members["crv"] != "P-256":
        raise ValueError
    x, y = (int.from_bytes(base64.urlsafe_b64decode(members[name] + "==")) for name in ("x", "y"))
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def _coordinate(value: int) -> str:
    return _encode(value.to_bytes(32))


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def claimed_client(assertion: str) -> str:
    """The client that the assertion is said to be of; nothing is verified yet. Raises AssertionInvalid."""
    return _text(_claims(assertion, lambda: _jws.get_unverified_claims(assertion)), "sub")


def verify(assertion: str, keys: Mapping[str, str], audiences: Collection[str]) -> Assertion:
    """What ``assertion`` says, if one of the client's ``keys`` (PEM by thumbprint) signed it for us a moment ago.

    ``aud`` must be one text and one of ``audiences``: an assertion for several servers could be used by each of them at
    the others. Raises AssertionInvalid.
    """
    header: dict[str, Any] = _claims(assertion, lambda: orjson.dumps(_jws.get_unverified_header(assertion)))
    if header.get("alg") != ALGORITHM:
        raise AssertionInvalid(f"alg must be {ALGORITHM}")
    kid = header.get("kid")
    tried = keys.items() if kid is None else [(kid, pem) for name, pem in keys.items() if name == kid]
    for name, pem in tried:
        try:
            payload = _jws.verify(assertion, pem, algorithms=[ALGORITHM])
        except JOSEError:
            continue
        return _judge(_claims(assertion, lambda payload=payload: payload), name, audiences)
    raise AssertionInvalid("no live key of the client made the signature")


def _claims(assertion: str, read: Any) -> dict[str, Any]:
    if len(assertion) > MAX_LENGTH:
        raise AssertionInvalid("the assertion is too long")
    try:
        claims = orjson.loads(read())
    except (JOSEError, ValueError, TypeError, AttributeError, RecursionError):
        raise AssertionInvalid("the assertion is no JWT") from None
    if not isinstance(claims, dict):
        raise AssertionInvalid("the assertion is no JWT")
    return cast("dict[str, Any]", claims)


def _judge(claims: dict[str, Any], kid: str, audiences: Collection[str]) -> Assertion:
    now = wall_now().timestamp()
    if _text(claims, "iss") != (client_id := _text(claims, "sub")):
        raise AssertionInvalid("iss and sub must both be the client id")
    audience = claims.get("aud")
    if isinstance(audience, list) and len(cast("list[Any]", audience)) == 1:
        audience = cast("list[Any]", audience)[0]
    if not isinstance(audience, str) or audience not in audiences:
        raise AssertionInvalid("aud must be the address of the token endpoint, and nothing else")
    expires_at = _instant(claims, "exp")
    if expires_at is None or expires_at <= now:
        raise AssertionInvalid("the assertion has expired")
    if expires_at > now + (LONGEST_LIFE + SKEW).total_seconds():
        raise AssertionInvalid(f"exp must be at most {LONGEST_LIFE.total_seconds():.0f} s from now")
    for name in ("nbf", "iat"):
        instant = _instant(claims, name)
        if instant is not None and instant > now + SKEW.total_seconds():
            raise AssertionInvalid(f"{name} is in the future")
    token_id = _text(claims, "jti")
    if len(token_id) > MAX_JTI:
        raise AssertionInvalid(f"jti must have at most {MAX_JTI} characters")
    return Assertion(client_id, token_id, expires_at, kid)


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value or "\0" in value:
        raise AssertionInvalid(f"{name} is missing")
    return value


def _instant(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AssertionInvalid(f"{name} must be a number")
    return float(value)
