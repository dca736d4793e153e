"""A city whose files are in a folder that the test looks into, and a shop in it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.city import City, running_city
from tests.files.world import (
    ITEMS,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
async def city(module_database_url: str, folder: Path) -> AsyncIterator[City]:
    async with running_city(module_database_url, folder, max_upload=2_000_000) as city:
        yield city


@pytest.fixture
async def shop(city: City) -> tuple[str, str]:
    """Owner's token and store."""
    token, store, _ = await city.shop()
    return token, store


def names(folder: Path, kind: str) -> set[str]:
    return set(os.listdir(folder / "files" / kind))


async def items(city: City, store: str) -> list[dict[str, Any]]:
    menu = (await city.do(city.tokens["consumer"], ITEMS, store=store))["menu"]
    return [item for category in menu for item in category["items"]]
