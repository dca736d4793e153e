"""The whole program on a loopback port, its demo city, and small clients of its public API."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import orjson
import pytest
import uvicorn

import app
from auth.principals import View
from clients import sandbox_payments, wechat
from core import ids
from core.settings import Settings
from services import identity, seed
from services.jobs import all_jobs
from services.unit import transaction
from tests.api import documents as doc
from tests.api.follower import PATIENCE, Follower

HOME = {"latitude": 39.915, "longitude": 116.42}
ADDRESS = {"contact": "Li", "phone": "13800138000", "text": "Home 1", "location": HOME}
_numbers = itertools.count(1)


def key() -> str:
    """A fresh idempotency key."""
    return uuid4().hex


class Server(uvicorn.Server):
    """Runs in the loop of the test, leaves the signals alone, and tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@dataclass
class City:
    """A running city. ``tokens`` by view in lower case; ``store`` and ``id`` are public ids of the demo's."""

    program: app.Program
    url: str
    http: aiohttp.ClientSession
    tokens: dict[str, str]
    id: str
    store: str
    menu: list[dict[str, Any]] = field(default_factory=list)

    # callers

    async def post(self, body: Any, token: str | None = None, **headers: str) -> tuple[int, Any]:
        """``(HTTP status, answer)`` to a body sent as it is."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self.http.post(f"{self.url}/graphql", json=body, headers=headers) as response:
            return response.status, orjson.loads(await response.read())

    async def graphql(self, token: str | None, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """The whole answer."""
        _, answer = await self.post({"query": query, "variables": variables or {}}, token)
        return answer

    async def do(self, token: str | None, query: str, **variables: Any) -> Any:
        """The value of the only root field; a GraphQL error fails the test."""
        answer = await self.graphql(token, query, variables)
        assert "errors" not in answer, answer["errors"]
        (value,) = answer["data"].values()
        return value

    async def fetchval(self, sql: str, *args: Any) -> Any:
        return await self.program.runtime.database.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> None:
        await self.program.runtime.database.execute(sql, *args)

    async def rows(self) -> dict[str, int]:
        """Number of rows of every table that business writes to."""
        runtime = self.program.runtime
        names = await runtime.database.fetch(
            """SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'
               AND table_type = 'BASE TABLE' AND table_name NOT LIKE 'pgqueuer%' AND table_name <> 'refresh_session'"""
        )
        union = " UNION ALL ".join(f"SELECT '{r[0]}' AS name, count(*) AS n FROM \"{r[0]}\"" for r in names)
        return {row["name"]: row["n"] for row in await runtime.database.fetch(union)}

    # people

    async def open_session(self, person_id: UUID, view: View, ttl: timedelta = timedelta(hours=1)) -> str:
        async with transaction(self.program.runtime) as unit:
            return (await identity.open_session(unit, person_id, view, ttl)).access_token

    async def consumer(self) -> str:
        """A new person's token."""
        return await self._person(View.CONSUMER, new_phone())

    async def _person(self, view: View, phone: str) -> str:
        async with transaction(self.program.runtime) as unit:
            person_id = await identity.ensure_person(unit, phone, "Somebody")
        return await self.open_session(person_id, view)

    async def rider(self, *, online: bool = True) -> tuple[str, str]:
        """``(token, rider id)`` of a new rider near the demo store."""
        phone = new_phone()
        made = await self.do(self.tokens["admin"], doc.REGISTER_RIDER, city=self.id, phone=phone)
        token = await self._person(View.RIDER, phone)
        if online:
            await self.do(token, doc.GO_ONLINE, at={"latitude": 39.911, "longitude": 116.413})
        return token, made["id"]

    async def shop(self) -> tuple[str, str, str]:
        """``(owner's token, store id, SKU id)`` of a new merchant's only store, with uncounted stock at 25.00."""
        phone = new_phone()
        merchant = await self.do(self.tokens["admin"], doc.REGISTER_MERCHANT, city=self.id, phone=phone)
        token = await self._person(View.MERCHANT, phone)
        store = await self.do(token, doc.CREATE_STORE, merchant=merchant["id"])
        category = await self.do(token, doc.CREATE_CATEGORY, store=store["id"])
        item = await self.do(token, doc.CREATE_ITEM, category=category["id"])
        return token, store["id"], item["skus"][0]["id"]

    # orders

    async def quote(self, token: str, store: str, sku: str, mode: str = "DELIVERY", quantity: int = 2) -> Any:
        lines = [{"sku": sku, "quantity": quantity}]
        where = HOME if mode == "DELIVERY" else None
        return await self.do(
            token, doc.CREATE_QUOTE, input={"store": store, "mode": mode, "lines": lines, "location": where}
        )

    async def place(self, token: str, store: str, sku: str, mode: str = "DELIVERY") -> str:
        quote = await self.quote(token, store, sku, mode)
        order = await self.do(token, doc.PLACE, key=key(), input=place_input(quote["id"], mode))
        return order["id"]

    async def paid(self, token: str, store: str, sku: str, mode: str = "DELIVERY") -> str:
        """An order whose payment the provider has confirmed."""
        order = await self.place(token, store, sku, mode)
        await self.pay(token, order)
        return order

    async def pay(self, token: str, order: str) -> None:
        """Pay in the wallet and follow the order until that is known."""
        payment = await self.do(token, doc.PAY, order=order, key=key())
        async with self.follow(token, doc.ORDER_STATE_UPDATES, order=order) as follower:
            async with self.http.post(payment["payUrl"]) as response:
                assert response.status < 300
            await follower.until(lambda value: value["order"]["state"] != "PLACED")

    async def miss_deadlines(self, *orders: str) -> None:
        """Run the jobs that end orders which nobody paid or accepted in time, as if it were that late."""
        for order in orders:
            paid = await self.fetchval(
                'SELECT paid_at IS NOT NULL FROM "order" WHERE id = $1', ids.decode("Order", order)
            )
            job = all_jobs()["order_accept_deadline" if paid else "order_payment_deadline"]
            await job(self.program.runtime, {"order": str(ids.decode("Order", order))})

    @asynccontextmanager
    async def follow(self, token: str | None, query: str, **variables: Any) -> AsyncIterator[Follower]:
        """A subscription over a WebSocket of its own, confirmed to be on its way."""
        async with self.http.ws_connect(f"{self.url}/graphql", protocols=("graphql-transport-ws",)) as ws:
            payload = {"authorization": f"Bearer {token}"} if token else {}
            await ws.send_json({"type": "connection_init", "payload": payload})
            first = await ws.receive_json(timeout=PATIENCE)
            assert first["type"] == "connection_ack", first
            follower = Follower(ws)
            await ws.send_json({"id": "1", "type": "subscribe", "payload": {"query": query, "variables": variables}})
            reading = asyncio.create_task(follower.read())
            try:
                yield follower
            finally:
                reading.cancel()


def new_phone() -> str:
    return f"+86137{next(_numbers):08d}"


def place_input(quote: str, mode: str = "DELIVERY") -> dict[str, Any]:
    return {"quote": quote} | ({"address": ADDRESS} if mode == "DELIVERY" else {})


def codes(answer: dict[str, Any]) -> list[str]:
    """The codes of the GraphQL errors."""
    return [error["extensions"]["code"] for error in answer.get("errors", ())]


def some_id(type_name: str) -> str:
    """The id of a thing of that type that does not exist."""
    return ids.encode(type_name, ids.uuid7())


UNHURRIED: dict[str, Any] = {
    "offer_ttl": timedelta(minutes=15),
    "device_gate_ttl": timedelta(minutes=15),
    "operation_timeout": timedelta(seconds=PATIENCE),
}
"""Settings under which nothing is over before a busy machine has come to it."""


@asynccontextmanager
async def running_city(database_url: str, folder: Path, **chosen: Any) -> AsyncIterator[City]:
    """The program with the demo city on a free port; it ends in good order."""
    with pytest.MonkeyPatch.context() as patch:
        for client in (sandbox_payments, wechat):
            patch.setattr(client, "TIMEOUT", aiohttp.ClientTimeout(total=PATIENCE))
        async with _running(database_url, folder, **UNHURRIED | chosen) as city:
            yield city


@asynccontextmanager
async def _running(database_url: str, folder: Path, **chosen: Any) -> AsyncIterator[City]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    convenient = {"sandbox": True, "introspection": True, "shutdown_grace": timedelta(seconds=2)}
    settings = Settings(database_url=database_url, data_dir=folder, port=port, **convenient | chosen)
    application = app.create_app(settings)
    config = uvicorn.Config(
        application, http="httptools", ws="websockets-sansio", ws_ping_interval=None, lifespan="on",
        log_config=None, access_log=False, timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        listening = asyncio.create_task(server.listening.wait())
        await asyncio.wait([serving, listening], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        assert listening.done(), "the program did not start"
        program: app.Program = application.state.program
        program.sockets.limits = replace(program.sockets.limits, init=PATIENCE, goodbye=PATIENCE)
        tokens = await seed.demo_tokens(program.runtime)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            city = City(program, f"http://127.0.0.1:{port}", http, tokens, tokens.pop("city"), tokens.pop("store"))
            city.menu = (await city.do(tokens["consumer"], doc.MENU, store=city.store))["menu"]
            yield city
        await program.drain()
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, PATIENCE)
