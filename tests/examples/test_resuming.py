"""The clients in examples/ against the real server: cut lines, restarts, expiring tokens, a new log, a lost message."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

from auth.principals import View
from core import ids
from core.clock import wall_now
from examples.python.resuming import Client, Ended, Token
from services import identity
from services.unit import transaction
from subscriptions import feeds
from subscriptions.sessions import Limits, Operation
from tests import node
from tests.api import documents as doc
from tests.api.city import City, new_phone, running_city
from tests.examples.proxy import Proxy
from tests.patience import PATIENCE

SCRIPT = Path(__file__).with_name("client.mjs")
UPDATES = """subscription ($order: ID!, $after: String) { orderUpdates(order: $order, after: $after) {
    cursor kind type reset { reason } order { state version } } }"""
REFRESH = """mutation ($refresh: String!) { refreshSession(refreshToken: $refresh) {
    ... on Session { accessToken refreshToken expiresAt } } }"""
SIGN_OUT = "mutation { signOut { ... on SignedOut { at } } }"


@dataclass
class Site:
    """A city behind a proxy that stays while the city restarts."""

    proxy: Proxy
    start: Callable[[], Any]
    city: City = field(init=False)
    told_to_last: timedelta | None = None
    """For how long clients are told that a token holds, if not for as long as it does."""
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def up(self) -> None:
        self.city = await self.stack.enter_async_context(self.start())
        self.proxy.target = urlsplit(self.city.url).port or 0

    async def restart(self) -> None:
        await self.stack.aclose()
        await self.up()

    async def session(self) -> identity.Session:
        runtime = self.city.program.runtime
        async with transaction(runtime) as unit:
            person = await identity.ensure_person(unit, new_phone(), "Somebody")
            return await identity.open_session(unit, person, View.CONSUMER, timedelta(hours=1))


@asynccontextmanager
async def open_site(database_url: str, folder: Path, **chosen: Any) -> AsyncIterator[Site]:
    proxy = Proxy()
    await proxy.start()
    site = Site(proxy, lambda: running_city(database_url, folder, **chosen))
    try:
        await site.up()
        yield site
    finally:
        await site.stack.aclose()
        await proxy.close()


@dataclass
class Run:
    """What a client was told, in either language."""

    updates: list[dict[str, Any]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    ended: Any = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, line: dict[str, Any]) -> None:
        async with self.changed:
            match line["on"]:
                case "next":
                    self.updates.append(line["update"])
                case "error":
                    self.ended = line["error"]
                case "complete":
                    self.ended = "complete"
                case event:
                    self.events.append(event)
            self.changed.notify_all()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE), self.changed:
            await self.changed.wait_for(condition)

    async def type(self, name: str) -> None:
        await self.until(lambda: any(update["type"] == name for update in self.updates))


@asynccontextmanager
async def javascript(site: Site, session: identity.Session, order: str) -> AsyncIterator[Run]:
    await asyncio.to_thread(node.install)
    hurry = site.told_to_last.total_seconds() * 1000 if site.told_to_last else 0
    asked = {"url": site.proxy.url, "refresh": session.refresh_token, "query": UPDATES, "hurry": hurry}
    asked["variables"] = {"order": order}
    process = await asyncio.create_subprocess_exec(
        *node.node_command(), str(SCRIPT), orjson.dumps(asked).decode(),
        stdout=asyncio.subprocess.PIPE, stderr=sys.stderr, env=node.environment(),
    )  # fmt: skip
    run = Run()
    assert process.stdout is not None
    output = process.stdout

    async def read() -> None:
        async for line in output:
            await run.take(orjson.loads(line))

    reading = asyncio.create_task(read())
    try:
        yield run
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


@asynccontextmanager
async def python(site: Site, session: identity.Session, order: str) -> AsyncIterator[Run]:
    run, held, told = Run(), session.refresh_token, set[asyncio.Task[None]]()

    async def token() -> Token:
        nonlocal held
        body = {"query": REFRESH, "variables": {"refresh": held}}
        async with aiohttp.ClientSession() as http, http.post(f"{site.proxy.url}/graphql", json=body) as response:
            given = (await response.json())["data"]["refreshSession"]
        held = given["refreshToken"]
        ends = datetime.fromisoformat(given["expiresAt"])
        return Token(given["accessToken"], wall_now() + site.told_to_last if site.told_to_last else ends)

    def tell(event: str) -> None:
        told.add(asyncio.create_task(run.take({"on": event})))

    async def follow() -> None:
        async with Client(f"{site.proxy.url.replace('http', 'ws')}/graphql", token, tell) as client:
            try:
                async for update in client.subscribe(UPDATES, {"order": order}):
                    await run.take({"on": "next", "update": update})
                await run.take({"on": "complete"})
            except Ended as ended:
                await run.take({"on": "error", "error": ended.errors[0]["extensions"]})

    following = asyncio.create_task(follow())
    try:
        yield run
    finally:
        following.cancel()
        await asyncio.gather(following, *told, return_exceptions=True)


both = pytest.mark.parametrize("client", [javascript, python])


async def log_of(city: City, order: str) -> list[tuple[int, str]]:
    rows = await city.program.runtime.database.fetch(
        'SELECT "offset", type FROM feed_event WHERE feed = $1 ORDER BY "offset"',
        f"order:{ids.decode('Order', order)}",
    )
    return [(row["offset"], row["type"]) for row in rows]


@both
async def test_nothing_is_lost_over_cuts_and_restarts(database_url: str, tmp_path: Path, client: Any) -> None:
    async with open_site(database_url, tmp_path) as site:
        owner, store, sku = await site.city.shop()
        session = await site.session()
        guest = session.access_token
        order = await site.city.place(guest, store, sku, "PICKUP")
        async with client(site, session, order) as run:
            await run.until(lambda: run.updates)
            await site.city.pay(guest, order)
            site.proxy.cut()
            await site.city.do(owner, doc.ACCEPT, order=order)
            await run.type("order.accepted")
            site.proxy.cut()
            await site.city.do(owner, doc.START, order=order)
            await site.restart()
            await site.city.do(owner, doc.READY, order=order)
            await run.type("order.ready")
            await site.restart()
            await site.city.do(owner, doc.HAND_OVER, order=order)
            site.proxy.cut()
            await site.city.do(guest, doc.CONFIRM, order=order, key="received")
            await run.type("order.completed")
            log = await log_of(site.city, order)
            first, *events = run.updates
            assert (first["kind"], first["reset"]) == ("SNAPSHOT", None)
            start = first["order"]["version"]
            assert [(u["order"]["version"], u["type"]) for u in events] == log[start:]
            assert run.events.count("connected") >= 4

            # Another log: what was told is replaced.
            await feeds.begin_epoch(site.city.program.runtime.database)
            site.proxy.cut()
            await run.until(lambda: run.updates[-1]["reset"])
            assert run.updates[-1]["reset"] == {"reason": "EPOCH_CHANGED"}
            assert run.updates[-1]["order"]["state"] == "COMPLETED"

            await site.city.do(guest, SIGN_OUT)
            await run.until(lambda: run.ended)
            assert run.ended == {"code": "ACCESS_ENDED", "reason": "SESSION_REVOKED"}


@both
async def test_tokens_are_renewed_on_the_open_connection(database_url: str, tmp_path: Path, client: Any) -> None:
    async with open_site(database_url, tmp_path) as site:
        site.told_to_last = timedelta(seconds=2)
        _, store, sku = await site.city.shop()
        session = await site.session()
        order = await site.city.place(session.access_token, store, sku, "PICKUP")
        async with client(site, session, order) as run:
            await run.until(lambda: run.events.count("renewed") >= 3)
            await site.city.pay(session.access_token, order)
            await run.type("order.paid")
            assert run.events.count("connected") == 1 and "closed" not in run.events


@both
async def test_a_lost_message_is_noticed_by_the_pings(
    database_url: str, tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site(database_url, tmp_path) as site:
        monkeypatch.setattr(site.city.program.sockets, "limits", Limits(keep_alive=0.2, tick=0.05))
        owner, store, sku = await site.city.shop()
        session = await site.session()
        order = await site.city.paid(session.access_token, store, sku, "PICKUP")
        deliver, lost = Operation.deliver, list[bytes]()

        def lose(self: Operation, body: bytes, cursor: str | None, latest: bool) -> None:
            if b"order.accepted" in body and not lost:
                lost.append(body)
            else:
                deliver(self, body, cursor, latest)

        monkeypatch.setattr(Operation, "deliver", lose)
        async with client(site, session, order) as run:
            await run.until(lambda: run.updates)
            await site.city.do(owner, doc.ACCEPT, order=order)
            await run.type("order.accepted")
            assert lost and "behind" in run.events
            await site.city.do(owner, doc.READY, order=order)
            await run.type("order.ready")
            assert [u["type"] for u in run.updates] == [None, "order.accepted", "order.ready"]
