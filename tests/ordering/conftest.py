from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.ordering.world import City, FakeProvider, build
from tests.support import make_runtime


@pytest.fixture
async def city(database_url: str) -> AsyncIterator[City]:
    provider = FakeProvider()
    async with make_runtime(database_url, payments=provider) as runtime:
        yield await build(runtime, provider)
