"""One process that listens and serves, and how it stops.

uvicorn closes every connection in the same moment when it is told to end. Here, after SIGTERM or SIGINT:

1. ``/readyz`` says no, and everything still works for ``drain_pause``: load balancers notice and send nobody new;
2. the process stops listening, and ends its event streams and sockets in random order over ``drain_window``;
3. requests that are running get ``shutdown_grace`` to finish; then jobs, signals and the database are closed.

A second signal hurries: no pause, no window. A third one leaves at once. SIGUSR2 leaves out the first step, for a
process that has been replaced behind the same port: whoever is sent to the port is served by others.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from app import Program, create_app, own_metrics
from core import logs
from core.settings import Settings
from serving.siblings import Siblings
from subscriptions.direct import DirectHttpProtocol, DirectWebSocketProtocol

USER_TIMEOUT_MS: Final = 30_000
"""A peer that takes nothing for this long is cut off by the kernel; no protocol of uvicorn does it."""
SEND_BUFFER: Final = 64 * 1024
BACKLOG: Final = 2048
MAX_MESSAGE: Final = 1_000_000
_LAST_REQUESTS: Final = 0.2
"""Seconds in which a connection that was accepted last can send its request."""
STARTUP_FAILED: Final = 3
"""Exit status of a process that could not start."""

log = logs.get(__name__)


class Server(uvicorn.Server):
    """Serves ``app`` and drains it. ``started`` runs when it listens, ``stopping`` first of all that ends it.

    ``private`` is the path of a Unix socket to serve at, too.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        app: Starlette,
        settings: Settings,
        started: Callable[[], Awaitable[None]],
        stopping: Callable[[], Awaitable[None]],
        private: Path | None = None,
    ) -> None:
        super().__init__(config)
        self._private = private
        self._app = app
        self._on_started = started
        self._on_stopping = stopping
        self._hurry = asyncio.Event()
        self._replaced = self._drained = False
        self._signals = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pause = settings.drain_pause.total_seconds()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        if hasattr(signal, "SIGUSR2"):
            self._loop.add_signal_handler(signal.SIGUSR2, self._leave_to_others)
        await super().startup(sockets)
        if self._private is not None:
            self.servers.append(await self._loop.create_unix_server(self._protocol, str(self._private)))
        if not self.should_exit:
            await self._on_started()

    def _protocol(self) -> asyncio.Protocol:
        made: type[Any] = self.config.http_protocol_class
        return made(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn would raise the signal again after an orderly end; ending in order is what it asked for.
        self.should_exit = True
        self._signals += 1
        if self._signals > 1:
            if self._drained or self._hurry.is_set() or self._loop is None:
                self.force_exit = True
            else:
                self._loop.call_soon_threadsafe(self._hurry.set)

    def _leave_to_others(self) -> None:
        self._replaced = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._on_stopping()
        program: Program | None = getattr(self._app.state, "program", None)
        if program is not None:
            log.info("draining", sockets=program.sockets.sockets)
            if not self._replaced:
                program.draining = True
                await self._unless_hurried(asyncio.sleep(self._pause))
            for server in self.servers:
                server.close()
            await self._unless_hurried(asyncio.sleep(_LAST_REQUESTS))
            await self._unless_hurried(program.disconnect())
            if self._hurry.is_set():
                await program.disconnect(timedelta(0))
        self._drained = True
        await super().shutdown(sockets)

    async def _unless_hurried(self, work: Coroutine[Any, Any, None]) -> None:
        """Await ``work``, or break it off when a second signal comes."""
        job, hurried = asyncio.create_task(work), asyncio.create_task(self._hurry.wait())
        await asyncio.wait([job, hurried], return_when=asyncio.FIRST_COMPLETED)
        job.cancel()
        hurried.cancel()
        await asyncio.wait([job])
        if not job.cancelled() and (error := job.exception()) is not None:
            log.error("drain.failed", error=repr(error))


async def nothing() -> None:
    """Does nothing."""


def serve(
    settings: Settings,
    listener: socket.socket,
    *,
    prepare: Callable[[Program], Awaitable[None]] | None = None,
    started: Callable[[], Awaitable[None]] = nothing,
    stopping: Callable[[], Awaitable[None]] = nothing,
    siblings: Siblings | None = None,
) -> bool:
    """Serve on ``listener`` until a signal ends it; False when the program could not start.

    ``prepare`` as for :func:`app.create_app`. ``siblings``: this is one of several workers, and their parent has seen
    to the database.
    """
    allow_many_files()
    exposition = own_metrics if siblings is None else siblings.exposition
    program = create_app(settings, prepare, migrated=siblings is not None, exposition=exposition)
    application = program if siblings is None else siblings.relay(program, settings.max_body)
    private = None if siblings is None else siblings.path
    began: list[bool] = []

    async def listening() -> None:
        began.append(True)
        # What start-up made (schema, contracts, documents) stays for good: the collector need not walk it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        await started()

    async def main() -> None:
        config = uvicorn_config(settings, application)
        await Server(config, program, settings, listening, stopping, private).serve([listener])

    try:
        run_async(main())
    except SystemExit as end:
        if end.code != STARTUP_FAILED:
            raise
    return bool(began)


def uvicorn_config(settings: Settings, application: ASGIApp) -> uvicorn.Config:
    """How this program uses uvicorn."""
    return uvicorn.Config(
        application,
        loop="auto" if sys.platform == "win32" else "uvloop",
        http=DirectHttpProtocol,
        ws=DirectWebSocketProtocol,
        ws_per_message_deflate=False,
        # Terminals are kept alive by messages of graphql-transport-ws: uvicorn's own pings end with 1011, after
        # which clients do not come back.
        ws_ping_interval=None,
        ws_max_size=MAX_MESSAGE,
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # gateway.edge believes those of the settings only
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace.total_seconds())),
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    listener = bind(host, port)
    try:
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that has the address and does not listen yet. Raises OSError.

    ``shared``: other sockets of this user may have the address too.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Accepted connections inherit these.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        bound.setblocking(False)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def base_url(host: str, port: int) -> str:
    """Where a client on this machine finds a server that listens there."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def allow_many_files() -> None:
    """Take all the open files that the system grants: every socket is one."""
    if os.name == "posix":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            # macOS calls its limit unlimited and then refuses it.
            wanted = hard if hard != resource.RLIM_INFINITY else 65_536
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def run_async(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` on uvloop where there is one."""
    if sys.platform == "win32":
        asyncio.run(main)
    else:
        import uvloop

        uvloop.run(main)


def on_end_signals(call: Callable[[], object]) -> None:
    """Have ``call`` called in the running loop at every SIGINT and SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, call)
