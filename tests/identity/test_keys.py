"""Keys are announced, sign, and are retired while tokens of theirs are about and several processes run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from jose import jwt
from starlette.applications import Starlette
from typer.testing import CliRunner

from auth import http
from auth import keys as auth_keys
from auth.keys import KeyInUse, SigningKeys
from auth.principals import View
from auth.tokens import Reason, Unauthenticated, Verifier, issue
from cli import cli
from core.clock import wall_now
from services.runtime import Runtime

LIFE = timedelta(minutes=15)
NOW = timedelta(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the wall clock of keys and tokens forward."""

    def move(by: timedelta) -> None:
        def now() -> Any:
            return wall_now() + by

        monkeypatch.setattr("auth.keys.wall_now", now)
        monkeypatch.setattr("auth.tokens.wall_now", now)

    return move


def token(keys: SigningKeys) -> str:
    return issue(keys, View.CONSUMER, uuid4(), uuid4(), LIFE)[0]


def kid(of: str) -> str:
    return jwt.get_unverified_header(of)["kid"]


def always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth_keys, "LOOK_EVERY", 0.0)


def test_a_new_key_is_known_everywhere_before_it_signs(path: Path, later: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    always_look(monkeypatch)
    operator, running = SigningKeys.open(path), SigningKeys.open(path)
    old = running.signing.kid
    new = operator.rotate().kid
    assert new != old
    assert [key["kid"] for key in running.jwks()["keys"]] == [old, new]
    assert kid(token(running)) == kid(token(operator)) == kid(token(SigningKeys.open(path))) == old
    later(timedelta(minutes=11))
    assert kid(token(running)) == kid(token(operator)) == new


def test_processes_look_every_few_seconds_and_at_once_for_a_key_they_do_not_know(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth_keys, "LOOK_EVERY", 3600.0)
    operator, running = SigningKeys.open(path), SigningKeys.open(path)
    verifier = Verifier(running)
    operator.rotate(announced=NOW)
    assert verifier.verify(token(operator))
    assert running.signing.kid == operator.signing.kid
    operator.rotate(announced=NOW)
    assert running.signing.kid != operator.signing.kid, "it has just looked"
    always_look(monkeypatch)
    assert running.signing.kid == operator.signing.kid


def test_a_key_is_retired_when_its_last_token_has_expired(
    path: Path, later: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    always_look(monkeypatch)
    operator, verifier = SigningKeys.open(path), Verifier(SigningKeys.open(path))
    old = operator.signing.kid
    with pytest.raises(KeyInUse):
        operator.retire(old, LIFE)
    operator.rotate()
    with pytest.raises(KeyInUse) as refused:
        operator.retire(old, LIFE)
    assert refused.value.until is None, "the new one does not sign yet"
    later(timedelta(minutes=11))
    last = token(operator)
    assert verifier.verify(last)
    with pytest.raises(KeyInUse) as refused:
        operator.retire(old, LIFE)
    assert refused.value.until is not None
    later(timedelta(minutes=26))
    operator.retire(old, LIFE)
    assert [key.kid for key in SigningKeys.open(path).all] == [operator.signing.kid]
    assert kid(token(operator)) != old
    with pytest.raises(LookupError):
        operator.retire(old, LIFE)


def test_a_compromised_key_goes_at_once_with_its_tokens(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    always_look(monkeypatch)
    operator, verifier = SigningKeys.open(path), Verifier(SigningKeys.open(path))
    stolen = operator.signing.kid
    bad = token(operator)
    assert verifier.verify(bad)
    with pytest.raises(KeyInUse):
        operator.retire(stolen, LIFE, compromised=True)
    operator.rotate()
    with pytest.raises(KeyInUse):
        operator.retire(stolen, LIFE, compromised=True)
    operator.rotate(announced=NOW)
    good = token(operator)
    operator.retire(stolen, LIFE, compromised=True)
    with pytest.raises(Unauthenticated) as refused:
        verifier.verify(bad)
    assert refused.value.reason is Reason.INVALID
    assert verifier.verify(good)


def test_a_key_that_was_never_to_sign_may_go(path: Path) -> None:
    keys = SigningKeys.open(path)
    unwanted = keys.rotate().kid
    keys.retire(unwanted, LIFE)
    assert [key.kid for key in keys.all] == [keys.signing.kid]


def test_operators_at_the_same_time_lose_no_key(path: Path) -> None:
    operators = [SigningKeys.open(path) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        added = [key.kid for key in pool.map(lambda keys: keys.rotate(), operators)]
    assert len(set(added)) == 6
    assert {key.kid for key in SigningKeys.open(path).all} >= set(added)
    assert list(path.parent.iterdir()) == [path]


def test_a_file_of_before_keys_were_announced_still_counts(path: Path) -> None:
    keys = SigningKeys.open(path)
    content = orjson.loads(path.read_bytes())
    for entry in content["keys"]:
        del entry["signs_from"]
    path.write_bytes(orjson.dumps(content))
    assert SigningKeys.open(path).signing.kid == keys.signing.kid


async def test_anybody_can_verify_our_tokens_by_the_published_keys(runtime: Runtime, path: Path) -> None:
    keys = SigningKeys.open(path)
    keys.rotate()
    app = Starlette(routes=http.routes(runtime, keys))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hutong.test") as client:
        answer = await client.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/jwk-set+json"
    assert answer.headers["cache-control"] == "public, max-age=300"
    published = answer.json()
    assert all(set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"} for key in published["keys"]), (
        "no private part"
    )
    assert len(published["keys"]) == 2
    claims = jwt.decode(token(keys), published, algorithms=["ES256"], audience="consumer", issuer="hutong")
    assert claims["aud"] == "consumer"


def test_the_operator_rotates_and_retires(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUTONG_JWT_KEYS_FILE", str(path))
    running = SigningKeys.open(path)
    old = running.signing.kid

    def operator(*arguments: str, fails: bool = False) -> str:
        result = CliRunner().invoke(cli, ["keys", *arguments])
        assert bool(result.exit_code) == fails, result.output
        return result.output

    assert f"{old}  signs" in operator("list")
    assert "rotate first" in operator("retire", old, fails=True)
    new = operator("rotate").split()[0]
    assert f"{new}  announced" in operator("list")
    operator("retire", new)
    new = operator("rotate", "--after", "0").split()[0]
    assert f"{old}  verifies" in operator("list")
    assert "retire it after" in operator("retire", old, fails=True)
    operator("retire", old, "--compromised")
    assert "There is no key" in operator("retire", old, fails=True)
    assert [key.kid for key in SigningKeys.open(path).all] == [new]
