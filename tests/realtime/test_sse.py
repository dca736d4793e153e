"""GraphQL over SSE: every rule of both modes, what ends a stream, and coming back by ``Last-Event-ID``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest

from auth.principals import View
from auth.tokens import Reason, Unauthenticated
from core.ids import encode
from core.settings import Settings
from gateway.documents import document_id
from subscriptions import sse
from tests.realtime.events import TOKEN, Browser, Event, browser
from tests.realtime.log import append, new_feed, open_tails, reader, until
from tests.realtime.wire import ALICE, WAITING, WATCH, Site, serve, stage

NUMBERS = "subscription { numbers(upTo: 2) { value } }"
ALICES = {"authorization": "Bearer alice"}


@pytest.fixture
async def page(site: Site) -> AsyncIterator[Browser]:
    async with browser(site) as opened:
        yield opened


def values(events: list[Event]) -> list[int]:
    return [event.json["data"]["numbers"]["value"] for event in events if event.name == "next"]


# distinct connections


@pytest.mark.parametrize(
    ("query", "answers"),
    [
        (NUMBERS, [{"data": {"numbers": {"value": 0}}}, {"data": {"numbers": {"value": 1}}}]),
        ("{ hello }", [{"data": {"hello": "hello ANONYMOUS en"}}]),
        ('mutation { note(text: "x") { ... on NumberUpdate { value } } }', [{"data": {"note": {"value": 1}}}]),
    ],
)
async def test_answers_then_complete(page: Browser, query: str, answers: list[Any]) -> None:
    async with page.stream(query) as stream:
        events = await stream.rest()
    assert [event.json for event in events[:-1]] == answers
    assert [event.name for event in events] == ["next"] * len(answers) + ["complete"]
    assert events[-1].data == "", "EventSource calls no listener without a data field"


async def test_subscription_by_get(page: Browser) -> None:
    async with page.stream(method="GET", params={"query": NUMBERS}) as stream:
        assert values(await stream.rest()) == [0, 1]


async def test_by_persisted_id(page: Browser) -> None:
    document = "subscription Registered { numbers(upTo: 2) { value } }"
    id = document_id(document)
    page.site.gateway.operations.add(View.CONSUMER, page.site.gateway.contracts[View.CONSUMER], document)
    for asked in ({"documentId": id}, {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": id}}}):
        async with page.stream(json=asked) as stream:
            assert values(await stream.rest()) == [0, 1]
    async with page.stream(method="GET", params={"documentId": id}) as stream:
        assert values(await stream.rest()) == [0, 1]


async def test_who_prefers_json_gets_a_stream_for_subscriptions_only(page: Browser) -> None:
    accept = "application/graphql-response+json, application/json, text/event-stream, multipart/mixed"
    response = await page.send("POST", headers={"accept": accept}, json={"query": "{ hello }"})
    assert response.json() == {"data": {"hello": "hello ANONYMOUS en"}}
    async with page.stream(NUMBERS, headers={"accept": accept}) as stream:
        assert values(await stream.rest()) == [0, 1]
    refused = await page.send("POST", json={"query": NUMBERS}, headers={"accept": "application/json"})
    assert refused.status_code == 405


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription ($n: Int!) { numbers(upTo: $n) { value } }", "BAD_USER_INPUT"),
        ('subscription { numbers(upTo: 1, end: "denied") { value } }', "PERMISSION_DENIED"),
    ],
)
async def test_errors_come_in_the_stream(page: Browser, query: str, code: str) -> None:
    async with page.stream(query) as stream:
        first, second = await stream.rest()
    assert first.name == "next" and first.json["errors"][0]["extensions"]["code"] == code
    assert "data" not in first.json and second.name == "complete"


async def test_access_that_ends_is_told_and_completes(page: Browser) -> None:
    async with page.stream('subscription { numbers(upTo: 1, end: "revoked") { value } }') as stream:
        answer, refusal, complete = await stream.rest()
    assert values([answer]) == [0]
    assert refusal.json["errors"][0]["extensions"]["code"] == "PERMISSION_DENIED" and complete.name == "complete"


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"content": "{", "headers": {"content-type": "application/json"}}, 400),
        ({"json": []}, 400),
        ({"json": {"query": 5}}, 400),
        ({"content": b"\xff\xfe", "headers": {"content-type": "application/json"}}, 400),
        ({"content": "{ hello }", "headers": {"content-type": "text/plain"}}, 415),
        ({"content": "x" * 1_000_001, "headers": {"content-type": "application/json"}}, 413),
        ({"json": {"query": "{ hello }"}, "headers": {"authorization": "Bearer nobody"}}, 401),
        ({"json": {"query": "{ hello }"}, "headers": {"origin": "https://evil.example"}}, 403),
    ],
)
async def test_what_is_no_request_gets_no_stream(page: Browser, options: dict[str, Any], status: int) -> None:
    headers = {"accept": "text/event-stream"} | options.get("headers", {})
    response = await page.send("POST", **options | {"headers": headers})
    assert response.status_code == status and response.json()["errors"]


async def test_mutation_by_get(page: Browser) -> None:
    response = await page.send(
        "GET", headers={"accept": "text/event-stream"}, params={"query": 'mutation { note(text: "x") { __typename } }'}
    )
    assert response.status_code == 405
    assert stage().done == []


async def test_closing_the_connection_completes_the_subscription(page: Browser) -> None:
    async with page.stream(WAITING) as stream:
        assert values([await stream.next()]) == [0]  # type: ignore[list-item]
        assert page.site.sockets.operations == 1
    await until(lambda: stage().opened == stage().closed == 1)


async def test_origin_is_told_back(page: Browser) -> None:
    async with page.stream(NUMBERS, headers={"origin": "https://shop.example"}) as stream:
        assert stream.response.headers["access-control-allow-origin"] == "https://shop.example"
        assert stream.response.headers["cache-control"] == "no-store"
        assert "content-length" not in stream.response.headers
    allowed = (await page.send("OPTIONS", headers={"origin": "https://shop.example"})).headers
    assert {"PUT", "DELETE"} <= set(allowed["access-control-allow-methods"].split(", "))
    assert TOKEN in allowed["access-control-allow-headers"]


# failures of ours


@pytest.mark.parametrize(
    "query",
    [
        'subscription { numbers(upTo: 1, end: "broken") { value } }',
        "subscription { numbers(upTo: 2) { fragile } }",
    ],
)
async def test_failure_of_ours_ends_without_complete(page: Browser, query: str) -> None:
    stage().failures = 1
    async with page.stream(query) as stream:
        events = await stream.rest()
    assert "complete" not in [event.name for event in events]
    assert not [event for event in events if "errors" in event.json]
    assert stream.comments[-1].startswith("1013 try again later")


async def test_token_expires(page: Browser) -> None:
    page.site.doorman.answers["old"] = replace(ALICE, expires_at=0)
    async with page.stream(WAITING, headers={"authorization": "Bearer old"}) as stream:
        events = await stream.rest()
    assert "complete" not in [event.name for event in events]
    assert stream.comments[-1] == "4403 token expired"


async def test_session_is_looked_at_again() -> None:
    async with serve(recheck=0.05) as site, browser(site) as page:
        async with page.stream(WAITING, headers=ALICES) as stream:
            await stream.next()
            site.doorman.answers["alice"] = Unauthenticated(Reason.REVOKED)
            events = await stream.rest()
        assert "complete" not in [event.name for event in events]
        assert stream.comments[-1] == "4403 session revoked"


async def test_keep_alive() -> None:
    async with serve(keep_alive=0.05) as site, browser(site) as page, page.stream(WAITING) as stream:
        await stream.next()
        reading = asyncio.ensure_future(stream.next())
        await until(lambda: len(stream.comments) > 4)
        reading.cancel()


async def test_drain() -> None:
    async with serve() as site, browser(site) as page:
        async with page.stream(WAITING) as stream:
            await stream.next()
            await site.sockets.drain(timedelta(0))
            assert "complete" not in [event.name for event in await stream.rest()]
            assert stream.comments[-1] == "1012 service restart"
        assert (await page.send("PUT")).status_code == 503
        refused = await page.send("POST", headers={"accept": "text/event-stream"}, json={"query": WAITING})
        assert refused.status_code == 503


async def test_peer_that_takes_nothing() -> None:
    """Gone after its deadline, and others do not notice."""
    async with serve(stall=0.3, goodbye=0.3) as site, browser(site) as page:
        transport = httpx.AsyncHTTPTransport(socket_options=[(1, 8, 4096)])  # SOL_SOCKET, SO_RCVBUF
        async with httpx.AsyncClient(transport=transport, timeout=None) as stuck:
            asked = {"query": "subscription { numbers(upTo: 1000000, size: 20000) { value text } }"}
            headers = {"accept": "text/event-stream"}
            async with stuck.stream("POST", site.http, json=asked, headers=headers), page.stream(WAITING) as other:
                await other.next()
                await until(lambda: stage().opened == 2)
                await until(lambda: site.sockets.sockets == 1)
                assert site.sockets.operations == 1


# the single connection


async def test_single_connection(page: Browser) -> None:
    token = await page.reserve()
    async with page.stream(method="GET", headers={TOKEN: token}) as stream:
        for id, query in (("a", NUMBERS), ("b", "{ hello }"), ("c", "{ nothing }"), ("d", WAITING)):
            response = await page.operate(token, id, query)
            assert response.status_code == (200 if id == "c" else 202), response.text
            assert (response.content == b"") == (id != "c")
        heard: dict[str, list[Any]] = {}
        while sum(map(len, heard.values())) < 6:
            event = await stream.next()
            assert event is not None
            heard.setdefault(event.json["id"], []).append((event.name, event.json.get("payload")))
        assert heard["a"] == [
            ("next", {"data": {"numbers": {"value": 0}}}),
            ("next", {"data": {"numbers": {"value": 1}}}),
            ("complete", None),
        ]
        assert heard["b"] == [("next", {"data": {"hello": "hello ANONYMOUS en"}}), ("complete", None)]
        assert heard["d"] == [("next", {"data": {"numbers": {"value": 0}}})]
        assert (await page.operate(token, "d", NUMBERS)).status_code == 409
        stopped = await page.send("DELETE", headers={TOKEN: token}, params={"operationId": "d"})
        assert stopped.status_code == 200
        await until(lambda: stage().opened == stage().closed == 2)
        assert (await page.operate(token, "d", "{ hello }")).status_code == 202
        event = await stream.next()
        assert event is not None and event.json["id"] == "d"
    await until(lambda: page.site.sockets.sockets == 0)
    assert (await page.operate(token, "e", NUMBERS)).status_code == 404, "the reservation ended with its stream"


async def test_token_in_the_address(page: Browser) -> None:
    token = await page.reserve()
    async with page.stream(method="GET", params={"token": token}) as stream:
        asked = {"query": NUMBERS, "extensions": {"operationId": "x"}}
        assert (await page.send("POST", params={"token": token}, json=asked)).status_code == 202
        for value in (0, 1):
            event = await stream.next()
            assert event is not None
            assert event.json == {"id": "x", "payload": {"data": {"numbers": {"value": value}}}}


async def test_one_stream_per_reservation(page: Browser) -> None:
    token = await page.reserve()
    async with page.stream(method="GET", headers={TOKEN: token}):
        second = await page.send("GET", headers={TOKEN: token, "accept": "text/event-stream"})
        assert second.status_code == 409


async def test_operations_may_come_before_the_stream(page: Browser) -> None:
    token = await page.reserve()
    assert (await page.operate(token, "a", NUMBERS)).status_code == 202
    assert (await page.operate(token, "a", NUMBERS)).status_code == 409
    assert (await page.operate(token, "b", NUMBERS)).status_code == 202
    assert (await page.send("DELETE", headers={TOKEN: token}, params={"operationId": "b"})).status_code == 200
    async with page.stream(method="GET", headers={TOKEN: token}) as stream:
        ids = [(await stream.next()).json["id"] for _ in range(3)]  # type: ignore[union-attr]
        assert ids == ["a", "a", "a"]


@pytest.mark.parametrize(
    ("method", "options", "status"),
    [
        ("GET", {"headers": {TOKEN: "unknown", "accept": "text/event-stream"}}, 404),
        ("POST", {"headers": {TOKEN: "unknown"}, "json": {"query": NUMBERS, "extensions": {"operationId": "1"}}}, 404),
        ("DELETE", {"headers": {TOKEN: "unknown"}, "params": {"operationId": "1"}}, 404),
        ("DELETE", {"params": {"operationId": "1"}}, 400),
    ],
)
async def test_what_was_not_reserved(page: Browser, method: str, options: dict[str, Any], status: int) -> None:
    assert (await page.send(method, **options)).status_code == status


@pytest.mark.parametrize("extensions", [{}, {"operationId": ""}, {"operationId": 5}, {"operationId": None}])
async def test_operation_needs_an_id(page: Browser, extensions: dict[str, Any]) -> None:
    token = await page.reserve()
    asked = {"query": NUMBERS, "extensions": extensions}
    assert (await page.send("POST", headers={TOKEN: token}, json=asked)).status_code == 400
    assert (await page.send("DELETE", headers={TOKEN: token})).status_code == 400


async def test_reservation_is_of_its_caller(page: Browser) -> None:
    token = await page.reserve(**ALICES)
    async with page.stream(method="GET", headers={TOKEN: token}) as stream:
        assert (await page.operate(token, "1", "{ hello }")).status_code == 202
        event = await stream.next()
        assert event is not None
        assert event.json["payload"] == {"data": {"hello": "hello CONSUMER en"}}
        asked = {"query": "{ hello }", "extensions": {"operationId": "2"}}
        other = await page.send("POST", headers={TOKEN: token, "authorization": "Bearer bob"}, json=asked)
        assert other.status_code == 403


async def test_operation_brings_a_newer_token(page: Browser) -> None:
    page.site.doorman.answers["short"] = replace(ALICE, expires_at=4e9 - 1)
    token = await page.reserve(authorization="Bearer short")
    async with page.stream(method="GET", headers={TOKEN: token}):
        await until(lambda: page.site.sockets.sockets == 1)
        [session] = page.site.sockets._open
        assert session.principal.expires_at == 4e9 - 1
        asked = {"query": "{ hello }", "extensions": {"operationId": "2"}}
        await page.send("POST", headers={TOKEN: token} | ALICES, json=asked)
        assert session.principal.expires_at == 4e9


async def test_too_many_operations() -> None:
    async with serve(operations=2) as site, browser(site) as page:
        token = await page.reserve()
        async with page.stream(method="GET", headers={TOKEN: token}) as stream:
            for id in "ab":
                await page.operate(token, id, WAITING)
                await stream.next()
            refused = await page.operate(token, "c", WAITING)
            assert refused.status_code == 429
            assert refused.json()["errors"][0]["extensions"]["code"] == "TOO_MANY_OPERATIONS"
            assert (await page.operate(token, "a", WAITING)).status_code == 409


async def test_reservations_end_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve() as site, browser(site) as page:
        monkeypatch.setattr(sse, "RESERVED_FOR", -1.0)
        token = await page.reserve()
        late = await page.send("GET", headers={TOKEN: token, "accept": "text/event-stream"})
        assert late.status_code == 404
        monkeypatch.setattr(sse, "RESERVED_FOR", 30.0)
        monkeypatch.setattr(sse, "MAX_RESERVATIONS", 1)
        await page.reserve()
        assert (await page.send("PUT")).status_code == 503


# cursors


async def test_last_event_id_resumes(database_url: str) -> None:
    """Every event has its cursor as its id; a stream that names one goes on behind it, whatever its document says."""
    settings = Settings()
    feed = new_feed()
    async with open_tails(database_url, timedelta(seconds=0.05)) as (database, tails):
        runtime = SimpleNamespace(settings=settings, database=database)
        async with serve(runtime, tails, settings) as site, browser(site) as page:
            await append(database, feed, count=2)
            asked = {"query": WATCH, "variables": {"order": encode("Order", UUID(feed[6:]))}}
            marks: list[str] = []
            last = ""
            for turn in range(4):
                headers = {"last-event-id": last} if last else {}
                async with page.stream(json=asked, headers=headers) as stream:
                    wanted = (await reader(database, feed)())[1]
                    while len(marks) < len(wanted):
                        event = await stream.next()
                        assert event is not None and event.id == event.json["data"]["watch"]["cursor"]
                        assert (event.json["data"]["watch"]["reset"] is None) and (turn == 0 or event.id != last)
                        last = event.id
                        marks += event.json["data"]["watch"]["marks"]
                    await append(database, feed)
                    event = await stream.next()
                    assert event is not None and event.id is not None
                    last = event.id
                    marks += event.json["data"]["watch"]["marks"]
                await append(database, feed, count=2)
            wanted = (await reader(database, feed)())[1]
            assert marks == wanted[: len(marks)] and len(marks) == len(wanted) - 2


@pytest.mark.parametrize("mode", ["distinct", "single"])
async def test_nothing_is_left_of_two_hundred_streams(site: Site, mode: str) -> None:
    before = len(asyncio.all_tasks())
    async with browser(site) as page:
        for turn in range(1, 11):
            async with asyncio.TaskGroup() as group:

                async def follow() -> None:
                    if mode == "distinct":
                        async with page.stream(WAITING) as stream:
                            await stream.next()
                    else:
                        token = await page.reserve()
                        async with page.stream(method="GET", headers={TOKEN: token}) as stream:
                            await page.operate(token, "1", WAITING)
                            await stream.next()

                for _ in range(20):
                    group.create_task(follow())
            await until(lambda: site.sockets.sockets == 0)
            await until(lambda: stage().closed == 20 * turn)  # noqa: B023
    await until(lambda: len(asyncio.all_tasks()) <= before + 2)
