"""The samples that verify webhooks take ours and nothing else, as the reference implementation does."""

from __future__ import annotations

import base64
import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from core.clock import wall_now
from core.ids import uuid7
from services.webhooks import messages
from tests import node
from tests.patience import PATIENCE
from tests.support import TEST_KEYS

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("webhooks.mjs")
BODY = '{"type":"ping","data":{"text":"面条 €"}}'.encode()

Headers = Callable[[], dict[str, str]]

OLD, NEW, OTHER = uuid7(), uuid7(), uuid7()


def message(*secrets: Any, age: int = 0, **changed: str | None) -> dict[str, str]:
    """Headers of :data:`BODY` as signed by ``secrets``, with some ``changed`` or left out."""
    timestamp = int(wall_now().timestamp()) - age
    headers = {
        "id": "whd_1",
        "timestamp": str(timestamp),
        "signature": messages.signature(TEST_KEYS, secrets, "whd_1", timestamp, BODY),
    }
    return {f"webhook-{name}": value for name, value in (headers | changed).items() if value is not None}


def in_version_2() -> dict[str, str]:
    headers = message(NEW)
    return headers | {"webhook-signature": headers["webhook-signature"].replace("v1,", "v2,")}


CASES: list[tuple[str, Headers, bytes, bool]] = [
    ("ours", lambda: message(NEW), BODY, True),
    ("during a rotation", lambda: message(OLD, NEW), BODY, True),
    ("some minutes old", lambda: message(NEW, age=240), BODY, True),
    ("another secret", lambda: message(OTHER), BODY, False),
    ("another body", lambda: message(NEW), BODY.replace(b"ping", b"pong"), False),
    ("another id", lambda: message(NEW, id="whd_2"), BODY, False),
    ("another instant", lambda: message(NEW, timestamp=str(int(wall_now().timestamp()) - 7)), BODY, False),
    ("too old", lambda: message(NEW, age=400), BODY, False),
    ("from the future", lambda: message(NEW, age=-400), BODY, False),
    ("no id", lambda: message(NEW, id=None), BODY, False),
    ("no instant", lambda: message(NEW, timestamp=None), BODY, False),
    ("an instant that is none", lambda: message(NEW, timestamp="today"), BODY, False),
    ("no signature", lambda: message(NEW, signature=None), BODY, False),
    ("an empty signature", lambda: message(NEW, signature="v1,"), BODY, False),
    ("another version", in_version_2, BODY, False),
]


@pytest.fixture(scope="module")
def sample() -> Any:
    spec = importlib.util.spec_from_file_location("webhooks_sample", ROOT / "examples/webhooks/webhooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def secret() -> str:
    return messages.secret_text(TEST_KEYS, NEW)


@pytest.mark.parametrize(("headers", "body", "good"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_python(sample: Any, secret: str, headers: Headers, body: bytes, good: bool) -> None:
    try:
        content = sample.verified(secret, headers(), body)
    except sample.NotOurs:
        content = None
    assert content == (orjson.loads(body) if good else None)


@pytest.mark.parametrize(("headers", "body", "good"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_the_reference(secret: str, headers: Headers, body: bytes, good: bool) -> None:
    try:
        content = Webhook(secret).verify(body, headers())
    except WebhookVerificationError:
        content = None
    assert content == (orjson.loads(body) if good else None)


def test_javascript(secret: str) -> None:
    asked = [
        {"secret": secret, "headers": headers(), "body": base64.b64encode(body).decode()}
        for _, headers, body, _ in CASES
    ]
    command = [*node.node_command(), str(SCRIPT)]
    done = subprocess.run(command, input=orjson.dumps(asked), capture_output=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr.decode()
    wanted = {name: orjson.loads(body) if good else None for name, _, body, good in CASES}
    assert dict(zip(wanted, orjson.loads(done.stdout), strict=True)) == wanted
