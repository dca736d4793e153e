"""What webhooks cost and how late they are: taking events over from the log, sending, looking, and the whole way.

Events are written to the log as orders write them. The receiver answers at once and runs in the same process, so its
work is part of what sending costs. Medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from core import logs
from core.clock import ManualClock, wall_now
from core.ids import uuid7
from models.database import migrate
from models.embedded import EmbeddedPostgres
from services import partners, webhooks
from services.jobs import JobRunner
from services.runtime import Runtime
from services.unit import transaction
from services.webhooks import Endpoint
from subscriptions.feeds import STORE_ORDERS
from tests.ordering.world import City, FakeProvider, build
from tests.support import make_runtime
from tests.webhooks.receiver import Receiver, receiving, status

PAGE = 100
POSITIONS = (1_000, 10_000, 100_000)


class RealClock(ManualClock):
    """Real time, for a city that wants a clock which a test could move."""

    def now(self) -> datetime:
        return wall_now()

    def real_delay(self, until: datetime) -> timedelta:
        return max(until - wall_now(), timedelta(0))


@dataclass
class Bench:
    city: City
    partner_id: UUID
    payload: dict[str, Any]

    @property
    def runtime(self) -> Runtime:
        return self.city.runtime

    async def happen(self, events: int) -> None:
        """So many events of other orders each."""
        feed = STORE_ORDERS.of(self.city.store_id)
        for first in range(0, events, PAGE):
            async with transaction(self.runtime) as unit:
                for _ in range(min(PAGE, events - first)):
                    order = self.payload["order"] | {"id": str(uuid7())}
                    unit.emit((feed,), "order.accepted", self.payload | {"order": order})

    async def endpoint(self, url: str) -> Endpoint:
        return (await webhooks.create(self.runtime, None, self.partner_id, url)).endpoint


async def prepared(city: City) -> Bench:
    order = await city.accepted()
    payload = await city.runtime.database.fetchval(
        """SELECT payload FROM feed_event WHERE feed = 'order:' || $1 ORDER BY "offset" DESC LIMIT 1""", str(order.id)
    )
    partner = (await partners.create(city.runtime, None, city.id, "Partner")).partner
    await webhooks.share_store(city.runtime, None, partner.id, city.store_id)
    return Bench(city, partner.id, orjson.loads(payload))


async def taking_over(bench: Bench, receiver: Receiver, args: argparse.Namespace) -> None:
    endpoint = await bench.endpoint(receiver.url)
    wall, cpu, sent = [], [], []
    for _ in range(args.rounds):
        await bench.happen(args.events)
        began, worked = time.perf_counter(), time.process_time()
        assert await webhooks.relay(bench.runtime) == args.events
        wall.append((time.perf_counter() - began) / args.events)
        cpu.append((time.process_time() - worked) / args.events)
        before, began = len(receiver.received), time.perf_counter()
        while len(receiver.received) < before + args.events:
            await webhooks.JOBS["webhook_send"](bench.runtime, {"endpoint": str(endpoint.id)})
        sent.append((time.perf_counter() - began) / args.events)
    print(f"from the log to deliveries   {statistics.median(wall) * 1e6:7.0f} µs an event, "
          f"{statistics.median(cpu) * 1e6:.0f} µs of CPU")  # fmt: skip
    print(f"sending to one endpoint      {1 / statistics.median(sent):7.0f} a second")
    await webhooks.disable(bench.runtime, None, endpoint.id, "done")


async def the_whole_way(bench: Bench, receiver: Receiver, args: argparse.Namespace) -> None:
    """From the event's instant to the receiver, with the program's own jobs."""
    lags: list[float] = []

    async def arrived(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
        happened = datetime.fromisoformat(receiver.received.pop().content["timestamp"])
        lags.append((wall_now() - happened).total_seconds())
        await status(204)(receiver, writer)

    receiver.day = arrived
    endpoint = await bench.endpoint(receiver.url)
    runner = JobRunner(bench.runtime)
    runner.start()
    try:
        for _ in range(args.seconds * 10):
            await bench.happen(args.rate // 10)
            await asyncio.sleep(0.1)
    finally:
        await runner.stop()
    lags.sort()
    p50, p99 = (lags[int(len(lags) * share)] for share in (0.5, 0.99))
    print(f"from an event to the partner {p50 * 1000:7.0f} ms p50, {p99 * 1000:.0f} ms p99 at {args.rate} a second, "
          f"looked at each {bench.runtime.settings.webhook_interval.total_seconds():g} s")  # fmt: skip
    await webhooks.disable(bench.runtime, None, endpoint.id, "done")


async def looking(bench: Bench, args: argparse.Namespace) -> None:
    """What it costs to find nothing new, by the number of pairs of endpoint and store."""
    execute = bench.runtime.database.execute
    await execute(
        """INSERT INTO webhook_endpoint (id, client_id, url, description, state, created_at, sequence, failures)
           SELECT gen_random_uuid(), $1, 'https://partner.example', '', 'ENABLED', now(), 0, 0
           FROM generate_series(1, 1000)""",
        bench.partner_id,
    )
    await execute(
        """INSERT INTO store SELECT (jsonb_populate_record(s, jsonb_build_object('id', gen_random_uuid()))).*
           FROM store s, generate_series(1, 1000) WHERE s.id = $1""",
        bench.city.store_id,
    )
    await execute("INSERT INTO feed_head SELECT 'store:' || id, 10 FROM store ON CONFLICT DO NOTHING")
    for positions in POSITIONS:
        await execute(
            """INSERT INTO webhook_position
               SELECT e.id, s.id, h.feed, h.top
               FROM (SELECT id FROM webhook_endpoint WHERE state = 'ENABLED' ORDER BY id LIMIT 1000) e
               CROSS JOIN (SELECT id FROM store ORDER BY id LIMIT $1) s JOIN feed_head h ON h.feed = 'store:' || s.id
               ON CONFLICT DO NOTHING""",
            positions // 1000,
        )
        await execute("ANALYZE webhook_position")
        found = []
        for _ in range(args.rounds):
            began = time.perf_counter()
            assert await webhooks.relay(bench.runtime) == 0
            found.append((time.perf_counter() - began) * 1000)
        print(f"a look at {positions:>7,} positions {statistics.median(found):8.1f} ms")


async def run(args: argparse.Namespace) -> None:
    logs.configure("error")
    with tempfile.TemporaryDirectory(prefix="hutong-bench-") as folder:
        os.chmod(folder, 0o711)  # as root the database runs as somebody else, who must get through
        server = EmbeddedPostgres(Path(folder) / "postgres", durable=False)
        await asyncio.to_thread(server.start)
        try:
            url = await asyncio.to_thread(server.create_database)
            await migrate(url)
            provider = FakeProvider()
            async with make_runtime(url, payments=provider) as runtime, receiving() as receiver:
                await taking_over(await prepared(await build(runtime, provider)), receiver, args)
            async with (
                make_runtime(url, payments=provider, clock=RealClock(wall_now())) as runtime,
                receiving() as receiver,
            ):
                bench = await prepared(await build(runtime, provider))
                await the_whole_way(bench, receiver, args)
                await looking(bench, args)
        finally:
            await asyncio.to_thread(server.stop)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench webhooks", description=__doc__)
    parser.add_argument("--events", type=int, default=2000, help="events a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=100, help="events a second on the whole way")
    parser.add_argument("--seconds", type=int, default=20, help="of the whole way")
    asyncio.run(run(parser.parse_args(arguments)))
