"""Sharing executions: states are read once for all who follow them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from auth import changes
from tests.realtime.city import STATE, City, answer, follow, grant
from tests.realtime.log import PATIENCE, until
from tests.realtime.wire import BOB, stage

# states


async def test_states_are_read_once_for_all(city: City) -> None:
    async with city.terminals("alice", "bob", "alice") as terminals:
        for terminal in terminals:
            assert (await follow(terminal, STATE, store=city.store))["marks"] == []
        await city.settled()
        assert city.site.sockets.hub.groups == 1
        snapshots, executions = stage().snapshots, len(stage().executions)
        await city.write("a", feed=city.queue)
        told = [await answer(terminal) for terminal in terminals]
        assert told[0] == told[1] == told[2] and told[0]["marks"] == ["a"]
        assert (stage().snapshots, len(stage().executions)) == (snapshots + 1, executions + 1)


async def test_states_outlive_their_reader(city: City) -> None:
    """Whoever reads for the group may leave, or lose the right: another one reads on."""
    async with city.terminals("alice", "bob") as (alice, bob):
        await follow(alice, STATE, store=city.store)
        await follow(bob, STATE, store=city.store)
        await city.settled()
        await alice.send({"type": "complete", "id": "1"})
        await until(lambda: city.site.sockets.operations == 1)
        await city.write("a", feed=city.queue)
        assert (await answer(bob))["marks"] == ["a"]
        assert (await follow(alice, STATE, store=city.store))["marks"] == ["a"]
        stage().banned.add(BOB.subject)
        city.site.doorman.answers["bob"] = replace(BOB, grants=(grant(),))
        changes.announce(BOB.subject)
        assert (await bob.receive())["payload"][0]["extensions"]["code"] == "ACCESS_ENDED"
        await city.write("b", feed=city.queue)
        assert (await answer(alice))["marks"] == ["a", "b"]


async def test_cursor_of_a_state_saves_the_first_look(city: City) -> None:
    async with city.terminals("alice", "bob") as (alice, bob):
        cursor = (await follow(alice, STATE, store=city.store))["cursor"]
        await bob.subscribe("1", STATE, variables={"store": city.store, "after": cursor})
        await until(lambda: city.site.sockets.operations == 2)
        await city.settled()
        await bob.alive()
        await city.write("a", feed=city.queue)
        assert (await answer(bob))["marks"] == (await answer(alice))["marks"] == ["a"]
        await bob.send({"type": "complete", "id": "1"})
        told = await follow(bob, STATE, "2", store=city.store, after=cursor)
        assert told["marks"] == ["a"]


async def test_last_state_completes_all(city: City) -> None:
    async with city.terminals("alice", "bob") as terminals:
        for terminal in terminals:
            await follow(terminal, STATE, store=city.store)
        await city.settled()
        await city.write("last", feed=city.queue)
        for terminal in terminals:
            assert (await answer(terminal))["marks"] == ["last"]
            assert (await terminal.receive())["type"] == "complete"


async def test_everybody_ends_with_the_newest_state(city: City) -> None:
    async def watch(token: str) -> list[int]:
        sizes: list[int] = []
        async with city.terminals(token) as (terminal,):
            told = await follow(terminal, STATE, store=city.store)
            while len(told["marks"]) < 60:
                sizes.append(len(told["marks"]))
                told = await answer(terminal)
        return sizes

    watching = []
    for n in range(60):
        if n % 6 == 0:
            watching.append(asyncio.create_task(watch("alice" if n % 12 else "bob")))
        await city.write(f"{n}", feed=city.queue)
    async with asyncio.timeout(PATIENCE):
        for sizes in await asyncio.gather(*watching):
            assert sizes == sorted(set(sizes)), "no state twice, none older than one before"
