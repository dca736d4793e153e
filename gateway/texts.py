"""Texts of automatically persisted documents, shared by the processes of one installation through Redis.

Apollo's protocol (automatic persisted queries): a client sends the hash, and the text only to a server that does not
know it. Without this every process, and every process that starts, would ask again.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final, cast

from clients.redis import AWAY, connect
from core import logs

log = logs.get(__name__)

PREFIX: Final = "hutong:document:"
KEPT: Final = timedelta(days=1)
"""From the last time that somebody asked for it; what is asked for every day stays."""
LONGEST: Final = 50_000
"""Characters of a text that is shared: Redis holds at most as many as its memory policy lets it."""
_PATIENCE: Final = 0.25


class RedisTexts:
    """Never fails: without Redis the client is asked for its text."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url, _PATIENCE, text=True)
        self._writing: set[asyncio.Task[None]] = set()

    async def get(self, id: str) -> str | None:
        """The text whose hash is ``id``, unless it is unknown or Redis is away."""
        try:
            return cast("str | None", await self._redis.getex(PREFIX + id, ex=KEPT))
        except AWAY as error:
            log.warning("texts.unreadable", error=repr(error))
            return None

    def put(self, id: str, text: str) -> None:
        """Share a text, in the background."""
        if len(text) <= LONGEST:
            task = asyncio.ensure_future(self._write(id, text))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    async def _write(self, id: str, text: str) -> None:
        try:
            await self._redis.set(PREFIX + id, text, ex=KEPT)
        except AWAY as error:
            log.warning("texts.unwritable", error=repr(error))

    async def close(self) -> None:
        await asyncio.gather(*self._writing, return_exceptions=True)
        await self._redis.aclose()
