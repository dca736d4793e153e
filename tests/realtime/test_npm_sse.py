"""The npm client of GraphQL over SSE against this server, in both of its modes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from core.settings import Settings
from subscriptions.protocol import Close
from tests import node
from tests.realtime.log import append, new_feed, open_tails, reader, until
from tests.realtime.test_npm_client import MARKS, NpmClient
from tests.realtime.wire import Site, serve, stage

SCRIPT = Path(__file__).with_name("sse.mjs")
BOTH = pytest.mark.parametrize("single", [False, True], ids=["distinct", "single"])


@asynccontextmanager
async def npm_client(site: Site, single: bool, *operations: dict[str, Any]) -> AsyncIterator[NpmClient]:
    await asyncio.to_thread(node.install)
    asked = orjson.dumps({"url": site.http, "token": "alice", "single": single, "operations": operations}).decode()
    process = await asyncio.create_subprocess_exec(
        *node.node_command(), str(SCRIPT), asked, stdout=asyncio.subprocess.PIPE, env=node.environment()
    )
    try:
        yield NpmClient(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@BOTH
async def test_operations_of_every_kind(single: bool) -> None:
    async with serve() as site:
        async with npm_client(
            site,
            single,
            {"id": "q", "query": "{ hello }"},
            {"id": "m", "query": 'mutation { note(text: "x") { ... on NumberUpdate { value } } }'},
            {"id": "s", "query": "subscription { numbers(upTo: 3) { value } }"},
            {"id": "denied", "query": 'subscription { numbers(upTo: 3, end: "denied") { value } }'},
            {"id": "left", "query": 'subscription { numbers(upTo: 3, end: "wait") { value } }', "take": 2},
        ) as client:
            lines = await client.rest()
        answers: dict[str, list[Any]] = {}
        for line in lines:
            if line["on"] == "next":
                answers.setdefault(line["id"], []).append(line["answer"])
        assert answers["q"] == [{"data": {"hello": "hello CONSUMER en"}}]
        assert answers["m"] == [{"data": {"note": {"value": 1}}}]
        assert [answer["data"]["numbers"]["value"] for answer in answers["s"]] == [0, 1, 2]
        assert answers["denied"][0]["errors"][0]["extensions"]["code"] == "PERMISSION_DENIED"
        assert [answer["data"]["numbers"]["value"] for answer in answers["left"]][:2] == [0, 1]
        assert sorted(line["id"] for line in lines if line["on"] == "complete") == ["denied", "left", "m", "q", "s"]
        assert len([line for line in lines if line["on"] == "connected"]) == (1 if single else 5)
        await until(lambda: (site.sockets.sockets, site.sockets.operations) == (0, 0))
        await until(lambda: stage().opened == stage().closed == 3)


@BOTH
async def test_resumes_after_every_end(database_url: str, single: bool) -> None:
    """All events exactly once and in order, over streams that are ended by the server."""
    settings = Settings()
    feed = new_feed()
    async with open_tails(database_url, timedelta(seconds=0.05)) as (database, tails):
        runtime = SimpleNamespace(settings=settings, database=database)
        watching = {"id": "s", "query": MARKS, "variables": {"feed": feed}, "resume": True}
        async with serve(runtime, tails, settings) as site, npm_client(site, single, watching) as client:
            marks: list[str] = []

            async def all_come() -> None:
                top, wanted = await reader(database, feed)()
                while len(marks) < top:
                    line = await client.said()
                    assert line is not None
                    if line["on"] == "next":
                        told = line["answer"]["data"]["marks"]
                        assert told["reset"] is None
                        marks.extend(told["marks"])
                assert marks == wanted

            await client.until(lambda line: line["on"] == "next")
            for close in (Close.RESTART, Close.TRY_LATER, Close.RESUME):
                await append(database, feed, count=3)
                await all_come()
                await append(database, feed, count=2)
                await until(lambda: site.sockets.sockets == 1)
                [session] = site.sockets._open
                session.end(close, "come back")
                await append(database, feed, count=2)
                await all_come()
