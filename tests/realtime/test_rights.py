"""Grants that change while something is on its way: what is sent from then on was made for those that hold."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from auth import changes
from auth.principals import Held
from core.ids import uuid7
from models.identity import GrantRole
from subscriptions import watchers
from tests.realtime.city import City, answer, follow
from tests.realtime.log import until
from tests.realtime.wire import ALICE, stage

WATCHED = (
    "subscription ($order: ID!, $after: String) { watch(order: $order, after: $after) { cursor marks me grants slow } }"
)
STATE = "subscription ($store: ID!) { state(store: $store) { marks grants slow } }"
MARKS = "subscription ($feed: String!) { marks(feed: $feed) { marks grants } }"
PROMOTED = replace(ALICE, grants=(Held(GrantRole.STORE_CLERK, uuid7(), None),))


async def known(city: City) -> None:
    """Until all connections know what was changed."""
    sockets = city.site.sockets._open
    await until(lambda: all(socket.principal is PROMOTED and not socket._suspended for socket in sockets))


async def test_an_event_that_was_being_executed_while_it_is_caught_up_with(city: City) -> None:
    stage().go.set()
    async with city.terminals("alice", "alice") as (alice, back):
        first = await follow(alice, WATCHED, order=city.order)
        await city.settled()
        await city.write("a")
        assert (await answer(alice))["grants"] == 0
        stage().go.clear()
        await back.subscribe("1", WATCHED, variables={"order": city.order, "after": first["cursor"]})
        await until(lambda: any(group._tasks for group in city.site.sockets.hub._groups.values()))
        city.site.doorman.answers["alice"] = PROMOTED
        changes.announce(ALICE.subject)
        await known(city)
        stage().go.set()
        told = await answer(back)
        assert (told["marks"], told["grants"]) == (["a"], 1)
        await city.write("b")
        for terminal in (alice, back):
            told = await answer(terminal)
            assert (told["marks"], told["grants"]) == (["b"], 1)


@pytest.mark.parametrize("room", [1, 9])
async def test_events_that_wait_for_their_execution(
    city: City,
    room: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Parked, or reading behind them. A newer token with other grants holds nothing back."""
    monkeypatch.setattr(watchers, "QUEUE", room)
    stage().go.set()
    async with city.terminals("alice") as (alice,):
        first = await follow(alice, WATCHED, order=city.order)
        await city.settled()
        stage().go.clear()
        for mark in "abc":
            await city.write(mark)
        [operation] = [one for socket in city.site.sockets._open for one in socket.operations.values()]
        assert len(operation._waiting or ()) == min(room, 3)
        city.site.doorman.answers["alice"] = PROMOTED
        await alice.send({"type": "ping", "payload": {"token": "alice"}})
        if room == 1:
            with pytest.raises(ConnectionClosed):
                await alice.receive()
            assert alice.connection.close_code == 1013
            stage().go.set()
            async with city.terminals("alice") as (back,):
                told = [await follow(back, WATCHED, order=city.order, after=first["cursor"])]
                told += [await answer(back) for _ in "bc"]
        else:
            assert (await alice.receive())["type"] == "pong"
            stage().go.set()
            told = [await answer(alice) for _ in "abc"]
        assert [(one["marks"], one["grants"]) for one in told] == [(["a"], 1), (["b"], 1), (["c"], 1)]


async def test_a_state_that_was_held_back(city: City) -> None:
    authenticate = city.site.doorman.principal
    looked = asyncio.Event()

    async def slowly(token: str | None) -> Any:
        await looked.wait()
        return await authenticate(token)

    async with city.terminals("alice") as (alice,):
        stage().go.set()
        assert (await follow(alice, STATE, store=city.store))["grants"] == 0
        await city.settled()
        city.site.doorman.principal = slowly  # type: ignore[method-assign]
        changes.announce(ALICE.subject)
        snapshots = stage().snapshots
        await city.write("a", feed=city.queue)
        [operation] = [one for socket in city.site.sockets._open for one in socket.operations.values()]
        await until(lambda: operation._state is not None)
        assert stage().snapshots > snapshots
        city.site.doorman.answers["alice"] = PROMOTED
        looked.set()
        told = await answer(alice)
        assert (told["marks"], told["grants"]) == (["a"], 1)


async def test_a_first_look_at_a_state(city: City) -> None:
    stage().go.set()
    async with city.terminals("alice", "alice") as (alice, late):
        await follow(alice, STATE, store=city.store)
        await city.settled()
        stage().go.clear()
        await late.subscribe("1", STATE, variables={"store": city.store})
        await until(lambda: any(group._tasks for group in city.site.sockets.hub._groups.values()))
        city.site.doorman.answers["alice"] = PROMOTED
        changes.announce(ALICE.subject)
        await known(city)
        stage().go.set()
        assert (await answer(late))["grants"] == 1


async def test_a_source_that_nobody_shares(city: City) -> None:
    async with city.terminals("alice") as (alice,):
        assert (await follow(alice, MARKS, feed=city.feed))["grants"] == 0
        city.site.doorman.answers["alice"] = PROMOTED
        changes.announce(ALICE.subject)
        await known(city)
        await city.write("a")
        assert await answer(alice) == {"marks": ["a"], "grants": 1}
