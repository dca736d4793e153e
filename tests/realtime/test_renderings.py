"""What was made of an event: made again where it failed, and never more of it than there is room for."""

from __future__ import annotations

import pytest

from subscriptions import watchers
from tests.realtime.city import SLOW, City, answer, follow
from tests.realtime.log import until
from tests.realtime.wire import stage

UNLUCKY = (
    "subscription ($order: ID!, $after: String) { watch(order: $order, after: $after) { cursor marks slow fragile } }"
)


async def test_a_failure_does_not_wait_for_those_who_come_back(city: City) -> None:
    """While others, who were past the event that failed, keep their group."""
    stage().go.set()
    async with city.terminals("alice", "bob", "bob") as (alice, bob, other):
        for terminal in (alice, bob):
            first = await follow(terminal, UNLUCKY, order=city.order)
        await city.settled()
        stage().go.clear()
        stage().failures = 1
        await city.write("a")
        snapshots = stage().snapshots
        await other.subscribe("1", UNLUCKY, variables={"order": city.order})
        await until(lambda: stage().snapshots > snapshots)
        stage().go.set()
        for terminal in (alice, bob):
            assert (await terminal.closed())[0] == 1013
        assert (await answer(other))["marks"] == ["a"]
        assert city.site.sockets.hub.groups == 1
        async with city.terminals("alice") as (back,):
            assert (await follow(back, UNLUCKY, order=city.order, after=first["cursor"]))["marks"] == ["a"]


async def test_no_more_than_there_is_room_for_waits_for_an_execution(
    city: City,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchers, "QUEUE", 5)
    stage().go.set()
    async with city.terminals("alice", "bob") as terminals:
        for terminal in terminals:
            await follow(terminal, SLOW, order=city.order)
        await city.settled()
        stage().go.clear()
        marks = [str(n) for n in range(40)]
        for mark in marks:
            await city.write(mark)
        operations = [one for socket in city.site.sockets._open for one in socket.operations.values()]
        assert [len(one._waiting or ()) for one in operations] == [5, 5]
        stage().go.set()
        for terminal in terminals:
            assert [(await answer(terminal))["marks"] for _ in marks] == [[mark] for mark in marks]
        await city.settled()
