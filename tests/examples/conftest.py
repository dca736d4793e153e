"""One running city per module: a program that ends takes the models' connections of its process with it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.api.city import City, running_city


@pytest.fixture(scope="module")
async def city(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[City]:
    async with running_city(module_database_url, tmp_path_factory.mktemp("city")) as city:
        yield city
