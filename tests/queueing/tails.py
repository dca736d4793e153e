"""A stand-in for the process's feed follower: the test decides when it looks at a feed again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

from subscriptions.updates import Update, UpdateKind
from tests.support import NOON


class SteppedTails:
    """``follow_latest`` reads a snapshot at first and then after every ``step``; ``seen`` keeps what was asked for."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[None] = asyncio.Queue()
        self.seen: list[tuple[str, str | None, timedelta]] = []

    def step(self) -> None:
        self.steps.put_nowait(None)

    async def follow_latest(
        self,
        feed: str,
        after: str | None,
        snapshot: Callable[[], Awaitable[tuple[int, Any]]],
        min_interval: timedelta = timedelta(0),
    ) -> AsyncIterator[Update[Any]]:
        self.seen.append((feed, after, min_interval))
        kind = UpdateKind.SNAPSHOT
        while True:
            offset, value = await snapshot()
            yield Update(f"e.{offset:x}", kind, None, NOON, None, value)
            kind = UpdateKind.EVENT
            await self.steps.get()
