"""``graphql-transport-ws``: who is at the other end, and for how long that is so."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from auth.principals import Held, PrincipalKind, View
from auth.tokens import Reason, Unauthenticated
from core.ids import uuid7
from models.identity import GrantRole
from subscriptions import websocket
from tests.realtime.log import until
from tests.realtime.wire import ALICE, WAITING, Site, Terminal, serve, stage

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
