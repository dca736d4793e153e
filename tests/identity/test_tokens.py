"""Access tokens and the keys behind them: what is accepted, what is not, rotation, and the file they live in."""

from __future__ import annotations

import base64
import json
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from jose import jwt

from auth import tokens
from auth.keys import ALGORITHM, SigningKeys
from auth.principals import View
from auth.tokens import Reason, Unauthenticated, Verifier, issue, verify
from core.settings import Settings

KEYS = SigningKeys.generate()
HOUR = timedelta(hours=1)
NOW = timedelta(0)


def reason(token: str, keys: SigningKeys = KEYS) -> Reason:
    with pytest.raises(Unauthenticated) as refusal:
        verify(keys, token)
    return refusal.value.reason


def forged(keys: SigningKeys = KEYS, *, headers: dict[str, Any] | None = None, **changes: Any) -> str:
    """A token that is ours but for ``changes``; a claim set to None is left out."""
    claims: dict[str, Any] = {
        "iss": "hutong", "aud": "consumer", "sub": str(uuid4()), "sid": str(uuid4()),
        "iat": int(time.time()), "exp": int(time.time()) + 60,
    }  # fmt: skip
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    header = {"kid": keys.signing.kid} | (headers or {})
    return jwt.encode(claims, keys.signing.private, algorithm=ALGORITHM, headers=header)


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    return ".".join([*parts, signature])


@pytest.mark.parametrize("view", list(View))
def test_a_token_says_who_and_for_which_view(view: View) -> None:
    subject, session = uuid4(), uuid4()
    begun = int(time.time())
    token, expires_at = issue(KEYS, view, subject, session, HOUR)
    ended = time.time()
    claims = verify(KEYS, token)
    assert (claims.view, claims.subject, claims.session_id) == (view, subject, session)
    assert claims.expires_at == expires_at.timestamp()
    assert begun <= claims.expires_at - 3600 <= ended + 1
    header = jwt.get_unverified_header(token)
    assert (header["alg"], header["kid"]) == ("ES256", KEYS.signing.kid)
    assert jwt.get_unverified_claims(token)["aud"] == view.value.lower()


def test_tokens_are_all_different() -> None:
    subject = uuid4()
    assert len({issue(KEYS, View.ADMIN, subject, None, HOUR)[0] for _ in range(20)}) == 20


def test_an_expired_token_says_so() -> None:
    assert reason(issue(KEYS, View.CONSUMER, uuid4(), uuid4(), timedelta(seconds=-1))[0]) is Reason.EXPIRED
    assert verify(KEYS, forged())


@pytest.mark.parametrize("audience", ["CONSUMER", "somebody", "", ["consumer"], 5])
def test_an_audience_that_is_no_view_is_refused(audience: object) -> None:
    assert reason(forged(aud=audience)) in (Reason.WRONG_AUDIENCE, Reason.INVALID)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody"}, {"iss": None}, {"aud": None}, {"sub": None}, {"sub": "no uuid"}, {"exp": None},
        {"exp": "tomorrow"}, {"sid": "no uuid"}, {"sid": 5},
    ],
)  # fmt: skip
def test_claims_that_are_missing_or_wrong_are_invalid(changes: dict[str, Any]) -> None:
    assert reason(forged(**changes)) is Reason.INVALID


def test_the_algorithm_is_not_the_tokens_choice() -> None:
    claims = jwt.get_unverified_claims(forged())
    kid = KEYS.signing.kid
    for algorithm in ("none", "None", "NONE", "HS256", "RS256", ""):
        assert reason(unsigned({"alg": algorithm, "typ": "JWT", "kid": kid}, claims)) is Reason.INVALID
        assert reason(unsigned({"alg": algorithm, "typ": "JWT", "kid": kid}, claims, "AAAA")) is Reason.INVALID
    # The public key as the secret of an HMAC is the classic confusion.
    shared = jwt.encode(claims, "not a pem", algorithm="HS256", headers={"kid": kid})
    assert reason(shared) is Reason.INVALID


def test_a_token_of_other_keys_is_invalid() -> None:
    others = SigningKeys.generate()
    token = issue(others, View.ADMIN, uuid4(), uuid4(), HOUR)[0]
    assert reason(token) is Reason.INVALID
    assert reason(forged(others, headers={"kid": KEYS.signing.kid})) is Reason.INVALID


def test_changed_and_mutilated_tokens_are_invalid() -> None:
    token, _ = issue(KEYS, View.CONSUMER, uuid4(), uuid4(), HOUR)
    header, claims, signature = token.split(".")
    other = issue(KEYS, View.ADMIN, uuid4(), uuid4(), HOUR)[0].split(".")
    for bad in (
        "", ".", "..", "a.b.c", header, f"{header}.{claims}", f"{header}.{claims}.", f"{header}.{other[1]}.{signature}",
        f"{header}.{claims}.{other[2]}", token + "x" * 5000, "é" * 30, f"{token}.{token}", "\0", "null", "1.2.3",
    ):  # fmt: skip
        assert reason(bad) is Reason.INVALID, bad


def test_rotation_logs_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys, elsewhere = SigningKeys.open(path), SigningKeys.open(path)
    before, _ = issue(keys, View.CONSUMER, uuid4(), uuid4(), HOUR)
    old = keys.signing
    assert keys.rotate(announced=NOW) is keys.signing
    assert keys.signing.kid != old.kid
    after, _ = issue(keys, View.CONSUMER, uuid4(), uuid4(), HOUR)
    assert jwt.get_unverified_header(after)["kid"] == keys.signing.kid
    # In this process, in another that runs since before the rotation, and in a later one.
    for process in (keys, elsewhere, SigningKeys.open(path)):
        assert verify(process, before)
        assert verify(process, after)
    assert elsewhere.signing.kid == keys.signing.kid
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_keys_file_is_made_once_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "keys.json"
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(SigningKeys.open, [path] * 8))
    assert len({keys.signing.kid for keys in opened}) == 1
    assert len({keys.derive("x") for keys in opened}) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    settings = Settings(jwt_keys_file=path)
    assert SigningKeys.of(settings).signing.kid == opened[0].signing.kid
    assert SigningKeys.of(Settings(data_dir=path.parent)).signing.kid == opened[0].signing.kid


def test_derived_secrets_differ_by_purpose_and_installation() -> None:
    other = SigningKeys.generate()
    assert len({KEYS.derive("a"), KEYS.derive("b"), other.derive("a")}) == 3
    assert KEYS.derive("a") == KEYS.derive("a")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"keys": [], "secret": "00"}', '{"keys": [{}], "secret": "00"}'])
def test_a_damaged_keys_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"keys\.json"):
        SigningKeys.open(path)


def test_the_verifier_remembers_but_not_beyond_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counting(keys: SigningKeys, token: str) -> tokens.Claims:
        calls.append(token)
        return verify(keys, token)

    monkeypatch.setattr(tokens, "verify", counting)
    verifier = Verifier(KEYS, remembered=2)
    first, expires_at = issue(KEYS, View.CONSUMER, uuid4(), uuid4(), HOUR)
    for _ in range(5):
        verifier.verify(first)
    assert calls == [first]
    with pytest.raises(Unauthenticated) as refusal:
        verifier.verify(first, View.RIDER)
    assert refusal.value.reason is Reason.WRONG_AUDIENCE
    for _ in range(2):
        verifier.verify(issue(KEYS, View.CONSUMER, uuid4(), uuid4(), HOUR)[0])
    verifier.verify(first)
    assert calls.count(first) == 2  # it had made room
    monkeypatch.setattr(tokens, "wall_now", lambda: expires_at)
    with pytest.raises(Unauthenticated) as refusal:
        verifier.verify(first)
    assert refusal.value.reason is Reason.EXPIRED
