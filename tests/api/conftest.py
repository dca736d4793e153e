"""One running city per module."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.city import City, running_city


@pytest.fixture(scope="module")
async def city(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[City]:
    folder: Path = tmp_path_factory.mktemp("city")
    async with running_city(module_database_url, folder) as city:
        yield city
