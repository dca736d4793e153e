"""The provider and a merchant's webhook on a real HTTP server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clients import sandbox_payments
from clients.payments import Notification, NotificationKind
from clients.sandbox_payments import SandboxPayments, fate
from core.settings import Settings
from tests.patience import PATIENCE

SECRET = b"the secret of this installation"


@dataclass
class Receiver:
    """A merchant's webhook that remembers everything and answers as it is told."""

    answer: Callable[[int], int] = lambda number: 204
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, request: Request) -> Response:
        body = await request.body()
        async with self.changed:
            self.received.append((dict(request.headers), body))
            self.changed.notify_all()
            return Response(status_code=self.answer(len(self.received)))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE), self.changed:
            await self.changed.wait_for(lambda: len(self.received) >= count)


@dataclass
class World:
    payments: SandboxPayments
    base_url: str
    receiver: Receiver
    http: aiohttp.ClientSession

    @property
    def api(self) -> str:
        return f"{self.base_url}/sandbox/payments/v1"

    async def pay(self, no: str) -> tuple[int, dict[str, Any]]:
        """What the consumer's wallet does."""
        async with self.http.post(f"{self.api}/charges/{no}/pay") as response:
            return response.status, orjson.loads(await response.read())

    async def charge(self, no: str, amount: int = 1000) -> str:
        return (await self.payments.prepay(no, amount, "CNY", "Order")).pay_url

    async def paid(self, no: str, amount: int = 1000) -> None:
        await self.charge(no, amount)
        assert (await self.pay(no))[0] == 200

    async def told(self, count: int) -> list[Notification]:
        """The first ``count`` notifications, verified."""
        await self.receiver.until(count)
        return [self.payments.verify(headers, body) for headers, body in self.receiver.received[:count]]

    async def settled(self) -> None:
        """Wait until the provider has nothing more to tell."""
        async with asyncio.timeout(PATIENCE):
            while await self.payments._db.fetchval("SELECT count(*) FROM sandbox.notification"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def number_with_fate(what: str | None) -> str:
    """A charge number whose payment meets that fate when half of all have one."""
    for n in range(1000):
        no = f"no{n}"
        if fate(orjson.dumps({"kind": NotificationKind.PAID, "out_trade_no": no, "out_refund_no": None}), 0.5) == what:
            return no
    raise AssertionError(what)


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """The base URL of a server on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    server.capture_signals = nullcontext  # type: ignore[method-assign]  # pytest has its own
    task = asyncio.create_task(server.serve([listener]))
    async with asyncio.timeout(PATIENCE):
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def provider(
    database_url: str, receiver: Receiver, *, faults: float = 0.0, secret: bytes = SECRET
) -> AsyncIterator[World]:
    """A running provider; leaving the block ends it like a process."""
    payments = SandboxPayments(Settings(sandbox=True, sandbox_payment_faults=faults), secret)
    hook = Route("/webhooks/payments/sandbox", receiver.handle, methods=["POST"])
    async with (
        serving(Starlette(routes=[hook, *payments.routes()])) as base_url,
        aiohttp.ClientSession() as http,
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sandbox_payments, "TIMEOUT", aiohttp.ClientTimeout(total=PATIENCE))
            await payments.start(database_url, base_url)
            try:
                yield World(payments, base_url, receiver, http)
            finally:
                await payments.stop()
