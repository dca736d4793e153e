"""Requests through HTTP and PostgreSQL: the product, Strawberry and Ariadne on the same models, a handler by hand.

Each server has a core of its own; the client, which is cheap, shares the other one with PostgreSQL. Rounds alternate
and the medians count. CPU per request is the steady figure; requests per second per core is what it makes.
The product checks the access token, session and grants of every request, which the others do not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
from contextlib import ExitStack
from typing import Any

from bench import city, peers
from bench.load import Load, ask, load, post
from bench.servers import Product, Server, postgres, tortoise_url
from bench.support import CLIENT_CORE, Report, load_of_machine, number, pin, temporary_folder

SHAPE = """id number state total { amount currency } store { id name }
    lines { itemName quantity total { amount currency } }"""
LIST = f"query MyOrders($first: Int!) {{ myOrders(first: $first) {{ nodes {{ {SHAPE} }} }} }}"
ONE = f"query Order($id: ID!) {{ order(id: $id) {{ {SHAPE} }} }}"
OURS, STRAWBERRY, ARIADNE, HAND = "Hutong", "Strawberry", "Ariadne", "by hand"
CONNECTIONS = 16


class Measured:
    """What one server did with one request over the rounds."""

    def __init__(self) -> None:
        self.per_second: list[float] = []
        self.cpu: list[float] = []

    def add(self, took: Load, cpu: float) -> None:
        self.per_second.append(took.responses / took.seconds)
        self.cpu.append(cpu / took.responses * 1e6)


async def measure(
    servers: dict[str, Server], requests: dict[str, bytes], rounds: int, seconds: float
) -> dict[tuple[str, str], Measured]:
    for what, request in requests.items():
        expected = await ask(servers[OURS].port, request)
        assert "errors" not in expected, expected
        for server in servers.values():
            if await ask(server.port, request) != expected:
                raise SystemExit(f"{server.name} answers {what!r} differently from {OURS}")
    found: dict[tuple[str, str], Measured] = {}
    for what, request in requests.items():
        for server in servers.values():  # connections, plans and caches warm
            await load(server.port, lambda request=request: request, CONNECTIONS, min(seconds, 1.0))
        for _ in range(rounds):
            for name, server in servers.items():
                before = server.cpu()
                took = await load(server.port, lambda request=request: request, CONNECTIONS, seconds)
                found.setdefault((name, what), Measured()).add(took, server.cpu() - before)
    return found


def show(report: Report, found: dict[tuple[str, str], Measured], names: list[str], requests: dict[str, Any]) -> None:
    rows: list[list[str]] = []
    per_core: dict[tuple[str, str], float] = {}
    for what in requests:
        for name in names:
            measured = found[name, what]
            cpu = statistics.median(measured.cpu)
            per_core[name, what] = 1e6 / cpu
            ratio = per_core[name, what] / per_core[OURS, what]
            seen = statistics.median(measured.per_second)
            rows.append([what, name, number(cpu), number(1e6 / cpu), f"{ratio:.2f}×", number(seen)])
    report.heading("HTTP with PostgreSQL, medians")
    report.table(["request", "server", "CPU µs", "requests/s per core", f"to {OURS}", "requests/s seen"], rows)
    if STRAWBERRY in names:
        for what in requests:
            for peer in (STRAWBERRY, ARIADNE):
                ratio = per_core[OURS, what] / per_core[peer, what]
                report.target(f"{what} against {peer}", "≥ 3×", f"{ratio:.2f}×", ratio >= 3)
        share = per_core[OURS, "20 orders"] / per_core[HAND, "20 orders"]
        report.target("20 orders against by hand", "≥ 50 %", f"{share:.0%}", share >= 0.5)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench http", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds; the median counts")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one server's round")
    parser.add_argument("--alone", action="store_true", help="without the peers")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    args = parser.parse_args(arguments)
    if not args.alone:
        peers.install()
    report = Report(args.markdown)
    print(load_of_machine())
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        url = stack.enter_context(postgres(folder))
        made, _ = city.make_now(url, folder / "data", 25)
        pin(os.getpid(), CLIENT_CORE)
        servers: dict[str, Server] = {OURS: Product(OURS, url, folder / "data")}
        if not args.alone:
            consumer = str(made.consumer)
            for name, module in ((STRAWBERRY, "strawberry_http"), (ARIADNE, "ariadne_http")):
                servers[name] = Server(name, [peers.PYTHON, "-m", f"bench.peers.{module}", tortoise_url(url), consumer])
            servers[HAND] = Server(HAND, [peers.PYTHON, "-m", "bench.peers.hand_http", url, consumer])
        for server in servers.values():
            stack.enter_context(server)
        token = made.tokens["consumer"]
        requests = {
            "one order": post("/graphql", {"query": ONE, "variables": {"id": made.order_id(7)}}, token),
            "20 orders": post("/graphql", {"query": LIST, "variables": {"first": 20}}, token),
        }
        found = asyncio.run(measure(servers, requests, args.rounds, args.seconds))
    show(report, found, list(servers), requests)
    report.finish()
