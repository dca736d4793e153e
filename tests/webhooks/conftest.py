"""A city whose store is shared with a partner that has an endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import aiohttp
import pytest

from clients.webhooks import HttpWebhooks
from services import partners, webhooks
from services.runtime import Runtime
from services.webhooks import Attempt, Delivery, Endpoint
from tests.ordering.world import City, FakeProvider, build
from tests.patience import PATIENCE
from tests.support import make_runtime
from tests.webhooks.receiver import Receiver, receiving

PATIENT = timedelta(seconds=PATIENCE)
"""Longer than any answer that a test wants to have takes."""


@dataclass
class World:
    """A partner of ``city`` whose ``receiver`` is told; ``secret`` is the endpoint's."""

    city: City
    receiver: Receiver
    partner_id: UUID
    endpoint: Endpoint
    secret: str

    @property
    def runtime(self) -> Runtime:
        return self.city.runtime

    @asynccontextmanager
    async def in_a_hurry(self) -> AsyncIterator[None]:
        """For answers that never come."""
        patient, sender = self.runtime, HttpWebhooks(PATIENCE, allow_loopback=True)
        # Counted from the request on, so that it has always been made.
        sender._timeout = aiohttp.ClientTimeout(total=PATIENCE, sock_read=0.2)
        self.city.runtime = replace(patient, webhooks=sender)
        try:
            yield
        finally:
            self.city.runtime = patient
            await sender.close()

    async def partner(self, *, shared: bool = True) -> UUID:
        made = await partners.create(self.runtime, None, self.city.id, "Partner")
        if shared:
            await webhooks.share_store(self.runtime, None, made.partner.id, self.city.store_id)
        return made.partner.id

    async def send(self, *endpoints: UUID) -> None:
        """Take over what is new, and let each endpoint have one job."""
        await webhooks.relay(self.runtime)
        for endpoint in endpoints or (self.endpoint.id,):
            await webhooks.JOBS["webhook_send"](self.runtime, {"endpoint": str(endpoint)})

    async def deliveries(self, endpoint: UUID | None = None) -> list[Delivery]:
        """Oldest first."""
        asked = endpoint or self.endpoint.id
        return (await webhooks.of_endpoints(self.runtime, [asked], None, 1000, None))[asked][::-1]

    async def delivery(self) -> Delivery:
        """The newest."""
        return (await self.deliveries())[-1]

    async def attempts(self, delivery: Delivery) -> list[Attempt]:
        return (await webhooks.attempts_of(self.runtime, [delivery.id]))[delivery.id]

    async def now(self) -> Endpoint:
        """The endpoint as it is."""
        return await webhooks.get(self.runtime, None, self.endpoint.id)

    async def ping(self) -> Delivery:
        return await webhooks.ping(self.runtime, None, self.endpoint.id)


@pytest.fixture(scope="module")
async def runtime(module_database_url: str) -> AsyncIterator[Runtime]:
    """Shared by the tests of a module: each has a city, and its own time, of which none is over yet."""
    async with make_runtime(module_database_url, payments=FakeProvider(), webhook_timeout=PATIENT) as runtime:
        yield runtime


@pytest.fixture
async def world(runtime: Runtime) -> AsyncIterator[World]:
    async with receiving() as receiver:
        assert isinstance(runtime.payments, FakeProvider)
        city = await build(runtime, runtime.payments)
        made = await partners.create(runtime, None, city.id, "Partner")
        await webhooks.share_store(runtime, None, made.partner.id, city.store_id)
        created = await webhooks.create(runtime, None, made.partner.id, receiver.url)
        yield World(city, receiver, made.partner.id, created.endpoint, created.secret)
