from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.delivery.world import Work, at_work
from tests.ordering.world import FakeProvider, build
from tests.support import make_runtime


@pytest.fixture
async def work(database_url: str) -> AsyncIterator[Work]:
    """A rider on the way to a store."""
    provider = FakeProvider()
    async with make_runtime(database_url, payments=provider) as runtime:
        yield await at_work(await build(runtime, provider))
