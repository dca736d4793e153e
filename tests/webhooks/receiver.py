"""A partner's server, on good and on bad days."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from standardwebhooks import Webhook

from tests.patience import PATIENCE

Day = Callable[["Receiver", asyncio.StreamWriter], Awaitable[None]]
"""What it does with a request that it has read."""


@dataclass
class Received:
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def content(self) -> Any:
        return orjson.loads(self.body)

    def verified(self, secret: str) -> Any:
        """The content, if the reference implementation finds the signature good."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """Answers each request as ``days`` say, one day after the other, and then as ``day`` does."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    days: list[Day] = field(default_factory=list)
    day: Day | None = None
    connections: int = 0
    open: int = 0
    most_open: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def types(self) -> list[str]:
        return [each.content["type"] for each in self.received]

    async def until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = head.split("\r\n")[1:-2]
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers["content-length"]))
                self.received.append(Received(headers, body))
                self.open += 1
                self.most_open = max(self.most_open, self.open)
                self.changed.set()
                day = self.days.pop(0) if self.days else (self.day or status(204))
                try:
                    await day(self, writer)
                    await writer.drain()
                finally:
                    self.open -= 1
        writer.close()


@asynccontextmanager
async def receiving(day: Day | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver(day=day)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.close()


def status(code: int, body: bytes = b"", *headers: str) -> Day:
    async def day(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {code} X", f"content-length: {len(body)}", *headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    return day


def raw(answer: bytes) -> Day:
    """Says this and hangs up."""

    async def day(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    return day


async def silence(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
    """Says nothing until the test lets go."""
    await receiver.released.wait()
    writer.close()


def then_silence(answer: bytes) -> Day:
    async def day(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await receiver.released.wait()
        writer.close()

    return day


async def flood(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
    """A body without an end."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x" * 65536)
        await writer.drain()
