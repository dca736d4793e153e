"""``graphql-transport-ws``: peers that are slow, silent or gone, and the end of the server."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from websockets.exceptions import InvalidStatus

from core.settings import Settings
from subscriptions import sessions, websocket
from tests.realtime import wire
from tests.realtime.log import PATIENCE, until
from tests.realtime.wire import WAITING, Site, Terminal, serve, stage

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
