"""Sharing executions: who gets whose bytes, and that nobody loses or repeats anything by sharing."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.realtime.city import COUNTED, MINE, SLOW, City, answer, follow
from tests.realtime.log import PATIENCE, until
from tests.realtime.wire import WATCH, stage

# sharing


async def test_an_event_is_executed_once_for_those_who_ask_the_same(city: City) -> None:
    async with city.terminals("alice", "bob", "alice") as terminals:
        for terminal in terminals:
            await follow(terminal, COUNTED, order=city.order)
        await city.settled()
        assert city.site.sockets.hub.groups == 1
        before = len(stage().executions)
        await city.write("a", "b")
        told = [[await answer(terminal) for _ in range(2)] for terminal in terminals]
        assert told[0] == told[1] == told[2]
        assert [one["marks"] for one in told[0]] == [["a"], ["b"]]
        assert len(stage().executions) == before + 2


async def test_where_one_is_in_the_feed_is_not_asked(city: City) -> None:
    """``after`` and the id of the operation make no difference: both only say where one begins, or who is told."""
    await city.write("a", "b", "c")
    async with city.terminals("alice", "bob", "bob") as (one, two, three):
        snapshot = await follow(one, WATCH, order=city.order)
        assert snapshot["marks"] == ["a", "b", "c"]
        await city.write("d")
        cursor = (await answer(one))["cursor"]
        await city.write("e")
        await answer(one)
        assert (await follow(two, WATCH, "other", order=city.order, after=cursor))["marks"] == ["e"]
        assert (await follow(three, WATCH, order=city.order, after=snapshot["cursor"]))["marks"] == ["d"]
        assert (await answer(three))["marks"] == ["e"]
        await city.settled()
        assert city.site.sockets.hub.groups == 1
        await city.write("f")
        assert [(await answer(t))["marks"] for t in (one, two, three)] == [["f"]] * 3


async def test_an_event_seen_live_is_byte_for_byte_the_one_that_is_read_when_resuming(city: City) -> None:
    async with city.terminals("alice", "alice", "bob") as (live, back, shared):
        snapshot = await follow(live, WATCH, order=city.order)
        await follow(shared, WATCH, order=city.order)
        await city.settled()
        marks = ["a", "李雷 🍜", '\u2028 "\\ \x01\x1e\n', "長" * 20_000]
        for mark in marks:
            await city.write(mark)
        await city.write(*marks)
        told = [await live.connection.recv() for _ in range(2 * len(marks))]
        await back.subscribe("1", WATCH, variables={"order": city.order, "after": snapshot["cursor"]})
        assert [await back.connection.recv() for _ in told] == told
        assert [await shared.connection.recv() for _ in told] == told


@pytest.mark.parametrize(
    ("query", "one", "two"),
    [
        (
            "subscription ($order: ID!, $n: Int!) { watch(order: $order) { marks times(number: $n) } }",
            {"n": 1},
            {"n": 2},
        ),
        (
            "subscription ($order: ID!, $n: Boolean!) { watch(order: $order) { marks kind @include(if: $n) } }",
            {"n": True},
            {"n": False},
        ),
        (
            "subscription ($order: ID!, $n: Boolean!) { watch(order: $order) { marks ... @skip(if: $n) { kind } } }",
            {"n": True},
            {"n": False},
        ),
        (
            "subscription ($order: ID!, $n: Int = 7) { watch(order: $order) { ...F } } "
            "fragment F on WatchUpdate { marks times(number: $n) }",
            {},
            {"n": 2},
        ),
    ],
)
async def test_variables_below_the_root_field_part(city: City, query: str, one: Any, two: Any) -> None:
    async with city.terminals("alice", "bob") as terminals:
        for terminal, variables in zip(terminals, (one, two), strict=True):
            await follow(terminal, query, order=city.order, **variables)
        await city.settled()
        assert city.site.sockets.hub.groups == 2
        await city.write("a")
        first, second = [await answer(terminal) for terminal in terminals]
        assert first != second
        if "times" in first:
            assert (first["times"], second["times"]) == (one.get("n", 7), two["n"])
        else:
            assert ("kind" in first, "kind" in second) == (("skip" not in query), ("skip" in query))


async def test_an_absent_variable_is_not_null(city: City) -> None:
    query = "subscription ($order: ID!, $n: Int = 7) { watch(order: $order) { marks times(number: $n) } }"
    async with city.terminals("alice", "bob") as (one, two):
        assert (await follow(one, query, order=city.order))["times"] == 7
        await two.subscribe("1", query, variables={"order": city.order, "n": None})
        assert (await two.receive())["payload"].get("data") is None


# order


async def test_order_holds_when_executions_have_to_wait(city: City) -> None:
    async with city.terminals("alice", "bob") as (alice, bob):
        stage().go.set()
        await follow(alice, SLOW, order=city.order)
        await city.settled()
        stage().go.clear()
        await city.write("a")
        await bob.subscribe("1", SLOW, variables={"order": city.order})
        await city.write("b")
        await city.write("c")
        await until(lambda: stage().snapshots == 2)
        stage().go.set()
        assert [(await answer(alice))["marks"] for _ in range(3)] == [["a"], ["b"], ["c"]]
        seen = (await answer(bob))["marks"]
        while seen[-1] != "c":
            seen += (await answer(bob))["marks"]
        assert seen == ["a", "b", "c"]


async def test_one_failed_execution_ends_the_sockets_to_come_back(city: City) -> None:
    query = (
        "subscription ($order: ID!, $after: String) { watch(order: $order, after: $after) { cursor marks fragile } }"
    )
    async with city.terminals("alice", "bob") as terminals:
        for terminal in terminals:
            first = await follow(terminal, query, order=city.order)
        await city.settled()
        stage().failures = 1
        await city.write("a", "b")
        for terminal in terminals:
            code, reason = await terminal.closed()
            assert code == 1013 and reason.startswith("try again later")
    async with city.terminals("alice") as (alice,):
        assert (await follow(alice, query, order=city.order, after=first["cursor"]))["marks"] == ["a"]
        assert (await answer(alice))["marks"] == ["b"]


async def test_final_value_completes_all(city: City) -> None:
    async with city.terminals("alice", "bob") as terminals:
        for terminal in terminals:
            await follow(terminal, WATCH, order=city.order)
        await city.settled()
        await city.write("last")
        for terminal in terminals:
            assert (await answer(terminal))["marks"] == ["last"]
            assert (await terminal.receive())["type"] == "complete"
            await terminal.alive()
        assert city.site.sockets.hub.groups == 0


async def test_everybody_gets_everything_once_and_in_order(city: City) -> None:
    """Members come, go, come back with their cursor and are of two groups, while events are written all the time."""
    rounds = 40
    written: list[str] = []

    async def publish() -> None:
        for n in range(rounds):
            marks = [f"{n}.{i}" for i in range(random.randint(1, 5))]
            written.extend(marks)
            await city.write(*marks)
            await asyncio.sleep(random.uniform(0, 0.01))

    async def watch(query: str, delay: float) -> list[str]:
        await asyncio.sleep(delay)
        seen: list[str] = []
        cursor: str | None = None
        while not seen or seen[-1] != "end":
            async with city.terminals("alice") as (terminal,):
                await terminal.subscribe("1", query, variables={"order": city.order, "after": cursor})
                for _ in range(random.randint(1, 20)):
                    told = await answer(terminal)
                    seen += told["marks"]
                    cursor = told["cursor"]
                    if seen and seen[-1] == "end":
                        break
        return seen

    stage().go.set()
    async with asyncio.timeout(PATIENCE * 2):
        queries = [WATCH, COUNTED, SLOW, MINE]
        watching = [asyncio.create_task(watch(queries[n % 4], n * 0.01)) for n in range(12)]
        await publish()
        await city.write("end")
        written.append("end")
        for seen in await asyncio.gather(*watching):
            assert seen == written
