"""What goes wrong, when, in an order that a seed decides."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import orjson
import psutil
import redis.asyncio

from models.embedded import EmbeddedPostgres
from tests.engines import Reaper, RedisServer
from tests.processes.installation import Installation
from tests.proxy import Line, Proxy
from tests.soak.subscribers import NodeSubscribers, Subscriber


class Chaos:
    """Breaks one thing after the other. Everything works again when :meth:`run` returns."""

    def __init__(
        self,
        random: Random,
        reaper: Reaper,
        journal: Path,
        program: Installation,
        postgres: EmbeddedPostgres,
        redis_server: RedisServer,
        proxy: Proxy,
        subscribers: list[Subscriber],
        npm: NodeSubscribers,
        *,
        longest_pause: float = 4.0,
    ) -> None:
        self._random = random
        self._reaper = reaper
        self._journal = journal.open("ab")
        self._program = program
        self._postgres = postgres
        self._redis = redis_server
        self._proxy = proxy
        self._subscribers = subscribers
        self._npm = npm
        self._longest_pause = longest_pause
        self._began = time.monotonic()
        self.done: Counter[str] = Counter()

    @property
    def _acts(self) -> dict[Callable[[], Awaitable[str]], int]:
        return {
            self._kill_worker: 4,
            self._stop_worker: 1,
            self._replace_workers: 1,
            self._restart_redis: 2,
            self._away_redis: 2,
            self._kill_redis_clients: 2,
            self._freeze_redis: 1,
            self._freeze_postgres: 2,
            self._restart_postgres: 2,
            self._crash_postgres: 2,
            self._cut_connections: 4,
            self._pause_readers: 3,
            self._pause_npm: 2,
        }

    def opened(self, line: Line) -> None:
        """Some connections end at a random byte."""
        if self._random.random() < 0.5:
            line.cut_at = self._random.randint(200, 60_000)

    async def run(self, seconds: float) -> None:
        """Every act once, in random order, then more of them until the time is over."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        acts = self._acts
        first = list(acts)
        self._random.shuffle(first)
        while loop.time() < ends:
            act = first.pop() if first else self._random.choices(list(acts), list(acts.values()))[0]
            name = act.__name__.strip("_").replace("_", " ")
            began = time.monotonic()
            what = await act()
            self.done[name] += 1
            self._note(name, what, time.monotonic() - began)
            await asyncio.sleep(self._random.uniform(0.2, 1.2))

    def close(self) -> None:
        self._journal.close()

    def _note(self, name: str, what: str, took: float) -> None:
        at = time.monotonic() - self._began
        self._journal.write(
            orjson.dumps({"at": round(at, 2), "act": name, "what": what, "took": round(took, 2)}) + b"\n"
        )
        self._journal.flush()

    # the program

    async def _kill_worker(self) -> str:
        return self._signal_worker(signal.SIGKILL)

    async def _stop_worker(self) -> str:
        """Frozen, it is noticed by its parent and killed; one that is starting would get more time."""
        started = {entry["pid"] for entry in self._program.logged("worker.ready")}
        return self._signal_worker(signal.SIGSTOP, started)

    def _signal_worker(self, number: signal.Signals, among: set[int] | None = None) -> str:
        workers = [worker for worker in self._program.workers if among is None or worker.pid in among]
        if not workers:
            return "none was running"
        worker = self._random.choice(workers)
        with contextlib.suppress(psutil.Error):
            worker.send_signal(number)
        return f"worker {worker.pid}"

    async def _replace_workers(self) -> str:
        self._program.signal(signal.SIGHUP)
        return ""

    # engines

    async def _restart_redis(self) -> str:
        await asyncio.to_thread(self._redis.kill)
        await asyncio.to_thread(self._redis.start)
        return ""

    async def _away_redis(self) -> str:
        seconds = self._random.uniform(1, 4)
        await asyncio.to_thread(self._redis.stop)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self._redis.start)
        return f"{seconds:.1f} s"

    async def _kill_redis_clients(self) -> str:
        client = redis.asyncio.from_url(self._redis.url)
        killed = await client.client_kill_filter(_type=self._random.choice(["pubsub", "normal"]), skipme=True)
        await client.aclose()
        return f"{killed} clients"

    async def _freeze_redis(self) -> str:
        """It answers nothing, and nobody is told that it is away."""
        process = self._redis._process
        assert process is not None
        return await self._freeze([psutil.Process(process.pid)])

    async def _freeze_postgres(self) -> str:
        pid = self._postgres.pid
        if pid is None:
            return "was not running"
        server = psutil.Process(pid)
        return await self._freeze([server, *server.children()])

    async def _freeze(self, processes: list[psutil.Process]) -> str:
        seconds = self._random.uniform(0.5, self._longest_pause)
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.suspend()
        try:
            await asyncio.sleep(seconds)
        finally:
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.resume()
        return f"{seconds:.1f} s"

    async def _restart_postgres(self) -> str:
        await self._end_postgres(signal.SIGINT)
        return "fast"

    async def _crash_postgres(self) -> str:
        await self._end_postgres(signal.SIGQUIT)
        return "immediate"

    async def _end_postgres(self, number: signal.Signals) -> None:
        def end() -> None:
            pid = self._postgres.pid
            if pid is not None:
                os.kill(pid, number)
            while self._postgres.running():
                if self._postgres._process is not None:
                    self._postgres._process.poll()
                time.sleep(0.01)
            self._postgres.start()

        await asyncio.to_thread(end)
        self._reaper.tell("pid", self._postgres.pid)

    # connections and clients

    async def _cut_connections(self) -> str:
        lines = sorted(self._proxy.lines, key=lambda line: line.number)
        chosen = self._random.sample(lines, self._random.randint(0, len(lines)))
        for line in chosen:
            line.cut()
        return f"{len(chosen)} of {len(lines)}"

    async def _pause_readers(self) -> str:
        seconds = self._random.uniform(0.5, self._longest_pause)
        chosen = self._random.sample(self._subscribers, min(3, len(self._subscribers)))
        for subscriber in chosen:
            subscriber.reading.clear()
        await asyncio.sleep(seconds)
        for subscriber in chosen:
            subscriber.reading.set()
        return f"{len(chosen)} for {seconds:.1f} s"

    async def _pause_npm(self) -> str:
        seconds = self._random.uniform(0.5, self._longest_pause)
        self._npm.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._npm.signal(signal.SIGCONT)
        return f"{seconds:.1f} s"
