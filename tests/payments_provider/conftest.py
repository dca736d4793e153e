from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.payments_provider.world import Receiver, World, provider


@pytest.fixture
async def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def world(database_url: str, receiver: Receiver) -> AsyncIterator[World]:
    async with provider(database_url, receiver) as world:
        yield world
