"""What the realtime scenarios are built of: the sockets' process, and the servers with what publishes to them."""

from __future__ import annotations

import asyncio
import itertools
import json
import mmap
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID

from bench import peers
from bench.city import City
from bench.load import ask, post
from bench.servers import Product, Server
from bench.sockets import COUNTERS
from bench.support import CLIENT_CORE, ROOT, Report, end, environment, pin
from core.ids import encode
from services.ordering import reading
from services.ordering.records import OrderRecord, order_to_json
from services.runtime import Runtime
from services.unit import transaction
from subscriptions.feeds import ORDER

DOCUMENT: Final = """subscription Watch($order: ID!) { orderUpdates(order: $order) {
  cursor order { id number state version mode note placedAt total { amount currency } } } }"""
"""Eight fields of an order, one of them an object, and the cursor."""
PATIENCE: Final = 60.0
OURS, STRAWBERRY, NODE, BARE = "Hutong", "Strawberry", "Node graphql-ws", "bare writes"
IN_MEMORY = "Hutong, events from memory"
PEERS: Final = (STRAWBERRY, NODE, BARE)
"""Two that do the same work, and what any of them has to do at least."""


class TooSlow(SystemExit):
    """What was expected did not come in time."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the sockets have seen; see :data:`bench.sockets.COUNTERS`."""

    nexts: int
    live: int
    started: int
    lost: int
    wrong: int


class Sockets:
    """The process that holds the client's sockets, on the client's core."""

    def __init__(self, folder: Path) -> None:
        path = folder / f"counters-{time.monotonic_ns()}"
        path.write_bytes(bytes(8 * len(COUNTERS)))
        with path.open("r+b") as file:
            self._counters = mmap.mmap(file.fileno(), 8 * len(COUNTERS), access=mmap.ACCESS_READ)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.sockets", str(path)], cwd=ROOT, env=environment(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        pin(self._process.pid, CLIENT_CORE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process)

    @property
    def counts(self) -> Counts:
        return Counts(*struct.unpack_from(f"{len(COUNTERS)}q", self._counters, 0))

    def tell(self, do: str, **options: Any) -> dict[str, Any]:
        """Have it do something at once; its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do} | options).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the sockets' process ended")
        return json.loads(line)

    async def until(self, reached: Callable[[Counts], bool], patience: float = PATIENCE) -> Counts:
        """The counts when they have ``reached`` something. Raises TooSlow after ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while not reached(counts := self.counts):
            if time.monotonic() > deadline:
                raise TooSlow(f"it did not come within {patience:g} s: {counts}")
            await asyncio.sleep(0.0005)
        return counts

    async def open(self, target: Target, count: int, feeds: int, *, at_once: int = 64, **options: Any) -> None:
        """``count`` more sockets that follow ``feeds`` feeds in turn; returns when each has its first answer."""
        started = self.counts.started
        messages = [target.greeting(n) for n in range(min(feeds, count))]
        asked = {"port": target.server.port, "path": "/graphql", "count": count, "messages": messages, "once": False}
        self.tell("open", at_once=at_once, **asked | options)
        await self.until(lambda c: c.started >= started + count, PATIENCE + count / 50)


@dataclass
class Target:
    """A server under load, what a socket says to follow feed number n, and how events are made."""

    name: str
    server: Server
    greeting: Callable[[int], list[str]]
    publish: Callable[[Sequence[int]], Awaitable[None]]

    def cpu(self) -> float:
        return self.server.cpu()

    def memory(self) -> int:
        return self.server.memory()


def greeting(token: str | None, document: str, variables: dict[str, Any]) -> list[str]:
    """``connection_init`` and ``subscribe``."""
    init: dict[str, Any] = {"type": "connection_init"}
    if token is not None:
        init["payload"] = {"authorization": f"Bearer {token}"}
    subscribe = {"id": "1", "type": "subscribe", "payload": {"query": document, "variables": variables}}
    return [json.dumps(init), json.dumps(subscribe)]


def _poster(server: Server) -> Callable[[Sequence[int]], Awaitable[None]]:
    """Has a server make events itself."""

    async def publish(feeds: Sequence[int]) -> None:
        await ask(server.port, post("/publish", list(feeds)))

    return publish


@dataclass
class Stage:
    """Engines and city of one run. ``runtime`` is the bench's own, through which it writes to the feeds."""

    folder: Path
    database_url: str
    redis_url: str
    city: City
    runtime: Runtime
    report: Report
    seconds: float
    rounds: int
    events: int
    alone: bool
    spare: list[UUID]
    """Keys of orders of which nothing is published through the log."""
    servers: ExitStack = field(default_factory=ExitStack)
    _orders: list[OrderRecord] = field(default_factory=list[OrderRecord])

    async def read_orders(self) -> None:
        """Read the orders as they are, before the first event is made."""
        self._orders = [(await reading.snapshot(self.runtime, key))[1] for key in self.city.orders]

    async def publish(self, feeds: Sequence[int]) -> None:
        """One more event of each order, all in one transaction, as the product writes them."""
        changed = [self._orders[n] for n in feeds]
        async with transaction(self.runtime) as unit:
            for order in changed:
                order.version += 1
                unit.emit((ORDER.of(order.id),), "order.accepted", {"order": order_to_json(order), "actor": "MERCHANT"})
            newest = {order.id: order.version for order in changed}
            await unit.sql.execute(
                """UPDATE "order" AS o SET version = n.version FROM unnest($1::uuid[], $2::int[]) AS n(id, version)
                   WHERE o.id = n.id""",
                list(newest),
                list(newest.values()),
            )

    def product(self, workers: int = 1) -> Target:
        """The product, freshly started."""
        server = Product(OURS, self.database_url, self.folder / "data", workers, HUTONG_REDIS_URL=self.redis_url)
        self.servers.enter_context(server)
        token = self.city.tokens["consumer"]
        return Target(OURS, server, lambda n: greeting(token, DOCUMENT, {"order": self.city.order_id(n)}), self.publish)

    def product_in_memory(self) -> Target:
        """The product, freshly started, with the events of the spare orders in memory."""
        file = self.folder / "spare.json"
        file.write_text(json.dumps([str(key) for key in self.spare]))
        server = Product(
            IN_MEMORY, self.database_url, self.folder / "data",
            program=["-m", "bench.ours.memory_serve", str(file)], HUTONG_REDIS_URL=self.redis_url,
        )  # fmt: skip
        self.servers.enter_context(server)
        token = self.city.tokens["consumer"]

        def say(n: int) -> list[str]:
            return greeting(token, DOCUMENT, {"order": encode("Order", self.spare[n])})

        return Target(IN_MEMORY, server, say, _poster(server))

    def peer(self, name: str) -> Target:
        """A peer, freshly started."""
        commands: dict[str, list[str | Path]] = {
            STRAWBERRY: [peers.PYTHON, "-m", "bench.peers.strawberry_sockets"],
            NODE: [peers.node(), peers.NODE / "sockets.mjs"],
            BARE: [peers.PYTHON, "-m", "bench.peers.bare_sockets"],
        }
        server = self.servers.enter_context(Server(name, commands[name]))

        return Target(name, server, lambda n: greeting(None, DOCUMENT, {"order": str(n)}), _poster(server))

    def targets(self) -> list[Target]:
        """The product and its peers."""
        return [self.product(), *([] if self.alone else [self.peer(name) for name in PEERS])]

    def stop(self) -> None:
        """End the servers that were started."""
        self.servers.close()
        self.servers = ExitStack()


@dataclass(frozen=True, slots=True)
class Flow:
    """Deliveries of one stretch of time. ``cpu`` in seconds of the servers."""

    deliveries: int
    seconds: float
    cpu: float

    @property
    def micros(self) -> float:
        """CPU microseconds per delivery."""
        return self.cpu / self.deliveries * 1e6


async def saturate(target: Target, sockets: Sockets, viewers: int, feeds: int, batch: int, seconds: float) -> Flow:
    """Publish for ``seconds`` as fast as the deliveries come, ``batch`` events at a time, at most three on their way.

    ``viewers`` of each feed. Raises TooSlow when deliveries stop, SystemExit when sockets end or order breaks.
    """
    before = sockets.counts
    expected = before.nexts
    turn = itertools.cycle(range(feeds))
    cpu, began = target.cpu(), time.perf_counter()
    while time.perf_counter() - began < seconds:
        room = expected - 2 * batch * viewers
        await sockets.until(lambda c, room=room: c.nexts >= room)
        await target.publish(list(itertools.islice(turn, batch)))
        expected += batch * viewers
    after = await sockets.until(lambda c: c.nexts >= expected)
    flow = Flow(after.nexts - before.nexts, time.perf_counter() - began, target.cpu() - cpu)
    if after.lost != before.lost or after.wrong != before.wrong:
        raise SystemExit(f"{target.name}: {after.lost} sockets ended, {after.wrong} breaks of order")
    return flow


async def idle(process: Target, quiet: float = 0.02, patience: float = 10.0) -> None:
    """Wait until the servers have nothing to do any more."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = process.cpu()
        await asyncio.sleep(0.5)
        if process.cpu() - before <= quiet:
            return
