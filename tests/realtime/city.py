"""A site, its log, and those who follow one feed of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from auth.principals import Held
from core.ids import encode, uuid7
from core.settings import Settings
from models.database import Database
from models.identity import GrantRole
from subscriptions import feeds
from subscriptions.feeds import ORDER, QUEUE, NewEvent
from subscriptions.tail import FeedTails
from tests.realtime.log import open_tails, until
from tests.realtime.wire import Site, Terminal, serve
from tests.support import NOON

COUNTED = "subscription ($order: ID!, $after: String) { watch(order: $order, after: $after) { cursor marks counted } }"

SLOW = "subscription ($order: ID!, $after: String) { watch(order: $order, after: $after) { cursor marks slow } }"

MINE = "subscription ($order: ID!, $after: String) { watch(order: $order, after: $after) { cursor marks me } }"

STATE = "subscription ($store: ID!, $after: String) { state(store: $store, after: $after) { cursor marks counted } }"


class City:
    """A site, its log, and one feed of each kind."""

    def __init__(self, site: Site, database: Database, tails: FeedTails) -> None:
        self.site = site
        self.database = database
        self.tails = tails
        self.key = uuid7()
        self.feed = ORDER.of(self.key)
        self.order = encode("Order", self.key)
        self.store = encode("Store", self.key)
        self.queue = QUEUE.of(self.key)

    async def write(self, *marks: str, feed: str | None = None) -> None:
        """Append an event per mark, and signal them."""
        events = [NewEvent((feed or self.feed,), "type", NOON, {"mark": mark}) for mark in marks]
        async with self.database.transaction() as connection:
            signals = await feeds.append(connection, events)
        self.tails.deliver(signals)

    @asynccontextmanager
    async def terminals(self, *tokens: str, **headers: str) -> AsyncIterator[list[Terminal]]:
        async with AsyncExitStack() as stack:
            opened: list[Terminal] = []
            for token in tokens:
                terminal = await stack.enter_async_context(self.site.terminal(**headers))
                opened.append(await terminal.init(**({"token": token} if token else {})))
            yield opened

    async def settled(self) -> None:
        """Until every subscription is parked."""
        operations = [one for socket in self.site.sockets._open for one in socket.operations.values()]
        await until(lambda: all(one._task is None for one in operations))


@pytest.fixture
async def city(database_url: str) -> AsyncIterator[City]:
    settings = Settings()
    async with (
        open_tails(database_url) as (database, tails),
        serve(SimpleNamespace(settings=settings, database=database), tails, settings) as site,
    ):
        yield City(site, database, tails)
        await until(lambda: (site.sockets.sockets, site.sockets.hub.groups, tails.watched) == (0, 0, 0))


async def answer(terminal: Terminal) -> dict[str, Any]:
    """What the next ``next`` says of the only root field."""
    message = await terminal.receive()
    assert message["type"] == "next" and "errors" not in message["payload"], message
    [value] = message["payload"]["data"].values()
    return value


async def follow(terminal: Terminal, query: str, id: str = "1", **variables: Any) -> dict[str, Any]:
    """Subscribe; the first answer."""
    await terminal.subscribe(id, query, variables=variables)
    return await answer(terminal)


def grant() -> Held:
    return Held(GrantRole.STORE_CLERK, uuid7(), None)
