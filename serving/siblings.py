"""What the workers of one port do for each other: metrics of all, whichever of them is asked, and :mod:`serving.relay`.

Every worker offers its own at a Unix socket in the folder that the parent made. prometheus_client's way for several
processes, files that all of them map, keeps the gauges of killed processes and knows neither callbacks nor the
figures of a process; here a worker's series carry the label ``worker`` and end with it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp

from core import logs
from gateway import metrics
from serving.relay import Relay, socket_of

_TIMEOUT: Final = 2.0

log = logs.get(__name__)


class Siblings:
    """The workers of one parent, from worker ``index`` of ``count``."""

    def __init__(self, folder: Path, index: int, count: int) -> None:
        self._folder = folder
        self._index = index
        self._count = count
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._answer, self._path(self._index))

    async def exposition(self) -> bytes:
        """Metrics of all workers; one that does not answer only has ``hutong_worker_up`` 0."""
        others = [index for index in range(self._count) if index != self._index]
        texts = await asyncio.gather(*(self._ask(index) for index in others))
        answers = {self._index: self._own(), **dict(zip(others, texts, strict=True))}
        up = "".join(f'hutong_worker_up{{worker="{i}"}} {int(bool(text))}\n' for i, text in sorted(answers.items()))
        head = "# HELP hutong_worker_up Whether the worker answered.\n# TYPE hutong_worker_up gauge\n" + up
        return metrics.merge([head, *answers.values()]).encode()

    @property
    def path(self) -> Path:
        """Where this worker serves its siblings."""
        return socket_of(self._folder, self._index)

    def relay(self, app: ASGIApp, max_body: int) -> ASGIApp:
        """``app``, with requests that belong to a sibling handed on to it."""
        return Relay(app, self._folder, self._index, self._count, max_body)

    def _path(self, index: int) -> Path:
        return self._folder / f"metrics-{index}.sock"

    def _own(self) -> str:
        return metrics.exposition(worker=str(self._index)).decode()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            writer.write(self._own().encode())
            await writer.drain()
        writer.close()

    async def _ask(self, index: int) -> str:
        try:
            async with asyncio.timeout(_TIMEOUT):
                reader, writer = await asyncio.open_unix_connection(self._path(index))
                try:
                    return (await reader.read()).decode()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            log.warning("worker.metrics_missing", worker=index, error=repr(error))
            return ""
