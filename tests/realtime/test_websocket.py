"""``graphql-transport-ws``: every rule of the protocol."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from websockets.exceptions import InvalidStatus

from auth.principals import View
from gateway.documents import document_id
from subscriptions import sessions, websocket
from tests.realtime.log import PATIENCE, until
from tests.realtime.wire import WAITING, Site, Terminal, serve, stage

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


def test_wire_is_json_text() -> None:
    assert orjson.loads(websocket.to_json({"名": "店"})) == {"名": "店"}
