"""The mini-program's client on a simulated ``wx`` against the real server: the background, failing calls, limits."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from auth.principals import View
from gateway.manifests import BUNDLED, read_manifest
from services import identity
from services.unit import transaction
from tests import node
from tests.api import documents as doc
from tests.api.city import City, new_phone
from tests.patience import PATIENCE

SCRIPT = Path(__file__).with_name("miniprogram.mjs")
UPDATES = """subscription ($order: ID!, $after: String) { orderUpdates(order: $order, after: $after) {
    cursor kind type reset { reason } order { state version } } }"""
ORDER = "query ($id: ID!) { order(id: $id) { state } }"
NEVER = 3_600_000
"""Milliseconds in the background that no test reaches."""


@dataclass
class Phone:
    """A mini-program, and what it was told."""

    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _asked: int = 0

    async def tell(self, command: str, **given: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(orjson.dumps({"command": command} | given) + b"\n")
        await self.process.stdin.drain()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE), self.changed:
            await self.changed.wait_for(condition)

    async def answer(self, command: str, **given: Any) -> dict[str, Any]:
        """The line that answers a command."""
        self._asked += 1
        name = f"ask{self._asked}"
        await self.tell(command, name=name, **given)
        await self.until(lambda: self.about(name))
        return self.about(name)[0]

    def about(self, name: str, on: str | None = None) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("name") == name and on in (None, line["on"])]

    def count(self, on: str) -> int:
        return sum(line["on"] == on for line in self.lines)

    def types(self, name: str = "order") -> list[str | None]:
        return [line["update"]["type"] for line in self.about(name, "next")]

    async def follow(self, order: str, name: str = "order") -> None:
        await self.tell("subscribe", name=name, payload={"query": UPDATES, "variables": {"order": order}})
        await self.until(lambda: self.about(name, "next"))

    async def type(self, type: str, name: str = "order") -> None:
        await self.until(lambda: type in self.types(name))


@asynccontextmanager
async def miniprogram(
    city: City, token: str = "", *, refresh: str | None = None, background: int = NEVER
) -> AsyncIterator[Phone]:
    await asyncio.to_thread(node.install)
    asked = {"url": f"{city.url}/graphql", "token": token, "refresh": refresh, "background": background}
    process = await asyncio.create_subprocess_exec(
        *node.node_command(), str(SCRIPT), orjson.dumps(asked).decode(),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=sys.stderr, env=node.environment(),
    )  # fmt: skip
    phone = Phone(process)
    assert process.stdout is not None
    output = process.stdout

    async def read() -> None:
        async for line in output:
            async with phone.changed:
                phone.lines.append(orjson.loads(line))
                phone.changed.notify_all()

    reading = asyncio.create_task(read())
    try:
        yield phone
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


@dataclass
class Sale:
    """A paid order of a consumer in a shop."""

    owner: str
    guest: str
    order: str


@pytest.fixture
async def sale(city: City) -> Sale:
    owner, store, sku = await city.shop()
    guest = await city.consumer()
    return Sale(owner, guest, await city.paid(guest, store, sku, "PICKUP"))


@pytest.mark.parametrize("silent", [False, True], ids=["told", "silently"])
async def test_the_background_loses_nothing(city: City, sale: Sale, silent: bool) -> None:
    async with miniprogram(city, sale.guest, background=0 if silent else NEVER) as phone:
        await phone.follow(sale.order)
        await city.do(sale.owner, doc.ACCEPT, order=sale.order)
        await phone.type("order.accepted")
        await phone.tell("hide")
        await phone.tell("interrupt", silent=silent)
        if not silent:
            await phone.until(lambda: phone.count("closed"))
        await city.do(sale.owner, doc.START, order=sale.order)
        await city.do(sale.owner, doc.READY, order=sale.order)
        state = await phone.answer("state")
        assert state["sockets"] == 0 and state["refusedInBackground"] == 0 and state["connects"] == 1
        await phone.tell("show")
        await phone.type("order.ready")
        assert phone.types() == [None, "order.accepted", "order.preparing", "order.ready"]
        assert (await phone.answer("state"))["connects"] == 2


async def test_a_glance_elsewhere_keeps_the_connection(city: City, sale: Sale) -> None:
    async with miniprogram(city, sale.guest) as phone:
        await phone.follow(sale.order)
        await phone.tell("hide")
        await phone.tell("show")
        await city.do(sale.owner, doc.ACCEPT, order=sale.order)
        await phone.type("order.accepted")
        assert phone.count("connected") == 1 and phone.count("closed") == 0


async def test_what_could_not_be_sent_is_asked_for_again(city: City, sale: Sale) -> None:
    async with miniprogram(city, sale.guest) as phone:
        await phone.tell("failSends", number=2)
        await phone.tell("failConnects", number=1)
        await phone.follow(sale.order)
        await phone.tell("failSends", number=1)
        await phone.tell("subscribe", name="other", payload={"query": UPDATES, "variables": {"order": sale.order}})
        await phone.until(lambda: phone.about("other", "next"))
        await city.do(sale.owner, doc.ACCEPT, order=sale.order)
        for name in ("order", "other"):
            await phone.type("order.accepted", name)
            assert phone.types(name) == [None, "order.accepted"]
        state = await phone.answer("state")
        assert state["connects"] >= 5 and state["sockets"] == 1 and state["mostSockets"] <= 2


async def test_it_never_has_more_sockets_than_a_mini_program_may(city: City, sale: Sale) -> None:
    async with miniprogram(city, sale.guest, background=0) as phone:
        await phone.follow(sale.order)
        for round in range(1, 9):
            await phone.tell("hide")
            await phone.tell("interrupt", silent=bool(round % 2))
            await phone.tell("show")
            await phone.until(lambda wanted=round + 1: phone.count("connected") == wanted)
        await city.do(sale.owner, doc.ACCEPT, order=sale.order)
        await phone.type("order.accepted")
        assert phone.types() == [None, "order.accepted"]
        assert (await phone.answer("state"))["mostSockets"] <= 2


async def test_a_subscription_that_was_stopped_frees_the_socket(city: City, sale: Sale) -> None:
    async with miniprogram(city, sale.guest) as phone:
        await phone.follow(sale.order)
        await phone.tell("stop", name="order")
        await phone.until(lambda: phone.count("closed") == 1)
        assert (await phone.answer("state"))["sockets"] == 0
        await phone.follow(sale.order, "again")
        assert phone.about("again", "next")[0]["update"]["kind"] == "SNAPSHOT"


async def test_requests(city: City, sale: Sale) -> None:
    async with miniprogram(city, sale.guest) as phone:
        query = {"query": ORDER, "variables": {"id": sale.order}}
        answer = await phone.answer("request", payload=query)
        assert answer["data"] == {"order": {"state": "PAID"}}
        failed = await phone.answer("request", payload={"documentId": "sha256:" + "0" * 64})
        assert (failed["kind"], failed["codes"]) == ("GraphQLFailed", ["PERSISTED_QUERY_NOT_IN_LIST"])

        await phone.tell("hide")
        lost = await phone.answer("request", payload=query)
        assert (lost["kind"], "interrupted" in lost["message"]) == ("NoAnswer", True)
        await phone.tell("request", name="patient", payload=query | {"again": True})
        await phone.tell("show")
        await phone.until(lambda: phone.about("patient"))
        assert phone.about("patient")[0]["data"] == {"order": {"state": "PAID"}}


async def test_registered_documents_by_request_and_by_socket(city: City, sale: Sale) -> None:
    ids = {operation.name: f"sha256:{operation.id}" for operation in read_manifest(BUNDLED)}
    async with miniprogram(city, sale.guest) as phone:
        variables = {"order": sale.order}
        await phone.tell("subscribe", name="order", payload={"documentId": ids["TrackOrder"], "variables": variables})
        await phone.until(lambda: phone.about("order", "next"))
        payload = {"documentId": ids["OrderStatus"], "variables": {"id": sale.order}}
        answer = await phone.answer("request", payload=payload)
        assert answer["data"]["order"]["state"] == "PAID"
        await phone.tell("hide")
        await phone.tell("interrupt", silent=False)
        await phone.tell("show")
        await city.do(sale.owner, doc.ACCEPT, order=sale.order)
        await phone.type("order.accepted")
        assert phone.types() == [None, "order.accepted"]


async def test_one_refresh_token_serves_requests_and_the_socket(city: City, sale: Sale) -> None:
    """Asked for twice at once, the second use of the refresh token would end the session."""
    runtime = city.program.runtime
    async with transaction(runtime) as unit:
        person = await identity.ensure_person(unit, new_phone(), "Somebody")
        session = await identity.open_session(unit, person, View.CONSUMER, timedelta(hours=1))
    _, store, sku = await city.shop()
    order = await city.place(session.access_token, store, sku, "PICKUP")
    async with miniprogram(city, refresh=session.refresh_token, background=0) as phone:
        for _ in range(3):
            await phone.tell("request", name="many", payload={"query": ORDER, "variables": {"id": order}})
        await phone.follow(order)
        await phone.until(lambda: len(phone.about("many")) == 3)
        assert all(line["data"] == {"order": {"state": "PLACED"}} for line in phone.about("many"))
        await phone.tell("hide")
        await phone.tell("interrupt", silent=False)
        await phone.tell("show")
        await phone.until(lambda: phone.count("connected") == 2)
        await city.do(session.access_token, doc.CANCEL, order=order, key="mini")
        await phone.type("order.cancelled")
        assert (await phone.answer("state"))["asked"] <= 3
