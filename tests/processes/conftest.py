"""Installations of several processes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.engines import PostgresServer, Reaper, temporary_folder
from tests.processes.installation import Caller, Installation, installation, until


@pytest.fixture(scope="module")
async def pair(reaper: Reaper, postgres_server: PostgresServer, redis_url: str) -> AsyncIterator[Installation]:
    """Two workers that the tests of a module share."""
    url = await postgres_server.create()
    async with installation(
        reaper, temporary_folder(reaper), database_url=url, redis_url=redis_url, worker_timeout="10"
    ) as made:
        yield made

    await postgres_server.drop(url)


@pytest.fixture
async def caller(pair: Installation) -> AsyncIterator[Caller]:
    """Asks the pair, of which both serve."""
    caller = Caller(pair.url)
    await until(caller.all_up)
    yield caller
    await caller.close()
