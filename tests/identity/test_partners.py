"""Credentials of partners: secrets and keys that follow each other, and assertions that are good once."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jwt
from starlette.applications import Starlette

from auth import assertions, http
from auth.authenticate import Authenticator
from auth.principals import View
from auth.tokens import Reason, Unauthenticated
from core.clock import wall_now
from models.identity import CredentialKind
from services import partners, retention, sessions
from services.errors import CredentialLimitReached, InvalidInput, NotFound, PermissionDenied
from services.partners import NewSecret
from services.runtime import Runtime
from tests.identity.world import World, ago, build

TOKEN_URL = "http://127.0.0.1:8000/oauth/token"
PrivateKey = ec.EllipticCurvePrivateKey


@pytest.fixture
async def endpoint(runtime: Runtime) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=http.routes(runtime, runtime.keys))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hutong.test") as client:
        yield client


@pytest.fixture
async def partner(world: World) -> NewSecret:
    return await partners.create(world.runtime, world.admin, world.city_id, "Example")


def pair() -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: Any) -> str:
    public = key.public_key()
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(encoding, form).decode()


def jwk(key: PrivateKey) -> str:
    numbers = key.public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(32)).rstrip(b"=").decode() for n in (numbers.x, numbers.y))
    return json.dumps({"kty": "EC", "crv": "P-256", "x": x, "y": y, "use": "sig"})


def private_pem(key: PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def assertion(key: PrivateKey, client_id: str, *, headers: dict[str, Any] | None = None, **changes: Any) -> str:
    """A good assertion but for ``changes``; a claim set to None is left out."""
    claims: dict[str, Any] = {
        "iss": client_id, "sub": client_id, "aud": TOKEN_URL, "exp": int(time.time()) + 120,
        "jti": secrets.token_urlsafe(12),
    }  # fmt: skip
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, private_pem(key), algorithm="ES256", headers=headers)


async def by_secret(endpoint: httpx.AsyncClient, client_id: str, secret: str) -> httpx.Response:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    return await endpoint.post("/oauth/token", data=form)


async def by_assertion(endpoint: httpx.AsyncClient, text: str, **more: str) -> httpx.Response:
    form = {
        "grant_type": "client_credentials", "client_assertion_type": assertions.TYPE, "client_assertion": text, **more,
    }  # fmt: skip
    return await endpoint.post("/oauth/token", data=form)


async def audited(runtime: Runtime, made: NewSecret) -> list[str]:
    rows = await runtime.database.fetch(
        "SELECT action FROM audit_entry WHERE target_id = $1 ORDER BY at, id", made.partner.id
    )
    return [row["action"] for row in rows]


async def test_a_partner_signs_in_with_its_first_secret(
    world: World, partner: NewSecret, endpoint: httpx.AsyncClient
) -> None:
    answer = await by_secret(endpoint, partner.partner.client_id, partner.secret)
    assert answer.status_code == 200
    who = await Authenticator(world.runtime.database, world.runtime.keys).principal(answer.json()["access_token"])
    assert (who.view, who.subject, who.city_id) == (View.PARTNER, partner.partner.id, world.city_id)
    [credential] = (await partners.credentials_of(world.runtime, [partner.partner.id]))[partner.partner.id]
    assert credential.last_used_at is not None
    stored = await world.runtime.database.fetch("SELECT * FROM client_credential")
    assert all(partner.secret not in str(value) for row in stored for value in row.values())
    assert await audited(world.runtime, partner) == ["create_partner"]


async def test_secrets_follow_each_other_without_a_gap(
    world: World, partner: NewSecret, endpoint: httpx.AsyncClient
) -> None:
    runtime, client_id = world.runtime, partner.partner.client_id
    soon = wall_now() + timedelta(hours=1)
    second = await partners.rotate_secret(runtime, world.admin, partner.partner.id, soon)
    for secret in (partner.secret, second.secret):
        assert (await by_secret(endpoint, client_id, secret)).status_code == 200
    with pytest.raises(CredentialLimitReached):
        await partners.rotate_secret(runtime, world.admin, partner.partner.id, None)
    await runtime.database.execute(
        "UPDATE client_credential SET ends_at = $2 WHERE id = $1", partner.credential.id, ago(seconds=1)
    )
    assert (await by_secret(endpoint, client_id, partner.secret)).status_code == 401
    assert (await by_secret(endpoint, client_id, second.secret)).status_code == 200
    third = await partners.rotate_secret(runtime, world.admin, partner.partner.id, wall_now() + timedelta(seconds=9))
    assert (await by_secret(endpoint, client_id, third.secret)).status_code == 200
    for bad in (ago(seconds=5), wall_now() + timedelta(days=91)):
        with pytest.raises(InvalidInput):
            await partners.rotate_secret(runtime, world.admin, partner.partner.id, bad)


async def test_rotations_at_the_same_time_leave_two_secrets(world: World, partner: NewSecret) -> None:
    results = await asyncio.gather(
        *(partners.rotate_secret(world.runtime, world.admin, partner.partner.id, None) for _ in range(6)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, NewSecret) for result in results) == 1
    assert sum(isinstance(result, CredentialLimitReached) for result in results) == 5


async def test_revoking_a_credential_ends_it_and_the_tokens(
    world: World, partner: NewSecret, endpoint: httpx.AsyncClient
) -> None:
    runtime, client_id = world.runtime, partner.partner.client_id
    authenticator = Authenticator(runtime.database, runtime.keys)
    second = await partners.rotate_secret(runtime, world.admin, partner.partner.id, None)
    token = (await by_secret(endpoint, client_id, second.secret)).json()["access_token"]
    await partners.revoke_credential(runtime, world.admin, partner.credential.id, "planned", end_tokens=False)
    assert (await by_secret(endpoint, client_id, partner.secret)).status_code == 401
    assert await authenticator.principal(token)
    revoked = await partners.revoke_credential(runtime, world.admin, second.credential.id, "leaked", end_tokens=True)
    assert revoked.revoked_at is not None
    with pytest.raises(Unauthenticated) as refused:
        await authenticator.principal(token)
    assert refused.value.reason is Reason.REVOKED
    again = await partners.revoke_credential(runtime, world.admin, second.credential.id, "leaked", end_tokens=True)
    assert again.revoked_at == revoked.revoked_at
    assert (await audited(runtime, partner))[-1] == "revoke_partner_credential"


@pytest.mark.parametrize("form", [pem, jwk])
async def test_a_partner_signs_in_with_a_key(
    world: World, partner: NewSecret, endpoint: httpx.AsyncClient, form: Any
) -> None:
    key = pair()
    added = await partners.add_key(world.runtime, world.admin, partner.partner.id, form(key), "Server 1")
    assert added.kind is CredentialKind.KEY and added.kid is not None
    client_id = partner.partner.client_id
    for headers in (None, {"kid": added.kid}):
        answer = await by_assertion(endpoint, assertion(key, client_id, headers=headers), client_id=client_id)
        assert answer.status_code == 200, answer.json()
        who = await Authenticator(world.runtime.database, world.runtime.keys).principal(answer.json()["access_token"])
        assert who.subject == partner.partner.id
    base = TOKEN_URL.removesuffix("/oauth/token")
    for aud in ([TOKEN_URL], base):
        assert (await by_assertion(endpoint, assertion(key, client_id, aud=aud))).status_code == 200


async def test_keys_follow_each_other(world: World, partner: NewSecret, endpoint: httpx.AsyncClient) -> None:
    runtime, id, client_id = world.runtime, partner.partner.id, partner.partner.client_id
    old, new = pair(), pair()
    first = await partners.add_key(runtime, world.admin, id, pem(old), "Old")
    second = await partners.add_key(runtime, world.admin, id, pem(new), "New")
    with pytest.raises(CredentialLimitReached):
        await partners.add_key(runtime, world.admin, id, pem(pair()), "Third")
    for key in (old, new):
        assert (await by_assertion(endpoint, assertion(key, client_id))).status_code == 200
    assert (await by_assertion(endpoint, assertion(old, client_id, headers={"kid": second.kid}))).status_code == 401
    await partners.revoke_credential(runtime, world.admin, first.id, "planned", end_tokens=False)
    assert (await by_assertion(endpoint, assertion(old, client_id))).status_code == 401
    assert (await by_assertion(endpoint, assertion(new, client_id))).status_code == 200
    with pytest.raises(InvalidInput):
        await partners.add_key(runtime, world.admin, id, jwk(old), "The revoked one again")


async def test_an_assertion_is_good_once_also_at_the_same_time(
    world: World, partner: NewSecret, endpoint: httpx.AsyncClient
) -> None:
    key = pair()
    await partners.add_key(world.runtime, world.admin, partner.partner.id, pem(key), "Key")
    text = assertion(key, partner.partner.client_id)
    answers = await asyncio.gather(*(by_assertion(endpoint, text) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7
    replayed = assertion(key, partner.partner.client_id, jti=jwt.get_unverified_claims(text)["jti"])
    assert (await by_assertion(endpoint, replayed)).json()["error_description"] == "the assertion was used before"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody"}, {"sub": None}, {"iss": None}, {"aud": None}, {"aud": "https://elsewhere.example/oauth/token"},
        {"aud": [TOKEN_URL, "https://elsewhere.example"]}, {"aud": []}, {"aud": {"x": 1}}, {"exp": None},
        {"exp": int(time.time()) - 1}, {"exp": int(time.time()) + 86_400}, {"exp": "soon"}, {"exp": True},
        {"nbf": int(time.time()) + 86_400}, {"iat": int(time.time()) + 86_400}, {"jti": None}, {"jti": ""},
        {"jti": "x" * 129}, {"jti": 7}, {"jti": "nul\0"},
    ],
)  # fmt: skip
async def test_claims_that_prove_nothing(
    world: World, partner: NewSecret, endpoint: httpx.AsyncClient, changes: dict[str, Any]
) -> None:
    key = pair()
    await partners.add_key(world.runtime, world.admin, partner.partner.id, pem(key), "Key")
    noted = "SELECT count(*) FROM used_assertion"
    before = await world.runtime.database.fetchval(noted)
    answer = await by_assertion(endpoint, assertion(key, partner.partner.client_id, **changes))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert await world.runtime.database.fetchval(noted) == before


async def test_the_algorithm_is_not_the_clients_choice(
    world: World, partner: NewSecret, endpoint: httpx.AsyncClient
) -> None:
    key, client_id = pair(), partner.partner.client_id
    await partners.add_key(world.runtime, world.admin, partner.partner.id, pem(key), "Key")
    good = assertion(key, client_id)
    header, claims, signature = good.split(".")

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()

    stranger = assertion(pair(), client_id)
    symmetric = jwt.encode(jwt.get_unverified_claims(good), "not the key", algorithm="HS256")
    for bad in (
        f"{part({'alg': 'none'})}.{claims}.", f"{part({'alg': 'ES384'})}.{claims}.{signature}",
        f"{part({'alg': 'HS256'})}.{claims}.{signature}", symmetric, stranger, f"{header}.{claims}.", f"{header}..",
        "", "x", "a.b.c", "x" * 5000, f"{header}.{part([1])}.{signature}", f"{part([1])}.{claims}.{signature}",
        f"{part({'alg': ['ES256']})}.{claims}.{signature}", "é.é.é",
    ):  # fmt: skip
        answer = await by_assertion(endpoint, bad)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), bad
    assert (await by_assertion(endpoint, good)).status_code == 200


async def test_one_way_of_authentication_at_a_time(
    world: World, partner: NewSecret, endpoint: httpx.AsyncClient
) -> None:
    key, client_id = pair(), partner.partner.client_id
    await partners.add_key(world.runtime, world.admin, partner.partner.id, pem(key), "Key")
    text = assertion(key, client_id)
    other = await partners.create(world.runtime, world.admin, world.city_id, "Other")
    assert (await by_assertion(endpoint, text, client_secret=partner.secret)).json()["error"] == "invalid_request"
    assert (await by_assertion(endpoint, text, client_assertion_type="x")).json()["error"] == "invalid_request"
    assert (await by_assertion(endpoint, text, client_id=other.partner.client_id)).status_code == 401
    assert (await by_assertion(endpoint, text, grant_type="password")).json()["error"] == "unsupported_grant_type"
    assert (await by_assertion(endpoint, text)).status_code == 200, "what was refused did not use it up"


async def test_one_partners_key_is_not_anothers(world: World, partner: NewSecret, endpoint: httpx.AsyncClient) -> None:
    key = pair()
    await partners.add_key(world.runtime, world.admin, partner.partner.id, pem(key), "Key")
    other = await partners.create(world.runtime, world.admin, world.city_id, "Other")
    assert (await by_assertion(endpoint, assertion(key, other.partner.client_id))).status_code == 401


def _not_keys() -> list[str]:
    public = pair()
    damaged = json.loads(jwk(public)) | {"x": "AAAA"}
    return [
        "", "nonsense", "{}", "[]", '{"kty": "EC"}', json.dumps(damaged), private_pem(public),
        json.dumps(json.loads(jwk(public)) | {"d": "secret"}), pem(ec.generate_private_key(ec.SECP384R1())),
        pem(rsa.generate_private_key(65537, 2048)), "x" * 3000, pem(public)[:-60],
    ]  # fmt: skip


@pytest.mark.parametrize("nonsense", _not_keys())
async def test_what_is_no_public_key_is_refused(world: World, partner: NewSecret, nonsense: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await partners.add_key(world.runtime, world.admin, partner.partner.id, nonsense, "Key")
    assert refused.value.field == "publicKey"


def test_thumbprints_are_those_of_the_standard() -> None:
    """python-jose would not compute one; this is RFC 7638 by hand."""
    key = pair()
    assert assertions.read_public_key(pem(key))[0] == assertions.read_public_key(jwk(key))[0]
    assert len(assertions.read_public_key(pem(key))[0]) == 43


async def test_only_admins_of_the_city_have_a_say(world: World, partner: NewSecret) -> None:
    runtime, id = world.runtime, partner.partner.id
    stranger = (await build(runtime)).admin
    attempts = [
        partners.create(runtime, stranger, world.city_id, "Mine"),
        partners.rotate_secret(runtime, stranger, id, None),
        partners.add_key(runtime, stranger, id, pem(pair()), "Key"),
        partners.revoke_credential(runtime, stranger, partner.credential.id, "because", end_tokens=True),
        partners.revoke_credential(runtime, world.admin, uuid4(), "because", end_tokens=True),
        partners.rotate_secret(runtime, world.admin, uuid4(), None),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound):
            await attempt
    [credential] = (await partners.credentials_of(runtime, [id]))[id]
    assert credential.revoked_at is None


async def test_client_ids_are_chosen_once(world: World) -> None:
    chosen = f"example-{uuid4().hex[:8]}"
    results = await asyncio.gather(
        *(partners.create(world.runtime, world.admin, world.city_id, "Example", chosen) for _ in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, NewSecret) for result in results) == 1
    for bad in ("", "ab", "with space", "x" * 41, "名字", "nul\0", "a_b"):
        with pytest.raises(InvalidInput):
            await partners.create(world.runtime, world.admin, world.city_id, "Example", bad)


async def test_a_disabled_partner_gets_nothing(world: World, partner: NewSecret, endpoint: httpx.AsyncClient) -> None:
    runtime, key = world.runtime, pair()
    await partners.add_key(runtime, world.admin, partner.partner.id, pem(key), "Key")
    await sessions.revoke_of_client(runtime, world.admin, partner.partner.client_id, "gone", disable=True)
    assert (await by_secret(endpoint, partner.partner.client_id, partner.secret)).status_code == 401
    assert (await by_assertion(endpoint, assertion(key, partner.partner.client_id))).status_code == 401
    with pytest.raises(PermissionDenied):
        await partners.rotate_secret(runtime, world.admin, partner.partner.id, None)
    assert await partners.revoke_credential(runtime, world.admin, partner.credential.id, "gone", end_tokens=True)


async def test_used_assertions_are_forgotten_after_they_expired(
    world: World, partner: NewSecret, endpoint: httpx.AsyncClient
) -> None:
    key = pair()
    await partners.add_key(world.runtime, world.admin, partner.partner.id, pem(key), "Key")
    await by_assertion(endpoint, assertion(key, partner.partner.client_id))
    await retention.forget(world.runtime)
    assert await world.runtime.database.fetchval("SELECT count(*) FROM used_assertion") >= 1
    await world.runtime.database.execute("UPDATE used_assertion SET expires_at = $1", ago(days=2))
    await retention.forget(world.runtime)
    assert await world.runtime.database.fetchval("SELECT count(*) FROM used_assertion") == 0
