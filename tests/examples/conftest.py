"""One running city for the typed clients and the mini-program."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.api.city import City, running_city
from tests.engines import PostgresServer


@pytest.fixture(scope="session")
async def city(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[City]:
    url = await postgres_server.create()
    async with running_city(url, tmp_path_factory.mktemp("city")) as city:
        yield city
    await postgres_server.drop(url)
