"""Several server processes on one port: the parent that starts, watches, replaces and ends them.

The parent reserves the port and serves nobody. Each worker opens a listening socket of its own on it
(``SO_REUSEPORT``) when it is ready, so the kernel spreads connections evenly and sends none to a worker that is
starting, draining or dead.

Parent and worker hold the ends of a socket pair. The worker says on it that it is ready, and then that it is alive;
when the parent is gone, however it ended, the worker reads the end of it and drains.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from core import logs
from serving.server import STARTUP_FAILED, on_end_signals

log = logs.get(__name__)

READY: Final = b"r"
ALIVE: Final = b"."
BEAT: Final = 1.0
"""Seconds between two signs of life of a worker."""
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_START_WITHIN: Final = 120.0


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that the parent waits."""

    silence: float = 30.0
    """For a sign of life, before a worker is killed as stuck."""
    stop: float = 60.0
    """For workers to drain, before they are killed."""
    settled: float = 30.0
    """That a worker has to live for the pause before its replacement to be short again."""


class Worker:
    """One child process."""

    def __init__(self, index: int, process: asyncio.subprocess.Process, line: socket.socket) -> None:
        self.index = index
        self.process = process
        self.ready = asyncio.Event()
        self._line = line

    @property
    def pid(self) -> int:
        return self.process.pid

    @classmethod
    async def start(cls, index: int, command: Sequence[str], environment: Mapping[str, str]) -> Worker:
        """Start ``command``, which is told its index and its end of the line."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    f"--index={index}",
                    f"--line={theirs.fileno()}",
                    env=environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    # Ctrl-C is for the parent, which then ends its workers in good order.
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        return cls(index, process, ours)

    async def watch(self, silence: float) -> int:
        """Wait for the end of the process, killing it when it is stuck; its exit status, negative for a signal."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                async with asyncio.timeout(silence if self.ready.is_set() else _START_WITHIN):
                    said = await loop.sock_recv(self._line, 4096)
                if not said:
                    break
                if READY in said:
                    self.ready.set()
        except TimeoutError:
            log.error("worker.stuck", worker=self.index, pid=self.pid)
            self.signal(signal.SIGKILL)
        except OSError:
            pass  # a killed process may leave a reset behind
        finally:
            self._line.close()
        return await self.process.wait()

    def signal(self, number: int) -> None:
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)


class Workers:
    """Keeps ``count`` workers running until told to end.

    :param command: starts a worker; ``--index`` and ``--line`` are added.
    """

    def __init__(
        self, command: Sequence[str], count: int, environment: Mapping[str, str], patience: Patience | None = None
    ) -> None:
        self._command = command
        self._indices = range(count)
        self._environment = environment
        self._patience = patience or Patience()
        self._alive: dict[Worker, asyncio.Task[int]] = {}
        self._serving: dict[int, Worker] = {}
        self._replace = [asyncio.Event() for _ in self._indices]
        self._stopping = asyncio.Event()
        self._signals = 0
        self._all_ready = asyncio.Event()
        self._restarting: asyncio.Task[None] | None = None

    async def run(self, ready: Callable[[], None] = lambda: None) -> int:
        """Until SIGTERM or SIGINT; SIGHUP replaces the workers one by one. Returns the exit status.

        ``ready`` is called when all workers are. When they cannot start in the first place, this ends.
        """
        on_end_signals(self.end)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.restart)
        slots = [asyncio.create_task(self._keep(index)) for index in self._indices]
        all_ready, stopping = asyncio.create_task(self._all_ready.wait()), asyncio.create_task(self._stopping.wait())
        await asyncio.wait([all_ready, stopping, *slots], return_when=asyncio.FIRST_COMPLETED)
        if all_ready.done():
            ready()
            await asyncio.wait([stopping, *slots], return_when=asyncio.FIRST_COMPLETED)
        failed = not self._stopping.is_set()
        self._stopping.set()
        for task in (all_ready, self._restarting):
            if task is not None:
                task.cancel()
        self._signal(signal.SIGTERM)
        if self._alive:
            _, late = await asyncio.wait(self._alive.values(), timeout=self._patience.stop)
            if late:
                log.error("workers.killed", workers=[worker.index for worker in self._alive])
                self._signal(signal.SIGKILL)
        for task in [*self._alive.values(), *slots]:
            await task
        return STARTUP_FAILED if failed else 0

    def end(self) -> None:
        """Drain all workers; the second time hurry them, the third time kill them."""
        self._signals += 1
        self._stopping.set()
        if self._signals > 1:
            self._signal(signal.SIGTERM if self._signals == 2 else signal.SIGKILL)

    def restart(self) -> None:
        """Replace the workers one by one; each new one serves before the old one drains."""
        if self._restarting is None or self._restarting.done():
            self._restarting = asyncio.create_task(self._replace_all())

    def _signal(self, number: int) -> None:
        for worker in self._alive:
            worker.signal(number)

    async def _replace_all(self) -> None:
        for index, old in sorted(self._serving.items()):
            watching = self._alive.get(old)
            self._replace[index].set()
            if watching is not None:
                await asyncio.wait([watching])

    async def _keep(self, index: int) -> None:
        """Keep one worker of that index running. Ends before the others only when none has ever started."""
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            began = loop.time()
            worker = await Worker.start(index, self._command, self._environment)
            ended = self._alive[worker] = asyncio.create_task(worker.watch(self._patience.silence))
            ended.add_done_callback(lambda _, worker=worker: self._alive.pop(worker))
            if self._stopping.is_set():
                worker.signal(signal.SIGTERM)
            if await _first(ended, worker.ready):
                log.info("worker.ready", worker=index, pid=worker.pid)
                self._replace[index].clear()
                if (old := self._serving.get(index)) is not None:
                    old.signal(signal.SIGUSR2)
                self._serving[index] = worker
                if len(self._serving) == len(self._indices):
                    self._all_ready.set()
                if await _first(ended, self._replace[index]):
                    continue
                del self._serving[index]
            if self._stopping.is_set():
                return
            status = await ended
            if status == STARTUP_FAILED and not self._all_ready.is_set():
                return
            if loop.time() - began > self._patience.settled:
                pause = _FIRST_PAUSE
            log.error("worker.died", worker=index, pid=worker.pid, status=status, again_in=pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


async def _first(task: asyncio.Task[int], event: asyncio.Event) -> bool:
    """Wait for either; whether it was ``event``."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return not task.done()


class Line:
    """A worker's end of the socket pair with its parent."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._task: asyncio.Task[None] | None = None

    def hold(self) -> None:
        """Say that this worker is ready, and from now on that it lives; drain it when the parent is gone."""
        self._task = asyncio.create_task(self._hold())

    async def _hold(self) -> None:
        loop = asyncio.get_running_loop()
        orphaned = asyncio.create_task(loop.sock_recv(self._socket, 1))
        with suppress(OSError):
            await loop.sock_sendall(self._socket, READY)
            while not (await asyncio.wait([orphaned], timeout=BEAT))[0]:
                await loop.sock_sendall(self._socket, ALIVE)
        log.error("worker.orphaned")
        os.kill(os.getpid(), signal.SIGTERM)
