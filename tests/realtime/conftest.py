"""What tests of following feeds share."""

from __future__ import annotations

from typing import Any

import pytest

from models.database import Database
from subscriptions import feeds
from subscriptions import reader as log_reader
from tests.realtime.city import city
from tests.realtime.sockets import fresh, ready, shared, site

__all__ = ["city", "fresh", "ready", "shared", "site"]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of positions of the statements that read the log."""
    found: list[int] = []
    original = feeds.read_pages

    async def counted(database: Database, positions: Any, limit: int = 200) -> Any:
        found.append(len(positions))
        return await original(database, positions, limit)

    monkeypatch.setattr(log_reader.feeds, "read_pages", counted)
    return found
