"""The loss harness: real orders, real clients, real processes, and everything breaks; nothing may be lost.

Publishers change orders, and a queue, through mutations against several worker processes, on a PostgreSQL and a Redis
of their own. Subscribers follow boards, orders, riders' tasks and the queue, half of them with the npm client
``graphql-ws``, half with Python clients over WebSockets and event streams and with those of ``examples/``, through a
proxy that cuts connections at random bytes. Some renew their tokens on the open connection all the time. A gate is told
to open, and riders' phones report where they are while consumers look at the map. In the end each subscriber's sequence
is compared with the event log, what was acknowledged is looked for in it, every command must have been obeyed once, no
map may have gone back in time, and the books are checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import asyncpg

from core import ids
from models.embedded import EmbeddedPostgres
from replay import operations
from replay.api import Api, Session, ready_session
from replay.operations import Operation
from replay.server import free_port
from tests.engines import Reaper, RedisServer
from tests.processes.installation import Installation, installation
from tests.proxy import Proxy, proxied
from tests.soak.business import QUEUE_UPDATES, Business
from tests.soak.chaos import Chaos
from tests.soak.machines import Door, Phones
from tests.soak.record import Record, Verdict, judge
from tests.soak.subscribers import KINDS, NodeSubscribers, Subscriber

SETTLE_WITHIN = 240.0
"""Seconds after the last trouble in which every subscriber must have everything."""


@dataclass(frozen=True)
class Plan:
    """How long and with how many."""

    seconds: float
    seed: int
    workers: int = 2
    publishers: int = 4
    shops: int = 2
    riders: int = 3
    buyers: int = 4
    board_watchers: int = 2
    """Of each kind of client and store."""
    pace: float = 0.4
    longest_pause: float = 4.0


@dataclass
class Report:
    """What happened."""

    plan: Plan
    folder: Path
    verdict: Verdict = field(default_factory=Verdict)
    subscriptions: int = 0
    npm_subscriptions: int = 0
    chaos: Counter[str] = field(default_factory=Counter[str])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    troubles: Counter[str] = field(default_factory=Counter[str])
    closes: Counter[str] = field(default_factory=Counter[str])
    connections: int = 0
    cuts: int = 0
    mutations: int = 0
    failures: Counter[str] = field(default_factory=Counter[str])
    unlogged: list[str] = field(default_factory=list[str])
    commands: int = 0
    fixes: int = 0
    positions: int = 0
    machines: list[str] = field(default_factory=list[str])
    twice: list[str] = field(default_factory=list[str])
    settled_after: float | None = None
    complaints: list[str] = field(default_factory=list[str])

    @property
    def good(self) -> bool:
        return self.verdict.good and not (self.unlogged or self.twice or self.machines or self.complaints)

    def text(self) -> str:
        """For people."""

        def list_of(counter: Counter[str]) -> str:
            return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"

        v, plan = self.verdict, self.plan
        settled = "never" if self.settled_after is None else f"{self.settled_after:.1f} s after the last trouble"
        lines = [
            f"seed {plan.seed}, {plan.seconds:.0f} s of trouble, {plan.workers} workers, {plan.publishers} publishers",
            f"trouble        {list_of(self.chaos)}; {self.cuts} connections cut at a random byte",
            f"orders         {list_of(self.outcomes)}",
            f"calls          {self.mutations} answered; tried again after: {list_of(self.failures)}",
            f"subscriptions  {self.subscriptions}, {self.npm_subscriptions} of them by npm's graphql-ws",
            f"connections    {self.connections}; closed: {list_of(self.closes)}",
            f"all delivered  {settled}",
            f"events         {v.events} delivered after {v.snapshots} snapshots",
            f"lost {v.lost}, repeated {v.repeated}, reordered {v.reordered}, wrong {v.wrong}, "
            f"reset {v.resets}, ended {v.ended}",
            f"acknowledged changes that are not in the log: {len(self.unlogged)}; done twice: {len(self.twice)}",
            f"gate           {self.commands} commands; phones {self.fixes} reports, {self.positions} positions shown; "
            f"wrong {len(self.machines)}",
            *([f"given up: {list_of(self.troubles)}"] if self.troubles else []),
            *(
                f"  {text}"
                for text in [*self.complaints, *self.unlogged, *self.twice, *self.machines, *v.problems][:40]
            ),
        ]
        if not self.good:
            lines.append(f"logs are in {self.folder}")
        return "\n".join(lines)


class Watchers:
    """All subscribers."""

    def __init__(self, url: str, npm: NodeSubscribers, random: Random) -> None:
        self._url = url
        self._npm = npm
        self._random = random
        self.python: list[Subscriber] = []
        self._followed = 0
        self._orders: dict[str, list[Subscriber | Record]] = {}
        self.records: list[Record] = []
        self._closing: set[asyncio.Task[None]] = set()

    def follow(self, name: str, feed: str, session: Session, operation: Operation, **variables: object) -> Subscriber:
        record = Record(name, feed)
        self.records.append(record)
        self._followed += 1
        subscriber = KINDS[self._followed % len(KINDS)](record, self._url, session, operation, variables)
        self.python.append(subscriber)
        return subscriber

    def follow_npm(
        self, name: str, feed: str, user: str, session: Session, operation: Operation, **variables: object
    ) -> Record:
        record = Record(name, feed)
        self.records.append(record)
        self._npm.open(record, user, self._url, session, operation, **variables)
        return record

    def placed(self, order: str, number: int, buyer: Session) -> None:
        """A new order: its consumer follows it, from the phone and from the web."""
        feed = feed_of("order", "Order", order)
        found: list[Subscriber | Record] = []
        if number % 3 != 1:
            found.append(self.follow(f"phone {number}", feed, buyer, operations.ORDER_UPDATES, order=order))
        if number % 3 != 2:
            name, user = f"web {number}", f"buyer {buyer.person}"
            found.append(self.follow_npm(name, feed, user, buyer, operations.ORDER_UPDATES, order=order))
        self._orders[order] = found

    def over(self, order: str) -> None:
        """The order has ended: whoever followed it hangs up some time later, wherever it stands."""
        if self._random.random() < 0.5:
            return
        for follower in self._orders.pop(order, []):
            if isinstance(follower, Record):
                self._npm.finish(follower)
            else:
                self.python.remove(follower)
                task = asyncio.create_task(follower.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        await asyncio.gather(*(subscriber.close() for subscriber in self.python), *self._closing)
        await self._npm.close()


def feed_of(kind: str, type_name: str, id: str) -> str:
    """The feed of what has that public id."""
    return f"{kind}:{ids.decode(type_name, id)}"


async def run(plan: Plan, reaper: Reaper, folder: Path) -> Report:
    """Bring everything up, let it run through the trouble, and judge. Ends all that it started."""
    report = Report(plan, folder)
    random = Random(plan.seed)
    postgres = EmbeddedPostgres(folder / "postgres")
    postgres._port = free_port()  # it comes back there
    redis_server = RedisServer(reaper)
    async with contextlib.AsyncExitStack() as stack:
        await asyncio.to_thread(postgres.start)
        reaper.tell("folder", postgres.folder)
        reaper.tell("pid", postgres.pid)
        stack.callback(postgres.stop)
        database = await asyncio.to_thread(postgres.create_database)
        redis_server.start()
        stack.callback(redis_server.close)
        program = await stack.enter_async_context(
            installation(
                reaper,
                folder,
                plan.workers,
                database_url=database,
                redis_url=redis_server.url,
                worker_timeout="3",
                drain_window="2",
                feed_head_check="1",
                access_token_ttl=str(plan.seconds + 3600),
                log_level="info",
            )
        )
        proxy = await stack.enter_async_context(proxied(program.port))
        npm = NodeSubscribers(folder / "npm.log")
        await npm.start()
        watchers = Watchers(f"ws://127.0.0.1:{proxy.port}/graphql", npm, random)
        stack.push_async_callback(watchers.close)
        api = await stack.enter_async_context(Api(program.url, timeout=10))

        def placed(order: str, number: int, buyer: Session) -> None:
            watchers.placed(order, number, buyer)
            if number % 2:
                phones.follow(order, buyer)

        business = Business(api, random, placed, watchers.over)
        phones = Phones(business, random, f"ws://127.0.0.1:{proxy.port}/graphql")
        stack.push_async_callback(phones.close)
        door = await _open(plan, business, watchers, api)
        stack.push_async_callback(door.close)
        await door.open(program.url, f"http://127.0.0.1:{proxy.port}", folder)
        chaos = Chaos(
            random, reaper, folder / "chaos.jsonl", program, postgres, redis_server, proxy, watchers.python, npm,
            longest_pause=plan.longest_pause,
        )  # fmt: skip
        stack.callback(chaos.close)
        proxy.opened = chaos.opened
        working = [asyncio.create_task(business.work(plan.pace)) for _ in range(plan.publishers)]
        working += [asyncio.create_task(business.queue(plan.pace)), asyncio.create_task(door.work(plan.pace))]
        assert business.town is not None
        for rider in business.town.riders.values():
            working.append(asyncio.create_task(phones.work(rider, plan.pace)))
        breaking = asyncio.create_task(chaos.run(plan.seconds))
        try:
            await asyncio.wait([breaking, *working], return_when=asyncio.FIRST_COMPLETED)
            business.stopping = True
            await asyncio.gather(breaking, *working)
            proxy.opened = lambda line: None
        finally:
            for task in (breaking, *working):
                task.cancel()
            await asyncio.gather(breaking, *working, return_exceptions=True)
        await _settle(report, watchers, database)
        await _judge(report, watchers, business, database)
        report.commands, report.fixes, report.positions = len(door.sent), phones.reports, phones.shown
        report.machines = [*await _settled(door, database), *phones.problems]
        await _audit(report, database)
        _count(report, watchers, business, chaos, npm, proxy, program)
    return report


async def _settled(door: Door, database: str) -> list[str]:
    connection = await asyncpg.connect(database)
    try:
        return await door.settled(connection, SETTLE_WITHIN)
    finally:
        await connection.close()


async def _open(plan: Plan, business: Business, watchers: Watchers, api: Api) -> Door:
    async with api._http.get(f"{api.base_url}/sandbox/tokens") as response:
        known = await response.json()
    admin = ready_session(known["admin"])
    staff, store = ready_session(known["merchant"]), known["store"]
    await business.open_queue(staff, store)
    watchers.follow("queue", feed_of("queue", "Store", store), staff, QUEUE_UPDATES, store=store)
    watchers.follow_npm("npm queue", feed_of("queue", "Store", store), "npm queue", staff, QUEUE_UPDATES, store=store)
    town = await business.open(admin, plan.shops, plan.riders, plan.buyers)
    for shop in town.shops.values():
        feed, board = feed_of("store", "Store", shop.store), operations.STORE_BOARD
        name = shop.plan.name
        for number in range(plan.board_watchers):
            watchers.follow(f"board {name} {number}", feed, shop.session, board, store=shop.store)
            user = f"npm board {name} {number}"
            watchers.follow_npm(user, feed, user, shop.session, board, store=shop.store)
        watchers.follow(f"admin {name}", feed, admin, board, store=shop.store)
    for name, rider in town.riders.items():
        feed, user = feed_of("rider", "Rider", rider.rider), f"npm rider {name}"
        watchers.follow(f"rider {name}", feed, rider.session, operations.RIDER_TASKS)
        watchers.follow_npm(user, feed, user, rider.session, operations.RIDER_TASKS)
    return Door(business, Random(plan.seed), staff, store)


async def _tops(database: str, records: list[Record]) -> dict[str, int]:
    connection = await asyncpg.connect(database)
    try:
        rows = await connection.fetch(
            "SELECT feed, top FROM feed_head WHERE feed = ANY($1::text[])", sorted({r.feed for r in records})
        )
    finally:
        await connection.close()
    return {row["feed"]: row["top"] for row in rows}


async def _settle(report: Report, watchers: Watchers, database: str) -> None:
    """Wait until every open subscription stands at the top of its feed."""
    began = time.monotonic()
    while time.monotonic() - began < SETTLE_WITHIN:
        tops = await _tops(database, watchers.records)
        if all(r.finished or r.ended or r.offset >= tops.get(r.feed, 0) for r in watchers.records):
            report.settled_after = time.monotonic() - began
            return
        await asyncio.sleep(0.2)


OPEN_BUSINESS = """
SELECT (SELECT count(*) FROM refund WHERE state = 'PENDING')
     + (SELECT count(*) FROM "order" o WHERE o.state IN ('REJECTED', 'CANCELLED', 'EXPIRED') AND EXISTS (
            SELECT FROM payment p WHERE p.order_id = o.id AND p.captured_at IS NOT NULL AND p.refunded < p.amount))
"""
WRONG_MONEY = {
    "refunds above what was captured": "SELECT count(*) FROM payment WHERE refunded > amount OR refund_due > amount",
    "ledger transactions that are not zero": """SELECT count(*) FROM (SELECT FROM ledger_entry
        GROUP BY transaction_id, currency HAVING sum(amount) <> 0) t""",
    "orders paid twice and kept": """SELECT count(*) FROM (SELECT FROM payment WHERE captured_at IS NOT NULL
        AND refund_due < amount GROUP BY order_id HAVING count(*) > 1) t""",
    "charges at the provider that nobody knows of": """SELECT count(*) FROM sandbox.charge c WHERE c.state = 'PAID'
        AND NOT EXISTS (SELECT FROM payment p WHERE p.out_trade_no = c.out_trade_no AND p.captured_at IS NOT NULL)""",
    "jobs given up": "SELECT count(*) FROM pgqueuer WHERE status = 'failed'",
}


async def _audit(report: Report, database: str) -> None:
    """Wait until what is owed is refunded, by whichever worker runs the jobs now, and look at the books."""
    connection = await asyncpg.connect(database)
    try:
        began = time.monotonic()
        while owed := await connection.fetchval(OPEN_BUSINESS):
            if time.monotonic() - began > SETTLE_WITHIN:
                break
            await asyncio.sleep(0.5)
        if owed:
            report.complaints.append(f"{owed} refunds are still owed")
        for what, sql in WRONG_MONEY.items():
            if count := await connection.fetchval(sql):
                report.complaints.append(f"{count} {what}")
    finally:
        await connection.close()


async def _judge(report: Report, watchers: Watchers, business: Business, database: str) -> None:
    tops = await _tops(database, watchers.records)
    connection = await asyncpg.connect(database)
    try:
        log: dict[str, dict[int, str]] = {}
        for row in await connection.fetch('SELECT feed, "offset", type FROM feed_event'):
            log.setdefault(row["feed"], {})[row["offset"]] = row["type"]
        twice = await connection.fetch('SELECT note, count(*) AS n FROM "order" GROUP BY note HAVING count(*) > 1')
    finally:
        await connection.close()
    for record in watchers.records:
        report.verdict.add(judge(record, log.get(record.feed, {}), tops.get(record.feed, 0)))
    report.twice = [f"{row['n']} orders {row['note']}" for row in twice]
    for order, version in business.acknowledged.versions.items():
        if version not in log.get(feed_of("order", "Order", order), {}):
            report.unlogged.append(f"{order} version {version}")


def _count(
    report: Report, watchers: Watchers, business: Business, chaos: Chaos, npm: NodeSubscribers, proxy: Proxy,
    program: Installation,
) -> None:  # fmt: skip
    report.subscriptions = len(watchers.records)
    report.npm_subscriptions = len(npm.records)
    report.chaos, report.outcomes, report.troubles = chaos.done, business.outcomes, business.troubles
    for record in watchers.records:
        report.closes.update(record.closes)
        report.connections += record.connections
    for key, count in npm.closes.items():
        if key == "connected":
            report.connections += count
        else:
            report.closes[f"npm {key}"] += count
    report.cuts = proxy.cuts
    report.mutations, report.failures = business.calls, business.failures
    internal = program.logged("internal error")
    if internal:
        report.complaints.append(f"{len(internal)} internal errors in {program.log}, first: {str(internal[0])[:300]}")
