"""Sharing executions: nobody is told what is another one's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from auth import changes
from auth.principals import PrincipalKind, View
from tests.realtime.city import COUNTED, MINE, SLOW, City, answer, follow, grant
from tests.realtime.log import until
from tests.realtime.wire import ALICE, BOB, WATCH, stage

# tenancy


async def test_a_field_that_depends_on_the_caller_is_executed_for_each(city: City) -> None:
    async with city.terminals("alice", "bob", "alice", "") as terminals:
        subjects = [str(ALICE.subject), str(BOB.subject), str(ALICE.subject), "None"]
        for terminal in terminals:
            await follow(terminal, MINE, order=city.order)
        await city.settled()
        assert city.site.sockets.hub.groups == 3, "one caller is the same on every device"
        await city.write("a", "b")
        for _ in range(2):
            assert [(await answer(terminal))["me"] for terminal in terminals] == subjects


@pytest.mark.parametrize(
    "hidden",
    [
        "{ watch(order: $order) { marks ...F } } fragment F on WatchUpdate { me }",
        "{ watch(order: $order) { marks ... { me } } }",
        "{ watch(order: $order) { marks a: me } }",
        "{ watch(order: $order) { marks ... on WatchUpdate @include(if: true) { me } } }",
        "{ watch(order: $order) { ...F } } fragment F on WatchUpdate { ...G } fragment G on WatchUpdate { me }",
        "{ ...R } fragment R on Subscription { watch(order: $order) { me } }",
    ],
)
async def test_it_cannot_be_hidden_in_the_document(city: City, hidden: str) -> None:
    async with city.terminals("alice", "bob") as terminals:
        for terminal in terminals:
            await follow(terminal, f"subscription ($order: ID!) {hidden}", order=city.order)
        await city.settled()
        await city.write("a")
        for terminal, principal in zip(terminals, (ALICE, BOB), strict=True):
            told = await answer(terminal)
            assert str(principal.subject) in told.values()


async def test_views_grants_and_languages_part(city: City) -> None:
    """The same document of another view, of other grants where it matters, in another language: another group."""
    clerk = replace(ALICE, kind=PrincipalKind.MERCHANT, view=View.MERCHANT, grants=(grant(),))
    answers = city.site.doorman.answers
    answers |= {"clerk": clerk, "manager": replace(clerk, grants=(grant(), grant()))}
    for query, groups in ((COUNTED, 3), (MINE, 4)):
        async with (
            city.terminals("alice", "clerk", "manager") as terminals,
            city.terminals("alice", accept_language="zh-CN") as chinese,
        ):
            for terminal in (*terminals, *chinese):
                await follow(terminal, query, order=city.order)
            await city.settled()
            assert city.site.sockets.hub.groups == groups
        await until(lambda: city.site.sockets.hub.groups == 0)


async def test_feeds_and_documents_part(city: City) -> None:
    other = City(city.site, city.database, city.tails)
    async with city.terminals("alice", "alice", "alice") as (one, two, three):
        await follow(one, COUNTED, order=city.order)
        await follow(two, COUNTED, order=other.order)
        await follow(three, WATCH, order=city.order)
        await city.settled()
        assert city.site.sockets.hub.groups == 3
        await city.write("ours")
        await other.write("theirs")
        assert (await answer(one))["marks"] == ["ours"]
        assert (await answer(two))["marks"] == ["theirs"]
        assert (await answer(three))["marks"] == ["ours"]


async def test_admission_is_not_shared(city: City) -> None:
    async with city.terminals("alice", "bob") as (alice, bob):
        await follow(alice, WATCH, order=city.order)
        stage().banned.add(BOB.subject)
        await bob.subscribe("1", WATCH, variables={"order": city.order})
        message = await bob.receive()
        assert message["type"] == "error" and message["payload"][0]["extensions"]["code"] == "NOT_FOUND"
        await city.write("a")
        assert (await answer(alice))["marks"] == ["a"]
        await bob.alive()


@pytest.mark.parametrize("query", [WATCH, MINE, SLOW])
async def test_what_one_may_not_see_is_kept_from_that_one(city: City, query: str) -> None:
    """An event that one member must not see: the others get it; that one goes on behind it, or ends by the reason."""
    stage().go.set()
    async with city.terminals("alice", "bob") as (alice, bob):
        await follow(alice, query, order=city.order)
        await follow(bob, query, order=city.order)
        await city.settled()
        stage().hidden.add((BOB.subject, "secret"))
        await city.write("a", "secret", "b")
        assert [(await answer(alice))["marks"] for _ in range(3)] == [["a"], ["secret"], ["b"]]
        assert [(await answer(bob))["marks"] for _ in range(2)] == [["a"], ["b"]]
        await city.settled()
        stage().banned.add(BOB.subject)
        await city.write("secret", "c")
        message = await bob.receive()
        assert message["type"] == "error" and message["payload"][0]["extensions"]["code"] == "ACCESS_ENDED"
        assert [(await answer(alice))["marks"] for _ in range(2)] == [["secret"], ["c"]]
        await bob.alive()


@pytest.mark.parametrize("query", [WATCH, MINE, SLOW])
async def test_nothing_is_told_while_rights_are_looked_at(city: City, query: str) -> None:
    """From the moment of a change until the caller's rights are known again its events wait; then each is looked at."""
    stage().go.set()
    looked = asyncio.Event()
    authenticate = city.site.doorman.principal

    async def slowly(token: str | None) -> Any:
        await looked.wait()
        return await authenticate(token)

    async with city.terminals("alice", "bob") as (alice, bob):
        await follow(alice, query, order=city.order)
        await follow(bob, query, order=city.order)
        await city.settled()
        city.site.doorman.principal = slowly  # type: ignore[method-assign]
        changes.announce(BOB.subject)
        await city.write("a", "b")
        assert [(await answer(alice))["marks"] for _ in range(2)] == [["a"], ["b"]]
        await bob.alive()
        city.site.doorman.answers["bob"] = replace(BOB, grants=(grant(),))
        stage().hidden.add((BOB.subject, "a"))
        looked.set()
        assert (await answer(bob))["marks"] == ["b"]
        await city.write("c")
        assert (await answer(bob))["marks"] == (await answer(alice))["marks"] == ["c"]


async def test_other_grants_mean_another_group(city: City) -> None:
    async with city.terminals("alice", "alice") as (one, two):
        for terminal in (one, two):
            await follow(terminal, MINE, order=city.order)
        await city.settled()
        assert city.site.sockets.hub.groups == 1
        city.site.doorman.answers["new"] = replace(ALICE, grants=(grant(),))
        await one.send({"type": "ping", "payload": {"token": "new"}})
        await one.receive()
        assert city.site.sockets.hub.groups == 2
        await city.write("a")
        for terminal in (one, two):
            assert (await answer(terminal))["me"] == str(ALICE.subject)
