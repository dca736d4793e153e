"""A TCP proxy on a fixed port, whose connections can be cut and whose target may change."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Proxy:
    def __init__(self) -> None:
        self.target = 0
        self.opened = 0
        self._server: asyncio.Server | None = None
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """End every connection as a broken line does, in the middle of whatever it was doing."""
        for pair in list(self._pairs):
            for writer in pair:
                writer.transport.abort()

    async def close(self) -> None:
        self.cut()
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner, outer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self.opened += 1
        pair = (writer, outer)
        self._pairs.add(pair)
        both = [asyncio.create_task(self._pump(reader, outer)), asyncio.create_task(self._pump(inner, writer))]
        self._tasks.update(both)
        try:
            await asyncio.wait(both)
        finally:
            self._pairs.discard(pair)
            self._tasks.difference_update(both)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
