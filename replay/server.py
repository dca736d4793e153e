"""A server of our own to play against: a child process with a temporary folder, watched while it works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Final, Self

import aiohttp
import psutil

START_WITHIN: Final = 90.0
STOP_WITHIN: Final = 20.0


class ServerFailed(Exception):
    """The child process did not start; the text has the end of its log."""


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds and bytes of memory (at most) while the day was played; the database counts only as our child."""

    server_cpu: float
    database_cpu: float
    client_cpu: float
    server_rss: int


class Watch:
    """Measures a server process, its children (the database) and this process between :meth:`begin` and :meth:`end`."""

    def __init__(self, pid: int) -> None:
        self._server = psutil.Process(pid)
        self._me = psutil.Process()
        self._rss = 0
        self._before = (0.0, 0.0, 0.0)
        self._children: dict[int, float] = {}
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._before = self._measure()
        self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            with contextlib.suppress(psutil.Error):
                self._rss = max(self._rss, self._server.memory_info().rss)
                self._measure()
            await asyncio.sleep(0.5)

    def _measure(self) -> tuple[float, float, float]:
        for child in self._server.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                # Connections come and go with their processes: what each used last is kept.
                self._children[child.pid] = _cpu(child)
        return _cpu(self._server), sum(self._children.values()), _cpu(self._me)

    def end(self) -> Usage | None:
        """The usage since :meth:`begin`, None when the server is gone."""
        if self._task is not None:
            self._task.cancel()
        try:
            after = self._measure()
        except psutil.Error:
            return None
        server, database, client = (b - a for a, b in zip(self._before, after, strict=True))
        return Usage(server, database, client, self._rss)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


class OwnServer:
    """``python -m cli run --no-demo`` with an empty city, ended and cleaned up with the block.

    :param speed: domain seconds per real second.
    :param environment: further ``HUTONG_*`` variables, for example a database to use.
    """

    def __init__(self, speed: float, environment: dict[str, str] | None = None) -> None:
        self._speed = speed
        self._environment = environment or {}
        self._folder = Path(tempfile.mkdtemp(prefix="hutong-replay-"))
        # The database runs as another user when we are root, and must get through to its own folder.
        self._folder.chmod(0o711)
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> Path:
        return self._folder / "server.log"

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def ended(self) -> None:
        """Wait until the process is gone, whoever ended it."""
        assert self._process is not None
        await self._process.wait()

    async def _start(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HUTONG_")}
        environment = {
            **inherited,
            "HUTONG_DATA_DIR": str(self._folder / "data"),
            "HUTONG_LOG_LEVEL": "warning",
            "HUTONG_SANDBOX": "true",
            **self._environment,
        }
        root = Path(__file__).parent.parent.absolute()
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cli", "run", "--no-demo", "--port", str(port), "--speed", f"{self._speed:g}",
                cwd=root,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_WITHIN
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
            while True:
                if self._process.returncode is not None or time.monotonic() > deadline:
                    raise ServerFailed(f"the server did not start:\n{self.log.read_text(errors='replace')[-3000:]}")
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                    async with http.get(f"{self.url}/readyz") as response:
                        if response.status == 200:
                            return
                await asyncio.sleep(0.1)

    async def _stop(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_WITHIN):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def free_port() -> int:
    """A port that nobody uses, and that the system gives to nobody who asks for any: nor will it soon be used."""
    try:
        above = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        above = 32_768
    choose = SystemRandom()
    while True:
        # Where there is nothing below, one of the system's choice has to do.
        port = choose.randrange(max(above - 12_000, 1_100), above) if above > 2_000 else 0
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
