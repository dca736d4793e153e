"""The npm client of the protocol against this server: answers, errors, and coming back without losing anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson

from auth.tokens import Reason, Unauthenticated
from core.settings import Settings
from subscriptions.protocol import Close
from tests import node
from tests.realtime.log import PATIENCE, append, new_feed, open_tails, reader, until
from tests.realtime.wire import ALICE, Site, serve

SCRIPT = Path(__file__).with_name("client.mjs")
MARKS = "subscription M($feed: String!, $after: String) { marks(feed: $feed, after: $after) { cursor marks reset } }"


class NpmClient:
    """The running script and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def said(self) -> dict[str, Any] | None:
        """Its next line, None after the last."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)
        return orjson.loads(line) if line else None

    async def until(self, condition: Callable[[dict[str, Any]], Any]) -> list[dict[str, Any]]:
        """Its lines up to the first for which ``condition`` holds."""
        lines: list[dict[str, Any]] = []
        while True:
            line = await self.said()
            assert line is not None, lines
            lines.append(line)
            if condition(line):
                return lines

    async def rest(self) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = []
        while (line := await self.said()) is not None:
            lines.append(line)
        assert await self._process.wait() == 0
        return lines


@asynccontextmanager
async def npm_client(site: Site, *operations: dict[str, Any], tokens: tuple[str, ...] = ()) -> AsyncIterator[NpmClient]:
    await asyncio.to_thread(node.install)
    asked = orjson.dumps({"url": site.url, "tokens": tokens, "operations": operations}).decode()
    process = await asyncio.create_subprocess_exec(
        *node.node_command(), str(SCRIPT), asked, stdout=asyncio.subprocess.PIPE, env=node.environment()
    )
    try:
        yield NpmClient(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_operations_of_every_kind() -> None:
    async with serve() as site:
        async with npm_client(
            site,
            {"id": "q", "query": "{ hello }"},
            {"id": "m", "query": 'mutation { note(text: "x") { ... on NumberUpdate { value } } }'},
            {"id": "s", "query": "subscription { numbers(upTo: 3) { value } }"},
            {"id": "bad", "query": "{ nothing }"},
            {"id": "denied", "query": 'subscription { numbers(upTo: 3, end: "denied") { value } }'},
            tokens=("alice",),
        ) as client:
            lines = await client.rest()
        by_id = {id: [line for line in lines if line.get("id") == id] for id in ("q", "m", "s", "bad", "denied")}
        assert by_id["q"] == [
            {"on": "next", "id": "q", "answer": {"data": {"hello": "hello CONSUMER en"}}},
            {"on": "complete", "id": "q"},
        ]
        assert [line["on"] for line in by_id["m"]] == ["next", "complete"]
        assert [line["answer"]["data"]["numbers"]["value"] for line in by_id["s"][:-1]] == [0, 1, 2]
        assert by_id["bad"][0]["error"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        assert by_id["denied"][0]["error"][0]["extensions"]["code"] == "PERMISSION_DENIED"
        assert lines[-1] == {"on": "closed", "code": 1000, "reason": "Normal Closure"}
        assert site.sockets.sockets == 0


async def test_keep_alive() -> None:
    async with serve(keep_alive=0.1, silence=PATIENCE) as site:
        watching = {"id": "s", "query": 'subscription { numbers(upTo: 1, end: "wait") { value } }'}
        async with npm_client(site, watching) as c:
            await c.until(lambda line: line["on"] == "ping")
            [socket] = site.sockets._open
            for _ in range(3):
                said = socket._heard = socket._heard - PATIENCE / 2
                await until(lambda: socket._heard > said)  # noqa: B023
            lines = await c.until(lambda line: line["on"] == "ping")
        assert "connected" not in [line["on"] for line in lines], "its pongs are heard"


async def test_resumes_after_every_kind_of_close(database_url: str) -> None:
    """All events exactly once and in order, over closes that ask to come back, drops and a write meanwhile."""
    settings = Settings()
    feed = new_feed()
    async with open_tails(database_url, timedelta(seconds=0.05)) as (database, tails):
        runtime = SimpleNamespace(settings=settings, database=database)
        async with (
            serve(runtime, tails, settings) as site,
            npm_client(site, {"id": "s", "query": MARKS, "variables": {"feed": feed}, "resume": True}) as client,
        ):
            marks: list[str] = []
            codes: list[int] = []

            def take(line: dict[str, Any]) -> None:
                if line["on"] == "closed":
                    codes.append(line["code"])
                elif line["on"] == "next":
                    told = line["answer"]["data"]["marks"]
                    assert told["reset"] is None
                    marks.extend(told["marks"])

            async def all_come() -> None:
                top, wanted = await reader(database, feed)()
                while len(marks) < top:
                    line = await client.said()
                    assert line is not None
                    take(line)
                assert marks == wanted

            for line in await client.until(lambda line: line["on"] == "next"):
                take(line)
            for close in (Close.RESTART, Close.TRY_LATER, Close.RESUME, Close.SILENT, None, Close.RESTART):
                await append(database, feed, count=3)
                await all_come()
                await append(database, feed, count=2)
                await until(lambda: len(site.sockets._open) == 1)
                [socket] = site.sockets._open
                if close is None:
                    socket.task.cancel()  # as when the connection is lost
                else:
                    socket.end(close, "come back")
                await append(database, feed, count=2)
                await all_come()
            assert codes[:4] == [1012, 1013, 4290, 4291] and codes[-1] == 1012


async def test_comes_back_with_a_new_token() -> None:
    async with serve() as site:
        site.doorman.answers["old"] = replace(ALICE, expires_at=0)
        site.doorman.answers["out"] = Unauthenticated(Reason.EXPIRED)
        async with npm_client(site, {"id": "s", "query": "{ hello(wait: false) }"}, tokens=("out", "alice")) as client:
            lines = await client.rest()
        assert lines[0] == {"on": "closed", "code": 4403, "reason": "token expired"}
        assert {"on": "next", "id": "s", "answer": {"data": {"hello": "hello CONSUMER en"}}} in lines
        watching = {"id": "s", "query": 'subscription { numbers(upTo: 1, end: "wait") { value } }'}
        async with npm_client(site, watching, tokens=("old", "alice")) as client:
            lines = await client.until(lambda line: line["on"] == "closed")
            assert (lines[-1]["code"], lines[-1]["reason"]) == (4403, "token expired")
            await client.until(lambda line: line["on"] == "next")
