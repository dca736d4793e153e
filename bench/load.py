"""A cheap HTTP/1.1 client: keep-alive connections that send one prepared request after the other."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
PATIENCE: Final = 30.0


def post(path: str, body: Any, token: str | None = None) -> bytes:
    """The bytes of a POST of ``body`` as JSON."""
    content = orjson.dumps(body)
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json", "accept: application/json"]
    if token is not None:
        lines.append(f"authorization: Bearer {token}")
    lines.append(f"content-length: {len(content)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the response is complete, until it is told to stop."""

    def __init__(self, next_request: Callable[[], bytes]) -> None:
        self._next_request = next_request
        self._held = bytearray()
        self._transport: asyncio.Transport | None = None
        self.count = 0
        self.stopping = False
        self.status = b""
        self.body = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._next_request())

    def data_received(self, data: bytes) -> None:
        self._held += data
        head = self._held.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(self._held, 0, head + 2)
        if length is None:
            raise ValueError("a response without Content-Length")
        end = head + 4 + int(length[1])
        if len(self._held) < end:
            return
        status = bytes(self._held[9:12])
        if self.count == 0 or status != self.status:
            self.status, self.body = status, bytes(self._held[head + 4 : end])
        self._held.clear()
        self.count += 1
        assert self._transport is not None
        if self.stopping or status != b"200":
            self._transport.close()
        else:
            self._transport.write(self._next_request())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def ask(port: int, request: bytes) -> Any:
    """The answer to one request."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: _Connection(lambda: request), "127.0.0.1", port)
    connection.stopping = True
    await asyncio.wait_for(connection.done, PATIENCE)
    assert connection.status == b"200", (connection.status, connection.body[:500])
    return orjson.loads(connection.body)


@dataclass(frozen=True, slots=True)
class Load:
    """What was answered in which time. ``body`` is one of the responses."""

    responses: int
    seconds: float
    body: bytes


async def load(port: int, next_request: Callable[[], bytes], connections: int, seconds: float) -> Load:
    """Have ``connections`` that each wait for one response before the next request, for ``seconds``."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    made = [
        (await loop.create_connection(lambda: _Connection(next_request), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    for connection in made:
        connection.stopping = True
    await asyncio.wait_for(asyncio.gather(*(connection.done for connection in made)), PATIENCE)
    bad = next((c for c in made if c.status != b"200"), None)
    assert bad is None, (bad and bad.status, bad and bad.body[:500])
    return Load(sum(c.count for c in made), time.perf_counter() - began, made[0].body)
