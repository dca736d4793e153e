"""When a delivery that failed is tried again, and when an endpoint is given a rest."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Final

RETRIES: Final = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""Pauses before the second and all further attempts, as the Standard Webhooks specification proposes: three days."""
JITTER: Final = 0.2
"""A pause is up to this share longer, so that what failed together does not come again together."""

PATIENCE: Final = 5
"""Failures in a row after which an endpoint gets no requests for a while."""
LONGEST_REST: Final = timedelta(minutes=5)
LONGEST_ASKED: Final = timedelta(hours=1)
"""What an endpoint that asks for a rest (``Retry-After``) gets at most."""


def pause(attempts: int) -> timedelta | None:
    """How long to wait after that many failed attempts; None: give up."""
    if attempts > len(RETRIES):
        return None
    return RETRIES[attempts - 1] * (1 + random.random() * JITTER)


def rest(failures: int, asked: int | None) -> timedelta | None:
    """For how long an endpoint that failed so often in a row, or that ``asked`` for some seconds, is left alone."""
    if asked:
        return min(timedelta(seconds=asked), LONGEST_ASKED)
    if failures < PATIENCE:
        return None
    return min(timedelta(seconds=2 ** min(failures - PATIENCE, 16)), LONGEST_REST)
