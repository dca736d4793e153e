from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.merchants.world import World, make_world
from tests.support import make_runtime


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with make_runtime(database_url) as runtime:
        yield await make_world(runtime)
