"""The program as an operator runs it: ``python -m cli serve`` with its workers, in processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psutil

from replay.server import free_port
from tests.engines import Reaper

PATIENCE = 120.0
"""Seconds after which what a test waits for will not come any more; processes start slowly on a busy machine."""
QUICK = {
    "HUTONG_SANDBOX": "true",
    "HUTONG_DRAIN_PAUSE": "0.3",
    "HUTONG_DRAIN_WINDOW": "0.5",
    "HUTONG_SHUTDOWN_GRACE": "2",
}


def clean_environment(settings: dict[str, str]) -> dict[str, str]:
    """This process's environment with those ``HUTONG_*`` variables and no others."""
    return {k: v for k, v in os.environ.items() if not k.startswith("HUTONG_")} | settings


async def until(condition: Callable[[], Any | Awaitable[Any]], patience: float = PATIENCE) -> Any:
    """What ``condition`` gives as soon as that is true."""
    async with asyncio.timeout(patience):
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.02)


class Installation:
    """A parent process, its workers, and what they logged."""

    def __init__(self, reaper: Reaper, folder: Path, workers: int, settings: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "program.log"
        self._reaper = reaper
        self._environment = clean_environment(
            QUICK
            | {"HUTONG_DATA_DIR": str(folder / "data"), "HUTONG_PORT": str(self.port), "HUTONG_WORKERS": str(workers)}
            | settings
        )
        self._count = workers
        self.parent: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.parent = subprocess.Popen(
                [sys.executable, "-m", "cli", "serve"],
                cwd=Path(__file__).parents[2],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._reaper.tell("pid", self.parent.pid)

    async def ready(self) -> None:
        """Wait until all workers serve."""
        if self._count == 1:
            await until(lambda: self._alive() and self.logged("serving"))
        else:
            await until(lambda: self._alive() and self.logged("all workers serve"))

    def _alive(self) -> bool:
        assert self.parent is not None
        assert self.parent.poll() is None, self.log.read_text()[-4000:]
        return True

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Log lines with that event."""
        found: list[dict[str, Any]] = []
        for line in self.log.read_bytes().splitlines():
            with suppress(orjson.JSONDecodeError):
                entry = orjson.loads(line)
                if entry.get("event") == event:
                    found.append(entry)
        return found

    @property
    def workers(self) -> list[psutil.Process]:
        """The worker processes, those that start or drain included."""
        assert self.parent is not None
        found: list[psutil.Process] = []
        with suppress(psutil.Error):
            for child in psutil.Process(self.parent.pid).children():
                with suppress(psutil.Error):
                    if "serve-worker" in child.cmdline():
                        found.append(child)
        return found

    def signal(self, number: int) -> None:
        assert self.parent is not None
        self.parent.send_signal(number)

    async def ended(self, patience: float = PATIENCE) -> int:
        """Exit status of the parent."""
        assert self.parent is not None
        status = await asyncio.to_thread(self.parent.wait, patience)
        self._reaper.tell("gone", self.parent.pid)
        return status

    async def close(self) -> None:
        """End whatever is left."""
        if self.parent is None or self.parent.poll() is not None:
            return
        workers = self.workers
        self.signal(signal.SIGTERM)
        try:
            await self.ended(60)
        except subprocess.TimeoutExpired:
            for process in [self.parent, *workers]:
                with suppress(psutil.Error):
                    process.kill()
            await self.ended()


@asynccontextmanager
async def installation(reaper: Reaper, folder: Path, workers: int = 2, **settings: str) -> AsyncIterator[Installation]:
    """A running installation; ``settings`` are ``HUTONG_*`` variables in lower case without the prefix."""
    made = Installation(reaper, folder, workers, {f"HUTONG_{k.upper()}": v for k, v in settings.items()})
    made.start()
    try:
        await made.ready()
        yield made
    finally:
        await made.close()


class Caller:
    """Asks over HTTP, each time over a new connection, so that any worker may answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))

    async def close(self) -> None:
        await self.http.close()

    async def get(self, path: str) -> tuple[int, str]:
        async with self.http.get(f"{self.url}{path}") as response:
            return response.status, await response.text()

    async def status(self, path: str) -> int | None:
        """None when there is no answer."""
        try:
            return (await self.get(path))[0]
        except aiohttp.ClientError:
            return None

    async def graphql(self, query: str, token: str | None = None, **variables: Any) -> Any:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        body = {"query": query, "variables": variables}
        async with self.http.post(f"{self.url}/graphql", json=body, headers=headers) as response:
            return orjson.loads(await response.read())

    async def metric(self, name: str) -> dict[str, float]:
        """The series of a metric by their labels."""
        _, text = await self.get("/metrics")
        series = (line.rpartition(" ") for line in text.splitlines() if line.startswith(f"{name}{{"))
        return {labels.removeprefix(name): float(value) for labels, _, value in series}

    async def all_up(self) -> bool:
        """Whether all workers answer."""
        try:
            return set((await self.metric("hutong_worker_up")).values()) == {1}
        except aiohttp.ClientError:
            return False

    async def socket(self) -> aiohttp.ClientWebSocketResponse:
        """An acknowledged socket of nobody."""
        ws = await self.http.ws_connect(f"{self.url}/graphql", protocols=("graphql-transport-ws",), autoclose=False)
        await ws.send_json({"type": "connection_init"})
        assert (await ws.receive_json())["type"] == "connection_ack"
        return ws
