from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.runtime import Runtime
from tests.identity.world import World, build
from tests.support import make_runtime


@pytest.fixture(scope="module")
async def runtime(module_database_url: str) -> AsyncIterator[Runtime]:
    """Shared by the tests of a module: each uses phones of its own."""
    async with make_runtime(module_database_url) as runtime:
        yield runtime


@pytest.fixture
async def world(runtime: Runtime) -> World:
    return await build(runtime)
