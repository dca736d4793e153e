"""A TCP proxy that mistreats the connections through it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

CHUNK = 16_384


class Line:
    """One connection through the proxy."""

    def __init__(self, number: int, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.number = number
        self.client = client
        self.server = server
        self.forwarded = 0
        self.cut_at: int | None = None
        """Bytes, of both directions, after which the connection is cut in the middle of whatever it carries."""
        self.flowing = asyncio.Event()
        self.flowing.set()

    def cut(self) -> None:
        """End it at once, without a farewell: both sides see a reset."""
        self.flowing.set()
        for writer in (self.client, self.server):
            pseudo = writer.get_extra_info("socket")
            if pseudo is not None:
                with suppress(OSError):
                    pseudo.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy:
    """Forwards to a port of this machine. ``opened`` is told of each new line."""

    def __init__(self, target: int, opened: Callable[[Line], None] = lambda line: None) -> None:
        self._target = target
        self.opened = opened
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._swallowing = False
        self.refusing = False
        """New connections are reset at once."""
        self.lines: set[Line] = set()
        self.total = 0
        self.cuts = 0

    @property
    def port(self) -> int:
        assert self._server is not None
        return self._server.sockets[0].getsockname()[1]

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut_all(self) -> None:
        for line in list(self.lines):
            line.cut()

    def swallow(self, on: bool) -> None:
        """Keep all lines open, accept new ones, and let nothing through any more; or let it flow again."""
        self._swallowing = on
        for line in self.lines:
            (line.flowing.clear if on else line.flowing.set)()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._carry(reader, writer)
        except asyncio.CancelledError:
            pass  # asyncio's server would complain about the end of its task
        finally:
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.refusing:
                raise ConnectionRefusedError
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self.total += 1
        line = Line(self.total, writer, back)
        if self._swallowing:
            line.flowing.clear()
        self.lines.add(line)
        self.opened(line)
        ways = [
            asyncio.create_task(self._pump(line, reader, back)),
            asyncio.create_task(self._pump(line, there, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.lines.discard(line)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, back):
                end.close()

    async def _pump(self, line: Line, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK):
                await line.flowing.wait()
                if line.cut_at is not None and line.forwarded + len(data) >= line.cut_at:
                    sink.write(data[: line.cut_at - line.forwarded])
                    await sink.drain()
                    self.cuts += 1
                    line.cut()
                    return
                line.forwarded += len(data)
                sink.write(data)
                await sink.drain()


@asynccontextmanager
async def proxied(target: int, opened: Callable[[Line], None] = lambda line: None) -> AsyncIterator[Proxy]:
    """A running proxy."""
    proxy = Proxy(target, opened)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
