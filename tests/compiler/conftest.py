"""What is there before the tests of a module is no business of theirs, and what they leave is of nobody else's."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator

import pytest

from tests.compiler.oracle import EARLIER


@pytest.fixture(scope="module", autouse=True)
async def own_garbage() -> AsyncIterator[None]:
    """Garbage is collected by the oracle, between runs: graphql-core forgets coroutines below what failed, and
    whatever ran when these were found was warned of them."""
    EARLIER.update(asyncio.all_tasks())
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        gc.collect()
    gc.enable()
    gc.unfreeze()
