"""Many operations over one WebSocket, as a test follows them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from tests.api.city import City
from tests.api.follower import PATIENCE


@dataclass
class Told:
    """What one operation was told. ``ended``: "complete" or the errors."""

    values: list[Any] = field(default_factory=list)
    ended: Any = None


@dataclass
class Socket:
    """``closed``: close code and reason, once it is."""

    ws: aiohttp.ClientWebSocketResponse
    operations: dict[str, Told] = field(default_factory=dict)
    pongs: list[Any] = field(default_factory=list)
    closed: tuple[int | None, str] | None = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def subscribe(self, id: str, query: str, **variables: Any) -> Told:
        """Start an operation and wait for its first answer or its end."""
        told = self.operations[id] = Told()
        await self.ws.send_json({"id": id, "type": "subscribe", "payload": {"query": query, "variables": variables}})
        await self.until(lambda: told.values or told.ended)
        return told

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE), self.changed:
            await self.changed.wait_for(condition)

    async def end(self, id: str) -> Any:
        await self.until(lambda: self.operations[id].ended)
        return self.operations[id].ended

    async def close_code(self) -> tuple[int | None, str]:
        await self.until(lambda: self.closed)
        assert self.closed is not None
        return self.closed

    async def read(self) -> None:
        reason = ""
        try:
            while True:
                message = await self.ws.receive()
                if message.type is aiohttp.WSMsgType.CLOSE:
                    reason = message.extra
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return
                told = orjson.loads(message.data)
                async with self.changed:
                    await self._take(told)
                    self.changed.notify_all()
        finally:
            async with self.changed:
                self.closed = (self.ws.close_code, reason or "")
                self.changed.notify_all()

    async def _take(self, told: dict[str, Any]) -> None:
        operation = self.operations.get(told.get("id", ""))
        match told["type"]:
            case "ping":
                await self.ws.send_json({"type": "pong"})
            case "pong":
                self.pongs.append(told.get("payload"))
            case "next" if operation is not None:
                assert "errors" not in told["payload"], told
                operation.values.extend(told["payload"]["data"].values())
            case "complete" if operation is not None:
                operation.ended = "complete"
            case "error" if operation is not None:
                operation.ended = [error["extensions"] for error in told["payload"]]


@asynccontextmanager
async def open_socket(city: City, token: str | None) -> AsyncIterator[Socket]:
    async with city.http.ws_connect(f"{city.url}/graphql", protocols=("graphql-transport-ws",), autoclose=False) as ws:
        await ws.send_json({"type": "connection_init", "payload": {"token": token} if token else {}})
        first = await ws.receive_json(timeout=PATIENCE)
        assert first["type"] == "connection_ack", first
        socket = Socket(ws)
        reading = asyncio.create_task(socket.read())
        try:
            yield socket
        finally:
            reading.cancel()
