"""Sharing executions: who gets whose bytes, and that nobody loses or repeats anything by sharing."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from auth import changes
from auth.principals import Held, PrincipalKind, View
from core.ids import encode, uuid7
from core.settings import Settings
from models.database import Database
from models.identity import GrantRole
from subscriptions import feeds
from subscriptions.feeds import ORDER, QUEUE, NewEvent
from subscriptions.tail import FeedTails
from tests.realtime.log import PATIENCE, append, open_tails, until
from tests.realtime.wire import ALICE, BOB, WATCH, Site, Terminal, serve, stage
from tests.support import NOON

COUNTED = "subscription ($order: ID!, $after: String) { watch(order: $order, after: $after) { cursor marks counted } }"
SLOW = "subscription ($order: ID!, $after: String) { watch(order: $order, after: $after) { cursor marks slow } }"
MINE = "subscription ($order: ID!, $after: String) { watch(order: $order, after: $after) { cursor marks me } }"
STATE = "subscription ($store: ID!, $after: String) { state(store: $store, after: $after) { cursor marks counted } }"


class City:
    """A site, its log, and one feed of each kind."""

    def __init__(self, site: Site, database: Database, tails: FeedTails) -> None:
        self.site = site
        self.database = database
        self.tails = tails
        self.key = uuid7()
        self.feed = ORDER.of(self.key)
        self.order = encode("Order", self.key)
        self.store = encode("Store", self.key)
        self.queue = QUEUE.of(self.key)

    async def write(self, *marks: str, feed: str | None = None) -> None:
        """Append an event per mark, and signal them."""
        events = [NewEvent((feed or self.feed,), "type", NOON, {"mark": mark}) for mark in marks]
        async with self.database.transaction() as connection:
            signals = await feeds.append(connection, events)
        self.tails.deliver(signals)

    @asynccontextmanager
    async def terminals(self, *tokens: str, **headers: str) -> AsyncIterator[list[Terminal]]:
        async with AsyncExitStack() as stack:
            opened: list[Terminal] = []
            for token in tokens:
                terminal = await stack.enter_async_context(self.site.terminal(**headers))
                opened.append(await terminal.init(**({"token": token} if token else {})))
            yield opened

    async def settled(self) -> None:
        """Until every subscription is parked."""
        operations = [one for socket in self.site.sockets._open for one in socket.operations.values()]
        await until(lambda: all(one._task is None for one in operations))


@pytest.fixture
async def city(database_url: str) -> AsyncIterator[City]:
    settings = Settings()
    async with (
        open_tails(database_url) as (database, tails),
        serve(SimpleNamespace(settings=settings, database=database), tails, settings) as site,
    ):
        yield City(site, database, tails)
        await until(lambda: (site.sockets.sockets, site.sockets.hub.groups, tails.watched) == (0, 0, 0))


async def answer(terminal: Terminal) -> dict[str, Any]:
    """What the next ``next`` says of the only root field."""
    message = await terminal.receive()
    assert message["type"] == "next" and "errors" not in message["payload"], message
    [value] = message["payload"]["data"].values()
    return value


async def follow(terminal: Terminal, query: str, id: str = "1", **variables: Any) -> dict[str, Any]:
    """Subscribe; the first answer."""
    await terminal.subscribe(id, query, variables=variables)
    return await answer(terminal)


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
    clerk = replace(ALICE, kind=PrincipalKind.MERCHANT, view=View.MERCHANT, grants=(_grant(),))
    answers = city.site.doorman.answers
    answers |= {"clerk": clerk, "manager": replace(clerk, grants=(_grant(), _grant()))}
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


def _grant() -> Held:
    return Held(GrantRole.STORE_CLERK, uuid7(), None)


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
        city.site.doorman.answers["bob"] = replace(BOB, grants=(_grant(),))
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
        city.site.doorman.answers["new"] = replace(ALICE, grants=(_grant(),))
        await one.send({"type": "ping", "payload": {"token": "new"}})
        await one.receive()
        assert city.site.sockets.hub.groups == 2
        await city.write("a")
        for terminal in (one, two):
            assert (await answer(terminal))["me"] == str(ALICE.subject)


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
        city.site.doorman.answers["bob"] = replace(BOB, grants=(_grant(),))
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


# slow readers


async def test_slow_reader_of_a_lossless_feed_is_closed_to_resume(city: City) -> None:
    """What waits for one socket is bounded; whoever falls behind comes back with the cursor and has lost nothing."""
    async with city.terminals("alice", "bob") as (slow, other):
        cursor = (await follow(slow, WATCH, order=city.order))["cursor"]
        await follow(other, WATCH, order=city.order)
        await city.settled()
        slow.connection.transport.pause_reading()
        [socket] = [one for one in city.site.sockets._open if one.principal.subject == ALICE.subject]
        written: list[str] = []
        while not socket.ended:
            mark = f"{len(written)}" + "x" * 50_000
            written.append(mark)
            await city.write(mark)
            assert (await answer(other))["marks"] == [mark]
            assert socket.outbox.waiting[1] <= city.site.sockets.limits.queue_bytes
        slow.connection.transport.resume_reading()
        code, _ = await slow.closed()
        assert code == 4290
    async with city.terminals("alice") as (again,):
        seen = (await follow(again, WATCH, order=city.order, after=cursor))["marks"]
        while len(seen) < len(written):
            seen += (await answer(again))["marks"]
        assert seen == written


async def test_slow_reader_of_states_finds_the_newest(city: City) -> None:
    async with city.terminals("alice", "bob") as (slow, other):
        await follow(slow, STATE, store=city.store)
        await follow(other, STATE, store=city.store)
        await city.settled()
        slow.connection.transport.pause_reading()
        [socket] = [one for one in city.site.sockets._open if one.principal.subject == ALICE.subject]
        for n in range(30):
            await city.write(f"{n}" + "x" * 30_000, feed=city.queue)
            assert len((await answer(other))["marks"]) == n + 1
            assert socket.outbox.waiting[0] <= 1
        slow.connection.transport.resume_reading()
        sizes = [0]
        while sizes[-1] < 30:
            sizes.append(len((await answer(slow))["marks"]))
        assert sizes == sorted(set(sizes)) and len(sizes) < 30


# heartbeat


async def test_each_sign_of_life_tells_how_far_the_feeds_are(database_url: str) -> None:
    settings = Settings()
    async with open_tails(database_url, timedelta(seconds=0.05)) as (database, tails):
        runtime = SimpleNamespace(settings=settings, database=database)
        async with serve(runtime, tails, settings, keep_alive=0.05) as site:
            city = City(site, database, tails)
            async with city.terminals("alice") as (terminal,):
                await terminal.subscribe("w", WATCH, variables={"order": city.order})
                await terminal.subscribe("n", 'subscription { numbers(upTo: 0, end: "wait") { value } }')
                cursor = ""
                while not cursor:
                    message = await terminal.receive()
                    if message["type"] == "next":
                        cursor = message["payload"]["data"]["watch"]["cursor"]
                while message["type"] != "ping" or "payload" not in message:
                    message = await terminal.receive()
                assert message["payload"] == {"cursors": {"w": cursor}}
                await append(database, city.feed)
                while message["type"] != "next":
                    message = await terminal.receive()
                cursor = message["payload"]["data"]["watch"]["cursor"]
                while message["type"] != "ping":
                    message = await terminal.receive()
                assert message["payload"] == {"cursors": {"w": cursor}}


async def test_groups_and_tasks_end_with_their_members(city: City) -> None:
    before = len(asyncio.all_tasks())
    for _ in range(5):
        async with city.terminals(*["alice", "bob"] * 5) as terminals:
            for terminal in terminals:
                for id, query in (("w", WATCH), ("m", MINE)):
                    await terminal.subscribe(id, query, variables={"order": city.order})
                await terminal.subscribe("s", STATE, variables={"store": city.store})
            await until(lambda: city.site.sockets.operations == 30)
            await city.settled()
            await city.write("a")
            assert city.site.sockets.hub.groups == 4
            assert (city.tails.watched, city.tails.watchers) == (2, 21)
        await until(lambda: (city.site.sockets.sockets, city.site.sockets.hub.groups, city.tails.watched) == (0, 0, 0))
    await until(lambda: len(asyncio.all_tasks()) <= before + 2)


@pytest.mark.fuzz
async def test_ten_thousand_sockets_leave_nothing(city: City) -> None:
    """Opened, subscribed, half of them cut without a word: tasks, groups, watchers and memory end where they were."""
    process = psutil.Process()

    async def cycle(number: int) -> None:
        async with city.site.terminal() as terminal:
            await terminal.init(token=random.choice(("alice", "bob")))
            await follow(terminal, random.choice((WATCH, MINE, COUNTED)), order=city.order)
            if number % 2:
                terminal.connection.transport.abort()

    async def cycles(count: int) -> None:
        for start in range(0, count, 50):
            async with asyncio.TaskGroup() as group:
                for number in range(start, start + 50):
                    group.create_task(cycle(number))
            await city.write(f"{start}")
        await until(lambda: (city.site.sockets.sockets, city.site.sockets.hub.groups, city.tails.watched) == (0, 0, 0))
        gc.collect()

    await cycles(1000)
    tasks, memory = len(asyncio.all_tasks()), process.memory_info().rss
    await cycles(10_000)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    assert process.memory_info().rss < memory + 10_000 * 500, "less than half a kilobyte for each"
