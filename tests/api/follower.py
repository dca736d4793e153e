"""A subscription over a WebSocket, as a test follows it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from tests.patience import PATIENCE


@dataclass
class Follower:
    """Everything that a subscription was told. ``ended``: "complete", or the errors."""

    ws: aiohttp.ClientWebSocketResponse
    values: list[Any] = field(default_factory=list)
    ended: Any = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self) -> None:
        try:
            async for message in self.ws:
                told = orjson.loads(message.data)
                if told["type"] == "ping":
                    await self.ws.send_json({"type": "pong"})
                    continue
                async with self.changed:
                    self._take(told)
                    self.changed.notify_all()
        finally:
            async with self.changed:
                self.ended = self.ended or f"closed {self.ws.close_code}"
                self.changed.notify_all()

    def _take(self, told: dict[str, Any]) -> None:
        match told["type"]:
            case "next":
                payload = told["payload"]
                if payload.get("errors"):
                    self.ended = payload["errors"]
                else:
                    self.values.extend(payload["data"].values())
            case "complete":
                self.ended = "complete"
            case "error":
                self.ended = told["payload"]

    async def until(self, wanted: Any) -> Any:
        """The first value, told already or to come, for which ``wanted(value)`` is true."""

        def found() -> Any:
            return next((value for value in self.values if wanted(value)), None)

        async with asyncio.timeout(PATIENCE), self.changed:
            await self.changed.wait_for(lambda: found() is not None or self.ended is not None)
        assert found() is not None, (self.ended, self.values)
        return found()

    async def latest(self, wanted: Any) -> None:
        """Wait until ``wanted(value)`` is true of the last value so far."""
        async with asyncio.timeout(PATIENCE), self.changed:
            await self.changed.wait_for(lambda: (self.values and wanted(self.values[-1])) or self.ended is not None)
        assert self.values and wanted(self.values[-1]), (self.ended, self.values)

    async def count(self, number: int) -> None:
        """Wait for at least that many values."""
        async with asyncio.timeout(PATIENCE), self.changed:
            await self.changed.wait_for(lambda: len(self.values) >= number or self.ended is not None)
        assert len(self.values) >= number, (self.ended, self.values)

    async def end(self) -> Any:
        """How it ended: wait for that."""
        async with asyncio.timeout(PATIENCE), self.changed:
            await self.changed.wait_for(lambda: self.ended is not None)
        return self.ended
