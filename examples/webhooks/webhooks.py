"""Whether a webhook is ours: for servers in Python, with the standard library alone.

The signature is that of https://www.standardwebhooks.com; its libraries do the same.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

TOLERANCE = 300
"""Seconds that a request may be old, or that clocks may differ: an old one may be somebody's recording."""


class NotOurs(Exception):
    """Answer with status 400 and do nothing."""


def verified(secret: str, headers: Mapping[str, str], body: bytes, now: float | None = None) -> dict[str, Any]:
    """The content of a webhook. ``headers`` by lower-case name; ``body`` as it came, not decoded and written again.

    Raises NotOurs.
    """
    try:
        id, timestamp, signatures = (headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        age = (time.time() if now is None else now) - int(timestamp)
    except (KeyError, ValueError):
        raise NotOurs("a header is missing or wrong") from None
    if abs(age) > TOLERANCE:
        raise NotOurs("it is too old, or a clock is wrong")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.digest(key, b"%b.%b.%b" % (id.encode(), timestamp.encode(), body), "sha256"))
    # During a rotation there are two, separated by a space.
    for signature in signatures.split():
        version, _, value = signature.partition(",")
        if version == "v1" and hmac.compare_digest(value.encode(), expected):
            return json.loads(body)
    raise NotOurs("no signature is by this secret")
