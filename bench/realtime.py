"""Subscriptions under load: fan-out, latency, memory, reconnects, locations, several processes, stuck peers.

The server is the product as it is run in production, with PostgreSQL and Redis, alone on one core; the client's
sockets, the publisher and the engines share the other. Events are written to the event log by the product's own unit
of work and come through Redis. CPU per delivery is the steady figure; what a core could deliver in a second follows
from it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
from contextlib import AsyncExitStack
from importlib import import_module

import app
from bench import city, peers
from bench.servers import postgres, redis
from bench.streams import Stage
from bench.support import CLIENT_CORE, Report, load_of_machine, pin, temporary_folder
from core.settings import Settings

SCENARIOS = {
    "fanout": "what a delivery costs, wide and narrow",
    "latency": "20 events/s to 2,000 subscribers: the 99th percentile",
    "memory": "idle subscribers: bytes for each, and 10,000 of them",
    "growth": "memory over a million events",
    "reconnect": "CPU per handshake, init and subscribe",
    "locations": "riders' fixes in batches of 10, each rider watched by one consumer",
    "workers": "two processes with Redis against one",
    "stuck": "a peer that takes nothing: how soon it is gone, and what the others notice",
}
ORDERS = 2000
SPARE = 500


def raise_file_limit() -> None:
    """Let this process and its children open as many sockets as the system permits."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def run(args: argparse.Namespace, report: Report) -> None:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        url = stack.enter_context(postgres(folder))
        redis_url = stack.enter_context(redis(folder))
        made, _ = await city.make(url, folder / "data", args.orders + SPARE)
        spare = made.orders[args.orders :]
        del made.orders[args.orders :]
        pin(os.getpid(), CLIENT_CORE)
        settings = Settings(database_url=url, redis_url=redis_url, data_dir=folder / "data")
        runtime, _ = await stack.enter_async_context(app.open_runtime(settings))
        stage = Stage(
            folder, url, redis_url, made, runtime, report, args.seconds, args.rounds, args.events, args.alone, spare
        )  # fmt: skip
        await stage.read_orders()
        for name in args.scenarios or SCENARIOS:
            try:
                await import_module(f"bench.scenarios.{name}").run(stage)
            finally:
                stage.stop()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench realtime", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"default: all of {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds; the median counts")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one server's round")
    parser.add_argument("--orders", type=int, default=ORDERS, help="orders in the city")
    parser.add_argument("--events", type=int, default=1_000_000, help="events of the scenario growth")
    parser.add_argument("--alone", action="store_true", help="without the peers")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    args = parser.parse_args(arguments)
    unknown = set(args.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    if not args.alone:
        peers.install()
    raise_file_limit()
    report = Report(args.markdown)
    print(load_of_machine())
    try:
        asyncio.run(run(args, report))
    finally:
        report.finish()
