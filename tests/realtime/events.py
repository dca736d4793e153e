"""Reading event streams as the HTML standard says they are to be read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from tests.realtime.log import PATIENCE
from tests.realtime.wire import Site

TOKEN = "x-graphql-event-stream-token"


@dataclass(frozen=True)
class Event:
    name: str
    data: str
    id: str | None = None

    @property
    def json(self) -> Any:
        return orjson.loads(self.data)


class Stream:
    """One open event stream. ``comments`` are those so far."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.comments: list[str] = []
        self._lines = response.aiter_lines()

    async def next(self) -> Event | None:
        """The next event, None at the end of the stream."""
        name, data, id = "message", [], None
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                if not line:
                    if data:
                        return Event(name, "\n".join(data), id)
                    continue
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if field == "":
                    self.comments.append(value)
                elif field == "event":
                    name = value
                elif field == "data":
                    data.append(value)
                elif field == "id":
                    id = value
        return None

    async def rest(self) -> list[Event]:
        events: list[Event] = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events


class Browser:
    """A client of the HTTP side of one site."""

    def __init__(self, site: Site, client: httpx.AsyncClient) -> None:
        self.site = site
        self.client = client

    @asynccontextmanager
    async def stream(self, query: str | None = None, method: str = "POST", **options: Any) -> AsyncIterator[Stream]:
        """The event stream that answers a request; ``options`` as of httpx."""
        headers = {"accept": "text/event-stream"} | options.pop("headers", {})
        if query is not None:
            options.setdefault("json", {"query": query, **options.pop("payload", {})})
        async with self.client.stream(method, self.site.http, headers=headers, **options) as response:
            assert response.status_code == 200, await response.aread()
            assert response.headers["content-type"].startswith("text/event-stream")
            yield Stream(response)

    async def send(self, method: str, **options: Any) -> httpx.Response:
        return await self.client.request(method, self.site.http, **options)

    async def reserve(self, **headers: str) -> str:
        response = await self.send("PUT", headers=headers)
        assert response.status_code == 201
        return response.text

    async def operate(self, token: str, id: str, query: str, **payload: Any) -> httpx.Response:
        payload.setdefault("extensions", {})["operationId"] = id
        return await self.send("POST", headers={TOKEN: token}, json={"query": query, **payload})


@asynccontextmanager
async def browser(site: Site) -> AsyncIterator[Browser]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False, limits=limits) as client:
        yield Browser(site, client)
