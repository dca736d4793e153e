"""``graphql-transport-ws``: every rule of the protocol, and everything that ends a socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from websockets.exceptions import InvalidStatus

from auth.principals import Held, PrincipalKind, View
from auth.tokens import Reason, Unauthenticated
from core.ids import uuid7
from core.settings import Settings
from gateway.documents import document_id
from models.identity import GrantRole
from subscriptions import sessions, websocket
from tests.realtime import wire
from tests.realtime.log import PATIENCE, until
from tests.realtime.wire import ALICE, Site, Terminal, serve, stage

WAITING = 'subscription { numbers(upTo: 1, end: "wait") { value } }'


@pytest.fixture(scope="module", params=["direct", "asgi"])
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    async with serve(direct=request.param == "direct") as running:
        yield running


@pytest.fixture
async def site(shared: Site) -> AsyncIterator[Site]:
    """The module's site, on a new stage."""
    wire.STAGE = wire.Stage()
    answers = dict(shared.doorman.answers)
    yield shared
    shared.doorman.answers = answers
    await until(lambda: (shared.sockets.sockets, shared.sockets.operations) == (0, 0))


@pytest.fixture
async def fresh(site: Site) -> AsyncIterator[Terminal]:
    """Connected, not initialised."""
    async with site.terminal() as terminal:
        yield terminal


@pytest.fixture
async def ready(fresh: Terminal) -> Terminal:
    """Acknowledged."""
    return await fresh.init()


# handshake


async def test_other_subprotocols_are_not_acceptable(site: Site) -> None:
    for subprotocol in (None, "graphql-ws", "soap"):
        async with site.terminal(subprotocol=subprotocol) as terminal:
            assert terminal.connection.subprotocol is None
            assert await terminal.closed() == (4406, "Subprotocol not acceptable")
    assert site.sockets.sockets == 0


async def test_origins(site: Site) -> None:
    for origin in (f"http://127.0.0.1:{site.port}", "https://shop.example", None):
        async with site.terminal(**({"origin": origin} if origin else {})) as terminal:
            await terminal.init()
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{site.port + 1}", "https://shop.example.evil"):
        with pytest.raises(InvalidStatus) as refused:
            async with site.terminal(origin=origin):
                pass
        assert refused.value.response.status_code == 403


# connection_init


@pytest.mark.parametrize("message", ['{"type":"connection_init"}', '{"type":"connection_init","payload":null}'])
async def test_init_is_acknowledged(fresh: Terminal, message: str) -> None:
    await fresh.send(message)
    assert await fresh.receive() == {"type": "connection_ack"}


async def test_init_timeout() -> None:
    async with serve(init=PATIENCE) as site, site.terminal() as silent:
        await until(lambda: site.sockets.sockets == 1)
        [socket] = site.sockets._open
        async with site.terminal() as ready:
            await ready.init()
            socket._opened -= PATIENCE + 1
            socket.due = 0.0
            assert await silent.closed() == (4408, "Connection initialisation timeout")
            await ready.alive()
    assert sessions.Limits().init == 3


async def test_second_init(ready: Terminal) -> None:
    await ready.send({"type": "connection_init"})
    assert await ready.closed() == (4429, "Too many initialisation requests")


async def test_subscribe_before_init(fresh: Terminal) -> None:
    await fresh.subscribe("1", "{ hello }")
    assert await fresh.closed() == (4401, "Unauthorized")


@pytest.mark.parametrize("payload", [[], "text", 5, True])
async def test_init_payload_must_be_an_object(fresh: Terminal, payload: Any) -> None:
    await fresh.send({"type": "connection_init", "payload": payload})
    assert (await fresh.closed())[0] == 4400


# messages


@pytest.mark.parametrize(
    "message",
    [
        b'{"type":"ping"}',
        b"\x00\xff",
        "",
        "nonsense",
        "{",
        "[]",
        '[{"type":"ping"}]',
        '"ping"',
        "null",
        "1",
        "{}",
        {"type": None},
        {"type": 1},
        {"type": ["ping"]},
        {"type": "start", "id": "1"},
        {"type": "connection_ack"},
        {"type": "next", "id": "1", "payload": {}},
        {"type": "error", "id": "1", "payload": [{"message": "x"}]},
        {"type": "ping", "payload": "x"},
        {"type": "pong", "payload": []},
        {"type": "complete"},
        {"type": "complete", "id": 1},
        {"type": "complete", "id": ""},
        {"type": "subscribe", "payload": {"query": "{ hello }"}},
        {"type": "subscribe", "id": 1, "payload": {"query": "{ hello }"}},
        {"type": "subscribe", "id": None, "payload": {"query": "{ hello }"}},
        {"type": "subscribe", "id": "", "payload": {"query": "{ hello }"}},
        {"type": "subscribe", "id": "1"},
        {"type": "subscribe", "id": "1", "payload": None},
        {"type": "subscribe", "id": "1", "payload": []},
        {"type": "subscribe", "id": "1", "payload": {}},
        {"type": "subscribe", "id": "1", "payload": {"query": None}},
        {"type": "subscribe", "id": "1", "payload": {"query": 5}},
        {"type": "subscribe", "id": "1", "payload": {"query": "{ hello }", "variables": []}},
        {"type": "subscribe", "id": "1", "payload": {"query": "{ hello }", "extensions": "x"}},
        {"type": "subscribe", "id": "1", "payload": {"query": "{ hello }", "operationName": 1}},
        {"type": "subscribe", "id": "1", "payload": {"documentId": 1}},
    ],
    ids=str,
)
async def test_invalid_messages_close_with_4400(ready: Terminal, message: Any) -> None:
    await ready.send(message)
    code, reason = await ready.closed()
    assert code == 4400 and reason.startswith("Invalid message received")


async def test_too_long_message() -> None:
    async with serve(message=1000) as site, site.terminal() as terminal:
        await terminal.init()
        await terminal.send({"type": "ping", "payload": {"x": "y" * 1000}})
        assert await terminal.closed() == (1009, "Message too long")


async def test_ping_and_pong(fresh: Terminal) -> None:
    """At any time, also before init; a pong needs no answer."""
    for _ in range(2):
        await fresh.send({"type": "pong"})
        await fresh.send({"type": "pong", "payload": {"unasked": 1}})
        await fresh.send({"type": "ping"})
        assert await fresh.receive() == {"type": "pong"}
        await fresh.send({"type": "ping", "payload": None})
        assert await fresh.receive() == {"type": "pong"}
        await fresh.alive()
        if _ == 0:
            await fresh.init()


# operations


async def test_query_is_next_and_complete(ready: Terminal) -> None:
    await ready.subscribe("q", "query Q($w: Boolean) { hello(wait: $w) }", variables=None, operationName="Q")
    assert await ready.receive() == {"id": "q", "type": "next", "payload": {"data": {"hello": "hello ANONYMOUS en"}}}
    assert await ready.receive() == {"id": "q", "type": "complete"}


async def test_mutation_is_next_and_complete(ready: Terminal) -> None:
    await ready.subscribe("m", 'mutation { note(text: "你好") { ... on NumberUpdate { value } } }')
    assert await ready.receive() == {"id": "m", "type": "next", "payload": {"data": {"note": {"value": 1}}}}
    assert await ready.receive() == {"id": "m", "type": "complete"}
    assert stage().done == ["你好"]


async def test_subscription_is_many_nexts_and_complete(ready: Terminal) -> None:
    await ready.subscribe('i"d', "subscription($n: Int!) { numbers(upTo: $n) { value } }", variables={"n": 3})
    for value in range(3):
        expected = {"id": 'i"d', "type": "next", "payload": {"data": {"numbers": {"value": value}}}}
        assert await ready.receive() == expected
    assert await ready.receive() == {"id": 'i"d', "type": "complete"}
    await until(lambda: stage().closed == 1)


async def test_errors_before_execution_end_one_operation_only(ready: Terminal) -> None:
    await ready.subscribe("live", WAITING)
    assert (await ready.receive())["type"] == "next"
    for query, code in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { numbers(upTo: 99999999999999) { value } }", "GRAPHQL_VALIDATION_FAILED"),
        ('subscription { numbers(upTo: 1, end: "denied") { value } }', "PERMISSION_DENIED"),
    ]:
        await ready.subscribe("bad", query)
        message = await ready.receive()
        assert (message["id"], message["type"]) == ("bad", "error")
        assert message["payload"][0]["extensions"]["code"] == code and message["payload"][0]["message"]
    await ready.alive()
    await ready.send({"type": "complete", "id": "live"})
    await until(lambda: stage().opened == stage().closed)


async def test_errors_of_a_field_are_part_of_the_answer(ready: Terminal) -> None:
    stage().failures = 1
    await ready.subscribe("q", 'mutation { note(text: "x") { ... on NumberUpdate { fragile } } }')
    message = await ready.receive()
    assert message["type"] == "next" and message["payload"]["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert (await ready.receive())["type"] == "complete"


async def test_id_in_use(ready: Terminal) -> None:
    await ready.subscribe("one", WAITING)
    await ready.receive()
    await ready.subscribe("one", "{ hello }")
    assert await ready.closed() == (4409, "Subscriber for one already exists")
    await until(lambda: stage().closed == 1)


async def test_id_in_use_that_is_longer_than_a_close_frame(ready: Terminal) -> None:
    id = "店" * 200
    await ready.subscribe(id, WAITING)
    await ready.subscribe(id, WAITING)
    code, reason = await ready.closed()
    assert code == 4409 and reason.startswith("Subscriber for 店店") and len(reason.encode()) <= 123


async def test_id_is_free_after_the_end(ready: Terminal) -> None:
    for _ in range(50):
        await ready.subscribe("same", "{ hello }")
        assert [(await ready.receive())["type"] for _ in range(2)] == ["next", "complete"]
        await ready.subscribe("same", "{ nothing }")
        assert (await ready.receive())["type"] == "error"
        await ready.subscribe("same", WAITING)
        assert (await ready.receive())["type"] == "next"
        await ready.send({"type": "complete", "id": "same"})


async def test_operations_run_side_by_side(site: Site, ready: Terminal) -> None:
    await ready.subscribe("slow", "{ hello(wait: true) }")
    await ready.subscribe("quick", "{ hello }")
    assert [(await ready.receive())["id"] for _ in range(2)] == ["quick", "quick"]
    assert site.sockets.operations == 1
    stage().go.set()
    assert [(await ready.receive())["id"] for _ in range(2)] == ["slow", "slow"]


async def test_complete_from_the_client(ready: Terminal) -> None:
    """Nothing more of the operation is sent, whatever it was; unknown ids are ignored."""
    await ready.subscribe("s", WAITING)
    await ready.receive()
    await ready.subscribe("q", "{ hello(wait: true) }")
    await asyncio.wait_for(stage().entered.wait(), PATIENCE)
    for id in ("s", "q", "s", "never"):
        await ready.send({"type": "complete", "id": id})
    await until(lambda: stage().closed == 1)
    stage().go.set()
    await ready.alive()


async def test_completed_mutation_still_happens(site: Site, ready: Terminal) -> None:
    await ready.subscribe("m", 'mutation { note(text: "kept", wait: true) { ... on NumberUpdate { value } } }')
    await asyncio.wait_for(stage().entered.wait(), PATIENCE)
    await ready.send({"type": "complete", "id": "m"})
    await until(lambda: site.sockets.operations == 0)
    stage().go.set()
    await until(lambda: stage().done == ["kept"])
    await ready.alive()


async def test_too_many_operations() -> None:
    async with serve(operations=3) as site, site.terminal() as terminal:
        await terminal.init()
        for id in "abc":
            await terminal.subscribe(id, WAITING)
            await terminal.receive()
        await terminal.subscribe("d", "{ hello }")
        message = await terminal.receive()
        assert (message["id"], message["type"]) == ("d", "error")
        assert message["payload"][0]["extensions"]["code"] == "TOO_MANY_OPERATIONS"
        await terminal.send({"type": "complete", "id": "a"})
        await terminal.subscribe("d", "{ hello }")
        assert (await terminal.receive())["type"] == "next"
    assert sessions.Limits().operations == 100


async def test_persisted_operations(site: Site, ready: Terminal) -> None:
    document = "subscription Registered { numbers(upTo: 1) { value } }"
    id = document_id(document)
    asked: list[dict[str, Any]] = [
        {"documentId": f"sha256:{id}"},
        {"documentId": id, "query": None},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": id}}},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": id}}, "query": None},
    ]
    for payload in asked:
        await ready.subscribe("p", **payload)
        message = await ready.receive()
        assert message["type"] == "error" and message["payload"][0]["extensions"]["code"].startswith("PERSISTED_QUERY")
    site.gateway.operations.add(View.CONSUMER, site.gateway.contracts[View.CONSUMER], document)
    for number, payload in enumerate(asked):
        await ready.subscribe(f"p{number}", **payload)
        assert (await ready.receive())["payload"] == {"data": {"numbers": {"value": 0}}}
        await ready.receive()
    await ready.subscribe("x", extensions={"persistedQuery": 5})
    assert (await ready.receive())["type"] == "error"


# failures of ours


async def test_broken_source_closes_to_be_tried_again(ready: Terminal) -> None:
    await ready.subscribe("s", 'subscription { numbers(upTo: 1, end: "broken") { value } }')
    assert (await ready.receive())["type"] == "next"
    code, reason = await ready.closed()
    assert code == 1013 and reason.startswith("try again later")


async def test_event_that_cannot_be_read_closes_to_be_tried_again(ready: Terminal) -> None:
    stage().failures = 1
    await ready.subscribe("s", "subscription { numbers(upTo: 2) { fragile } }")
    assert (await ready.closed())[0] == 1013


async def test_event_without_a_part_that_the_database_did_not_give_closes_to_be_tried_again(ready: Terminal) -> None:
    stage().failures, stage().failure = 1, ConnectionError("the database is away")
    await ready.subscribe("s", "subscription { numbers(upTo: 2) { value brittle } }")
    assert (await ready.closed())[0] == 1013


async def test_event_of_which_a_part_is_broken_is_delivered(ready: Terminal) -> None:
    """It would be as broken the next time, and nothing would ever come after it."""
    stage().failures = 1
    await ready.subscribe("s", "subscription { numbers(upTo: 2) { value brittle } }")
    first, second = (await ready.receive())["payload"], (await ready.receive())["payload"]
    assert first["data"] == {"numbers": {"value": 0, "brittle": None}}
    assert first["errors"][0]["extensions"]["code"] == "INTERNAL"
    assert second == {"data": {"numbers": {"value": 1, "brittle": 1}}}


async def test_access_that_ends_is_an_error_of_the_operation(ready: Terminal) -> None:
    await ready.subscribe("s", 'subscription { numbers(upTo: 1, end: "revoked") { value } }')
    assert (await ready.receive())["type"] == "next"
    message = await ready.receive()
    assert message["type"] == "error" and message["payload"][0]["extensions"]["code"] == "PERMISSION_DENIED"
    await ready.alive()


# who is asking


async def hello(terminal: Terminal) -> str:
    await terminal.subscribe("hello", "{ hello }")
    answer = await terminal.receive()
    await terminal.receive()
    return answer["payload"]["data"]["hello"]


async def test_credentials_and_language(site: Site) -> None:
    for headers, payload, expected in [
        ({}, {}, "hello ANONYMOUS en"),
        ({"authorization": "Bearer alice"}, {}, "hello CONSUMER en"),
        ({}, {"authorization": "Bearer alice"}, "hello CONSUMER en"),
        ({}, {"Authorization": "bearer alice"}, "hello CONSUMER en"),
        ({}, {"token": "alice"}, "hello CONSUMER en"),
        ({"authorization": "Bearer nobody"}, {"token": "alice"}, "hello CONSUMER en"),
        ({"accept_language": "zh-CN,en;q=0.5"}, {}, "hello ANONYMOUS zh-CN"),
        ({"accept_language": "zh-CN"}, {"locale": "en"}, "hello ANONYMOUS en"),
        ({}, {"locale": "zh-CN", "token": None}, "hello ANONYMOUS zh-CN"),
    ]:
        async with site.terminal(**headers) as terminal:
            await terminal.init(**payload)
            assert await hello(terminal) == expected


async def test_refused_init(site: Site) -> None:
    site.doorman.answers |= {
        "old": Unauthenticated(Reason.EXPIRED),
        "out": Unauthenticated(Reason.REVOKED),
        "away": ConnectionError("the database is away"),
    }
    for payload, closed in [
        ({"token": "nobody"}, (4403, "token invalid")),
        ({"token": "old"}, (4403, "token expired")),
        ({"token": "out"}, (4403, "session revoked")),
        ({"token": 5}, (4403, "token invalid")),
        ({"token": ""}, (4403, "token invalid")),
        ({"authorization": "Basic YTpi"}, (4403, "token invalid")),
        ({"authorization": ["x"]}, (4403, "token invalid")),
        ({"token": "away"}, (1013, "try again later")),
    ]:
        async with site.terminal() as terminal:
            await terminal.send({"type": "connection_init", "payload": payload})
            assert await terminal.closed() == closed
    async with site.terminal(authorization="Bearer nobody") as terminal:
        await terminal.send({"type": "connection_init"})
        assert await terminal.closed() == (4403, "token invalid")


async def test_token_expires_unless_refreshed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    hour = 3600
    site.doorman.answers["alice"] = replace(ALICE, expires_at=time.time() + hour)
    async with site.terminal() as terminal, site.terminal() as other:
        await terminal.init(token="alice")
        await other.init(token="alice")
        await terminal.subscribe("s", WAITING)
        await terminal.receive()
        renewed = replace(ALICE, expires_at=4e9)
        site.doorman.answers["new"] = renewed
        await terminal.send({"type": "ping", "payload": {"authorization": "Bearer new"}})
        expires_at = datetime.fromtimestamp(4e9, UTC).isoformat()
        assert await terminal.receive() == {"type": "pong", "payload": {"expiresAt": expires_at}}
        later = time.time() + hour
        monkeypatch.setattr(websocket, "time", SimpleNamespace(time=lambda: later))
        for socket in site.sockets._open:
            socket.due = 0.0
        assert await other.closed() == (4403, "token expired")
        await terminal.alive()  # and its subscription was not touched
        assert site.sockets.operations == 1


async def test_refresh_is_for_the_same_caller(site: Site) -> None:
    other_view = replace(ALICE, kind=PrincipalKind.MERCHANT, view=View.MERCHANT)
    site.doorman.answers["merchant"] = other_view
    for token, closed in [
        ("bob", (4403, "another subject")),
        ("merchant", (4403, "another subject")),
        ("nobody", (4403, "token invalid")),
    ]:
        async with site.terminal() as terminal:
            await terminal.init(token="alice")
            await terminal.send({"type": "ping", "payload": {"token": token}})
            assert await terminal.closed() == closed


async def test_session_and_grants_are_looked_at_again() -> None:
    store = Held(GrantRole.STORE_CLERK, uuid7(), None)
    more = Held(GrantRole.STORE_MANAGER, uuid7(), None)
    clerk = replace(ALICE, kind=PrincipalKind.MERCHANT, view=View.MERCHANT, grants=(store,))
    async with serve(recheck=0.05) as site:
        answers = site.doorman.answers
        answers |= {"a": clerk, "b": clerk, "c": clerk, "d": clerk}
        terminals: dict[str, Any] = {}
        async with site.terminal() as a, site.terminal() as b, site.terminal() as c, site.terminal() as d:
            for token, terminal in zip("abcd", (a, b, c, d), strict=True):
                terminals[token] = await terminal.init(token=token)
                await terminal.subscribe("s", WAITING)
                await terminal.receive()
            answers["a"] = Unauthenticated(Reason.REVOKED)
            answers["b"] = replace(clerk, grants=())
            answers["c"] = replace(clerk, grants=(store, more))
            answers["d"] = ConnectionError("the database is away")
            assert await a.closed() == (4403, "session revoked")
            asked = site.doorman.asked
            await until(lambda: site.doorman.asked > asked + 4)
            await b.alive()
            await c.alive()
            await d.alive()
            await until(lambda: stage().closed == 1)


# slow, silent, gone


async def test_keep_alive_pings() -> None:
    async with serve(keep_alive=0.05) as site, site.terminal() as terminal:
        await terminal.init()
        for _ in range(3):
            assert await terminal.receive() == {"type": "ping"}
            await terminal.send({"type": "pong"})
    assert sessions.Limits().keep_alive == 25


async def test_silent_peer() -> None:
    async with serve(keep_alive=0.05, silence=PATIENCE) as site, site.terminal() as silent:
        await silent.init()
        [socket] = site.sockets._open
        async with site.terminal() as talking:
            await talking.init()
            closing = asyncio.create_task(silent.closed())
            assert await talking.receive() == {"type": "ping"}
            socket._heard -= PATIENCE + 1  # and nothing since
            while not closing.done():
                assert await talking.receive() == {"type": "ping"}
                await talking.send({"type": "pong"})
            assert await closing == (4291, "silent")
            await talking.send({"type": "pong"})


async def test_peer_that_takes_nothing() -> None:
    """Bounded memory, a resume code, and everything released even though the close frame is stuck too."""
    async with serve(stall=0.3, goodbye=0.3, message=10**6) as site, site.terminal() as stuck, site.terminal() as other:
        await stuck.init()
        await other.init()
        stuck.connection.transport.pause_reading()
        await stuck.subscribe("s", "subscription { numbers(upTo: 1000000, size: 20000) { value text } }")
        await until(lambda: site.sockets.sockets == 1)
        await until(lambda: stage().opened == stage().closed == 1)
        assert site.sockets.operations == 0
        await other.alive()
        stuck.connection.transport.abort()


async def test_slow_peer_is_waited_for(ready: Terminal) -> None:
    """Whoever takes messages slowly, but takes them, gets all of them."""
    await ready.subscribe("s", "subscription { numbers(upTo: 300, size: 20000) { value text } }")
    ready.connection.transport.pause_reading()
    await until(lambda: stage().opened)
    ready.connection.transport.resume_reading()
    for value in range(300):
        assert (await ready.receive())["payload"]["data"]["numbers"]["value"] == value
    assert (await ready.receive())["type"] == "complete"


@pytest.mark.parametrize("how", ["close", "abort", "kick", "protocol error", "reset"])
async def test_nothing_is_left_of_a_thousand_sockets(site: Site, how: str) -> None:
    before = len(asyncio.all_tasks())
    for turn in range(1, 21):
        terminals: list[Terminal] = []
        async with asyncio.timeout(PATIENCE):
            contexts = [site.terminal() for _ in range(10)]
            terminals = [await context.__aenter__() for context in contexts]
            for terminal in terminals:
                await terminal.init()
                await terminal.subscribe("s", WAITING)
                await terminal.subscribe("q", "{ hello(wait: true) }")
            await until(lambda: site.sockets.operations == 20)
            await until(lambda: stage().opened == 10 * turn)  # noqa: B023
            for terminal in terminals:
                if how == "close":
                    await terminal.connection.close()
                elif how == "protocol error":
                    await terminal.send("?")
                elif how in ("abort", "reset"):
                    if how == "reset":
                        terminal.connection.transport.pause_reading()
                    terminal.connection.transport.abort()
            if how == "kick":
                for socket in list(site.sockets._open):
                    socket.end(websocket.Close.RESUME, "resume")
            await until(lambda: (site.sockets.sockets, site.sockets.operations) == (0, 0))
            for context in contexts:
                await context.__aexit__(None, None, None)
    await until(lambda: stage().opened == stage().closed == 200)
    # Only the two that look after all sockets have come.
    await until(lambda: len(asyncio.all_tasks()) <= before + 2)
    assert wire.stage().done == []


async def test_metrics(site: Site, ready: Terminal) -> None:
    def value(name: str, **labels: str) -> float:
        return sessions.metrics.REGISTRY.get_sample_value(name, labels) or 0

    before = value("hutong_sockets"), value("hutong_socket_operations")
    await ready.subscribe("s", WAITING)
    await ready.receive()
    assert (value("hutong_sockets") - before[0], value("hutong_socket_operations") - before[1]) == (0, 1)
    closed = value("hutong_sockets_closed_total", code="4400")
    await ready.send("?")
    await ready.closed()
    await until(lambda: (value("hutong_sockets"), value("hutong_socket_operations")) == (before[0] - 1, before[1]))
    assert value("hutong_sockets_closed_total", code="4400") == closed + 1


# drain


async def test_drain_closes_all_in_random_order_over_the_window() -> None:
    async with serve() as site:
        contexts = [site.terminal() for _ in range(12)]
        terminals = [await context.__aenter__() for context in contexts]
        for terminal in terminals:
            await terminal.init()
            await terminal.subscribe("s", WAITING)
            await terminal.receive()
        order: list[int] = []

        async def wait(number: int) -> tuple[int, str]:
            closed = await terminals[number].closed()
            order.append(number)
            return closed

        closing = [asyncio.create_task(wait(number)) for number in range(12)]
        await site.sockets.drain(timedelta(seconds=0.12))
        assert set(await asyncio.gather(*closing)) == {(1012, "service restart")}
        assert order != sorted(order)
        assert stage().opened == stage().closed == 12
        with pytest.raises(InvalidStatus) as refused:
            async with site.terminal():
                pass
        assert refused.value.response.status_code == 503
        for context in contexts:
            await context.__aexit__(None, None, None)


async def test_mutation_survives_the_drain() -> None:
    async with (
        serve(settings=Settings(operation_timeout=timedelta(seconds=PATIENCE))) as site,
        site.terminal() as terminal,
    ):
        await terminal.init()
        await terminal.subscribe("m", 'mutation { note(text: "paid", wait: true) { ... on NumberUpdate { value } } }')
        await asyncio.wait_for(stage().entered.wait(), PATIENCE)
        await site.sockets.drain(timedelta(0))
        closing = asyncio.create_task(site.sockets.close())
        stage().go.set()
        await closing
        assert stage().done == ["paid"]


async def test_the_drain_lets_answers_out_first() -> None:
    """Who waits for an answer gets it, within the window; who only follows does not hold anything up."""
    async with (
        serve(settings=Settings(operation_timeout=timedelta(seconds=PATIENCE))) as site,
        site.terminal() as terminal,
        site.terminal() as follower,
    ):
        await terminal.init()
        await follower.init()
        await follower.subscribe("s", WAITING)
        await follower.receive()
        await terminal.subscribe("s", WAITING)
        await terminal.receive()
        await terminal.subscribe("m", 'mutation { note(text: "x", wait: true) { ... on NumberUpdate { value } } }')
        await asyncio.wait_for(stage().entered.wait(), PATIENCE)
        draining = asyncio.create_task(site.sockets.drain(timedelta(seconds=PATIENCE)))
        assert await follower.closed() == (1012, "service restart")
        assert not draining.done()
        stage().go.set()
        assert (await terminal.receive())["type"] == "next"
        assert (await terminal.receive())["type"] == "complete"
        assert await terminal.closed() == (1012, "service restart")
        await draining


def test_wire_is_json_text() -> None:
    assert orjson.loads(websocket.to_json({"名": "店"})) == {"名": "店"}
