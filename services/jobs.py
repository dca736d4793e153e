"""Deadlines and retries: runs the jobs that units of work enqueue, on PgQueuer.

A job is enqueued in the transaction of the change that needs it and runs at least once after the commit, so what it
does must be repeatable. A failed one is retried with growing pauses and, when it keeps failing, kept for the operator
(``status = 'failed'`` in the queue table).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeAlias, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
import orjson
from pgqueuer import PgQueuer
from pgqueuer.core.executors import DatabaseRetryEntrypointExecutor, EntrypointExecutorParameters
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job, Schedule
from prometheus_client import Counter

from core import logs
from models.database import SESSION
from services import devices, files, identity, payments, queueing, retention, webhooks
from services.delivery import dispatch
from services.ordering import actions as ordering
from services.runtime import Runtime
from subscriptions import feeds

log = logs.get(__name__)

Handler: TypeAlias = Callable[[Runtime, dict[str, Any]], Awaitable[None]]

ATTEMPTS: Final = 12
FIRST_PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(minutes=5)
CONCURRENCY: Final = 10
WEBHOOK_CONCURRENCY: Final = 64
"""Partners' servers that are sent to at a time: these jobs wait for others and do little themselves."""
WEBHOOK_SWEEP: Final = 15.0
"""Seconds between two looks for webhooks that are overdue."""
RECONNECT_PAUSES: Final = (0.2, 1.0, 3.0, 10.0)
RETENTION_SCHEDULE: Final = "20 3 * * *"
SWEEP_SCHEDULE: Final = "* * * * *"
FILES_SCHEDULE: Final = "10 * * * *"

# The gateway's registry exports it.
RUNS: Final = Counter("hutong_jobs_total", "Runs of jobs, by outcome.", ["job", "outcome"], registry=None)


class ConnectionLost(Exception):
    """The connection that the queue is read through ended."""


def all_jobs() -> dict[str, Handler]:
    """The handlers of all contexts by job name. Raises ValueError when two have the same name."""
    merged: dict[str, Handler] = {}
    for module in (ordering, payments, dispatch, queueing, devices, identity, webhooks):
        own: Mapping[str, Handler] = module.JOBS
        if twice := merged.keys() & own.keys():
            raise ValueError(f"{module.__name__} handles again: {', '.join(sorted(twice))}")
        merged.update(own)
    return merged


@dataclass(frozen=True, slots=True)
class Lane:
    """Jobs that do not get into the way of others: ``concurrency`` at a time, over a connection of their own."""

    jobs: Mapping[str, Handler]
    concurrency: int
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while jobs are being taken."""


class JobRunner:
    """Runs jobs until stopped; reconnects when the database goes away.

    Webhooks have a lane of their own, so that slow servers of partners do not delay an order's deadlines.
    """

    def __init__(
        self, runtime: Runtime, jobs: Mapping[str, Handler] | None = None, *, first_pause: timedelta = FIRST_PAUSE
    ) -> None:
        self._runtime = runtime
        own = {name: job for name, job in all_jobs().items() if name not in webhooks.JOBS} if jobs is None else jobs
        self._main = Lane(own, CONCURRENCY)
        self._webhooks = Lane(webhooks.JOBS, WEBHOOK_CONCURRENCY) if jobs is None else None
        self._first_pause = first_pause
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.connected = self._main.connected
        """Set while jobs are being taken."""

    def start(self) -> None:
        """Run in a task of this loop."""
        self._task = asyncio.create_task(self.run(), name="jobs")

    async def stop(self) -> None:
        """Take no more jobs, give the running ones the time of ``shutdown_grace``, then break them off."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def run(self) -> None:
        """Take and run jobs until :meth:`stop`."""
        if self._webhooks is None:
            await self._keep(self._main)
            return
        relaying = asyncio.create_task(self._relay_webhooks(), name="webhooks")
        try:
            await asyncio.gather(self._keep(self._main), self._keep(self._webhooks))
        finally:
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)

    async def _keep(self, lane: Lane) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                await self._serve(lane)
                return
            except Exception as error:
                failures = 0 if lane.connected.is_set() else failures + 1
                lane.connected.clear()
                pause = RECONNECT_PAUSES[min(failures, len(RECONNECT_PAUSES) - 1)]
                log.warning("jobs.interrupted", error=f"{type(error).__name__}: {error}", again_in=pause)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)

    async def _serve(self, lane: Lane) -> None:
        connection = await cast(Any, asyncpg).connect(
            self._runtime.database.url, timeout=10, server_settings=SESSION | {"application_name": "hutong jobs"}
        )
        lost = asyncio.Event()

        def ended(_connection: object) -> None:
            lost.set()

        connection.add_termination_listener(ended)
        try:
            await self._take_jobs(lane, connection, lost)
        finally:
            connection.terminate()

    async def _take_jobs(self, lane: Lane, connection: Any, lost: asyncio.Event) -> None:
        queue = PgQueuer(AsyncpgDriver(connection))
        for name, handler in lane.jobs.items():
            queue.entrypoint(name, on_failure="hold", executor_factory=self._executor)(self._entrypoint(name, handler))
        if lane is self._main:
            queue.schedule("feeds.forget", RETENTION_SCHEDULE)(self._forget_events)
            queue.schedule("records.forget", RETENTION_SCHEDULE)(self._forget_records)
            queue.schedule("files.sweep", FILES_SCHEDULE)(self._sweep_files)
            queue.schedule("dispatch.sweep", SWEEP_SCHEDULE)(self._sweep)
        running = asyncio.create_task(
            queue.run(
                batch_size=lane.concurrency // 2,
                max_concurrent_tasks=lane.concurrency,
                shutdown_on_listener_failure=True,
            )
        )
        signals = [asyncio.create_task(lost.wait()), asyncio.create_task(self._stopping.wait())]
        lane.connected.set()
        try:
            await asyncio.wait([running, *signals], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
            if self._stopping.is_set() and not lost.is_set():
                queue.shutdown.set()
                grace = self._runtime.settings.shutdown_grace.total_seconds()
                await asyncio.wait([running], timeout=grace)
            elif not self._stopping.is_set():
                raise ConnectionLost("the connection to the database ended")
        finally:
            for task in (running, *signals):
                task.cancel()
            await asyncio.gather(running, *signals, return_exceptions=True)
            if self._stopping.is_set():
                lane.connected.clear()

    def _executor(self, parameters: EntrypointExecutorParameters) -> DatabaseRetryEntrypointExecutor:
        return DatabaseRetryEntrypointExecutor(
            parameters, max_attempts=ATTEMPTS, initial_delay=self._first_pause, max_delay=LONGEST_PAUSE
        )

    def _entrypoint(self, name: str, handler: Handler) -> Callable[[Job], Awaitable[None]]:
        async def run(job: Job) -> None:
            try:
                await handler(self._runtime, orjson.loads(job.payload or b"{}"))
            except Exception:
                RUNS.labels(name, "failed").inc()
                log.exception("job.failed", job=name, id=int(job.id), attempt=job.attempts + 1, of=ATTEMPTS + 1)
                raise
            RUNS.labels(name, "done").inc()

        return run

    async def _relay_webhooks(self) -> None:
        """Look at the event log again and again. Positions are in the database: what fails is done the next time."""
        interval, swept = self._runtime.settings.webhook_interval.total_seconds(), 0.0
        while True:
            try:
                await webhooks.relay(self._runtime)
                if time.monotonic() - swept >= WEBHOOK_SWEEP:
                    await webhooks.sweep(self._runtime)
                    swept = time.monotonic()
            except Exception as error:
                log.warning("webhooks.not_relayed", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(interval)

    async def _sweep(self, schedule: Schedule) -> None:
        await dispatch.sweep(self._runtime)

    async def _forget_events(self, schedule: Schedule) -> None:
        """Drop what the event log need not hold any longer."""
        cutoff = self._runtime.clock.now() - self._runtime.settings.feed_retention
        dropped = await feeds.forget_before(self._runtime.database, cutoff)
        log.info("feeds.forgotten", events=dropped)

    async def _sweep_files(self, schedule: Schedule) -> None:
        await files.sweep(self._runtime)

    async def _forget_records(self, schedule: Schedule) -> None:
        log.info("records.forgotten", **await retention.forget(self._runtime))
