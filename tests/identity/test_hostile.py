"""What strangers send to make the doors fall open or over, and what several processes do to each other at once."""

from __future__ import annotations

import asyncio
import base64
import hmac
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from starlette.applications import Starlette

from auth import http
from auth.authenticate import Authenticator
from auth.keys import SigningKeys
from auth.principals import View
from auth.tokens import Reason, Unauthenticated, hash_secret, issue, verify
from core.clock import wall_now
from models.identity import GrantRole
from services import identity
from services.errors import OtpInvalid, SessionInvalid
from services.runtime import Runtime
from tests.identity.world import World, code_sent, phone, sign_in, wrong

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    "authorization", [b"Basic \xe9", b"Basic \xff\xfe", b"Basic \xc3\xa9", b"\xe9 YTpi", b"Basic ="]
)
async def test_headers_that_are_no_text_are_refused_not_stumbled_over(runtime: Runtime, authorization: bytes) -> None:
    app = Starlette(routes=http.routes(runtime, runtime.keys))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hutong.test") as client:
        answer = await client.post(
            "/oauth/token",
            data={"grant_type": "client_credentials"},
            headers={b"authorization": authorization},  # type: ignore[arg-type]
        )
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    "header", [b"[" * 1400, b'{"a":' * 280, b'"x"', b"\xff", b'{"alg":["ES256"]}', b'{"alg":"ES256","kid":[]}']
)
@pytest.mark.parametrize("claims", [b"{}", b"[]", b"[" * 90, b"\xff"])
async def test_headers_and_claims_of_any_shape_are_invalid(header: bytes, claims: bytes) -> None:
    token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (header, claims, b"x" * 64))
    with pytest.raises(Unauthenticated) as refusal:
        verify(SigningKeys.generate(), token)
    assert refusal.value.reason is Reason.INVALID


async def test_the_public_key_is_nobodys_shared_secret() -> None:
    """Signed by hand, because libraries refuse to make such tokens."""
    keys = SigningKeys.generate()
    genuine, _ = issue(keys, View.ADMIN, uuid4(), uuid4(), MINUTE)
    claims = genuine.split(".")[1]
    public = serialization.load_pem_private_key(keys.signing.pem, None).public_key()
    shapes = [
        public.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
        for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER)
    ]
    for secret in (*shapes, shapes[0].strip(), b""):
        for algorithm in ("HS256", "ES256"):
            header = f'{{"alg":"{algorithm}","typ":"JWT","kid":"{keys.signing.kid}"}}'.encode()
            text = f"{base64.urlsafe_b64encode(header).rstrip(b'=').decode()}.{claims}"
            mac = base64.urlsafe_b64encode(hmac.digest(secret, text.encode(), "sha256")).rstrip(b"=").decode()
            with pytest.raises(Unauthenticated) as refusal:
                verify(keys, f"{text}.{mac}")
            assert refusal.value.reason is Reason.INVALID


async def test_a_keys_file_that_goes_missing_logs_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys, strangers = SigningKeys.open(path), SigningKeys.generate()
    subject = uuid4()
    ours, _ = issue(keys, View.CONSUMER, subject, None, MINUTE)
    theirs, _ = issue(strangers, View.CONSUMER, subject, None, MINUTE)
    for damage in (path.unlink, lambda: path.write_text("{"), lambda: path.write_text("[]")):
        damage()
        with pytest.raises(Unauthenticated) as refusal:
            verify(keys, theirs)
        assert refusal.value.reason is Reason.INVALID
        assert verify(keys, ours).subject == subject


async def test_a_session_of_another_person_or_view_does_not_hold(runtime: Runtime) -> None:
    """Subject, session and view must belong together, even in a token that is signed well."""
    one, other = await sign_in(runtime, phone(), View.CONSUMER), await sign_in(runtime, phone(), View.CONSUMER)
    authenticator = Authenticator(runtime.database, runtime.keys)
    session = (await authenticator.principal(one.access_token)).session_id
    for view, subject, held, expected in (
        (View.CONSUMER, other.person.id, session, Reason.REVOKED),
        (View.ADMIN, one.person.id, session, Reason.REVOKED),
        (View.CONSUMER, one.person.id, uuid4(), Reason.REVOKED),
        (View.CONSUMER, one.person.id, None, Reason.INVALID),
        (View.PARTNER, one.person.id, session, Reason.REVOKED),
    ):
        token, _ = issue(runtime.keys, view, subject, held, MINUTE)
        with pytest.raises(Unauthenticated) as refusal:
            await authenticator.principal(token)
        assert refusal.value.reason is expected


async def test_a_device_is_no_partner(world: World) -> None:
    client_id = world.runtime.new_id()
    await world.runtime.database.execute(
        """INSERT INTO client (id, kind, name, client_id, secret_hash, created_at)
           VALUES ($1, 'DEVICE', 'Machine', $2, $3, now())""",
        client_id,
        client_id.hex,
        hash_secret("x"),
    )
    token, _ = issue(world.runtime.keys, View.PARTNER, client_id, None, MINUTE)
    with pytest.raises(Unauthenticated):
        await Authenticator(world.runtime.database, world.runtime.keys).principal(token)


async def test_a_phone_that_asked_for_no_code_has_none(runtime: Runtime) -> None:
    for code in ("000000", "", "x" * 10_000, "１２３４５６"):
        with pytest.raises(OtpInvalid) as refused:
            await identity.sign_in(runtime, phone(), code, View.CONSUMER)
        assert refused.value.attempts_left == 0


async def test_the_last_attempt_may_be_the_right_one(runtime: Runtime) -> None:
    number = phone()
    await identity.request_otp(runtime, number, View.CONSUMER)
    code = code_sent(runtime, number)
    for left in (4, 3, 2, 1):
        with pytest.raises(OtpInvalid) as refused:
            await identity.sign_in(runtime, number, wrong(code, left), View.CONSUMER)
        assert refused.value.attempts_left == left
    assert await identity.sign_in(runtime, number, f" {code} ", View.CONSUMER)


async def test_of_two_that_refresh_at_once_never_both_go_on(runtime: Runtime) -> None:
    """However often both repeat themselves, there is one refresh token that works, and one line of access."""
    for _ in range(5):
        session = await sign_in(runtime, phone(), View.CONSUMER)
        lines = [session.refresh_token] * 2
        for _ in range(3):
            results = await asyncio.gather(
                *(identity.refresh_session(runtime, token) for token in lines for _ in range(2)),
                return_exceptions=True,
            )
            lines = [result.refresh_token for result in results if isinstance(result, identity.Session)]
            assert len(set(lines)) == 1


async def test_a_refresh_during_sign_out_does_not_survive_it(runtime: Runtime) -> None:
    for _ in range(5):
        session = await sign_in(runtime, phone(), View.CONSUMER)
        authenticator = Authenticator(runtime.database, runtime.keys)
        who = await authenticator.principal(session.access_token)
        refreshed, _ = await asyncio.gather(
            identity.refresh_session(runtime, session.refresh_token),
            identity.sign_out(runtime, who),
            return_exceptions=True,
        )
        if isinstance(refreshed, identity.Session):
            with pytest.raises(Unauthenticated):
                await authenticator.principal(refreshed.access_token)
            with pytest.raises(SessionInvalid):
                await identity.refresh_session(runtime, refreshed.refresh_token)


async def test_an_answer_that_was_under_way_during_sign_out_is_not_remembered(runtime: Runtime) -> None:
    session = await sign_in(runtime, phone(), View.CONSUMER)
    authenticator = Authenticator(runtime.database, runtime.keys)
    who = await authenticator.principal(session.access_token)
    await asyncio.gather(
        identity.sign_out(runtime, who),
        *(Authenticator.principal(authenticator, session.access_token) for _ in range(5)),
        return_exceptions=True,
    )
    with pytest.raises(Unauthenticated):
        await authenticator.principal(session.access_token)


async def test_granting_while_the_same_role_is_revoked_leaves_one_clear_answer(world: World) -> None:
    store, number = await world.store(), phone()
    for _ in range(15):
        grant = await identity.grant_store_role(world.runtime, world.admin, store, number, GrantRole.STORE_CLERK)
        results = await asyncio.gather(
            *(
                identity.grant_store_role(world.runtime, world.admin, store, number, GrantRole.STORE_CLERK)
                for _ in range(4)
            ),
            identity.revoke_grant(world.runtime, world.admin, grant.id),
            *(
                identity.grant_store_role(world.runtime, world.admin, store, number, GrantRole.STORE_CLERK)
                for _ in range(4)
            ),
        )
        assert all(result.id for result in results)
        live = [g for g in (await identity.staff(world.runtime, [store]))[store] if g.revoked_at is None]
        assert len(live) <= 1


async def test_expired_one_time_codes_do_not_make_a_phone_wait(runtime: Runtime) -> None:
    number = phone()
    await identity.request_otp(runtime, number, View.CONSUMER)
    past = wall_now() - runtime.settings.otp_resend_after
    await runtime.database.execute("UPDATE one_time_code SET created_at = $2 WHERE phone = $1", number, past)
    assert await identity.request_otp(runtime, number, View.RIDER)
