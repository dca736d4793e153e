"""Jobs: enqueued with the change, run after its commit, retried on failure, through lost connections."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from core.clock import SystemClock
from core.ids import uuid7
from services.errors import QueueClosed
from services.jobs import JobRunner
from services.runtime import Runtime
from services.unit import transaction
from tests.patience import PATIENCE
from tests.support import make_runtime


class Recorder:
    """Handlers that tell what ran."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, float]] = []
        self.changed = asyncio.Event()
        self.fail_first: dict[str, int] = {}
        self.gate: asyncio.Event | None = None

    async def __call__(self, runtime: Runtime, payload: dict[str, Any]) -> None:
        name = payload["name"]
        self.runs.append((name, time.monotonic()))
        self.changed.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.fail_first.get(name, 0) > 0:
            self.fail_first[name] -= 1
            raise RuntimeError("not now")

    @property
    def counts(self) -> Counter[str]:
        return Counter(name for name, _ in self.runs)

    async def until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def running(url: str, recorder: Recorder) -> AsyncIterator[tuple[Runtime, JobRunner]]:
    async with make_runtime(url, clock=SystemClock()) as runtime:
        runner = JobRunner(runtime, {"record": recorder}, first_pause=timedelta(milliseconds=50))
        runner.start()
        try:
            await asyncio.wait_for(runner.connected.wait(), PATIENCE)
            yield runtime, runner
        finally:
            await runner.stop()


async def enqueue(runtime: Runtime, name: str, delay: float = 0) -> None:
    async with transaction(runtime) as unit:
        unit.enqueue("record", {"name": name}, unit.now + timedelta(seconds=delay) if delay else None)


async def test_a_job_runs_once_when_its_transaction_commits_and_never_when_it_rolls_back(database_url: str) -> None:
    recorder = Recorder()
    async with running(database_url, recorder) as (runtime, _):
        with pytest.raises(QueueClosed):
            async with transaction(runtime) as unit:
                unit.enqueue("record", {"name": "rolled back"})
                raise QueueClosed(store=uuid7())
        await enqueue(runtime, "committed")
        await recorder.until(lambda: recorder.counts["committed"] == 1)
        # Jobs are taken in order: when this one has run, the others had their chance.
        await enqueue(runtime, "last")
        await recorder.until(lambda: recorder.counts["last"] == 1)
    assert recorder.counts == {"committed": 1, "last": 1}


async def test_a_failing_job_is_retried_until_it_succeeds(database_url: str) -> None:
    recorder = Recorder()
    recorder.fail_first["flaky"] = 2
    async with running(database_url, recorder) as (runtime, _):
        await enqueue(runtime, "flaky")
        await recorder.until(lambda: recorder.counts["flaky"] == 3)
        await enqueue(runtime, "last")
        await recorder.until(lambda: recorder.counts["last"] == 1)
    assert recorder.counts["flaky"] == 3
    first, second, third = (at for name, at in recorder.runs if name == "flaky")
    assert second - first >= 0.05
    assert third - second >= 0.1  # pauses grow


async def test_a_deferred_job_runs_soon_after_it_is_due(database_url: str) -> None:
    recorder = Recorder()
    async with running(database_url, recorder) as (runtime, _):
        # By the clock of the database, which says when a job is due.
        due = await runtime.database.fetchval("SELECT now() + interval '1.5 s'")
        await enqueue(runtime, "later", 1.5)
        await enqueue(runtime, "now")
        await recorder.until(lambda: recorder.counts["later"] == 1)
        assert await runtime.database.fetchval("SELECT now()") >= due
    assert recorder.counts == {"now": 1, "later": 1}


async def test_jobs_go_on_after_the_connection_was_lost(database_url: str) -> None:
    recorder = Recorder()
    async with running(database_url, recorder) as (runtime, runner):
        killed = await runtime.database.fetchval(
            """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE application_name = 'hutong jobs' AND datname = current_database()"""
        )
        assert killed == 1
        await enqueue(runtime, "after the loss")
        await recorder.until(lambda: recorder.counts["after the loss"] == 1)
        assert runner.connected.is_set()


async def test_stopping_lets_a_running_job_finish(database_url: str) -> None:
    recorder = Recorder()
    recorder.gate = asyncio.Event()
    async with running(database_url, recorder) as (runtime, runner):
        await enqueue(runtime, "slow")
        await recorder.until(lambda: recorder.counts["slow"] == 1)
        stopping = asyncio.create_task(runner.stop())
        recorder.gate.set()
        await asyncio.wait_for(stopping, PATIENCE)
        assert await runtime.database.fetchval("SELECT count(*) FROM pgqueuer") == 0
