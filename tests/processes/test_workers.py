"""Several workers behind one port: they share the work, are replaced when they die, and end together."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import aiohttp
import orjson
import psutil

from tests.engines import Reaper, temporary_folder
from tests.processes.installation import PATIENCE, Caller, Installation, clean_environment, installation, until

PHONE = "+8613711112222"
REQUEST_OTP = """mutation ($phone: String!) { requestOtp(phone: $phone, view: CONSUMER) {
    ... on OtpSent { expiresAt } ... on UserError { code } } }"""
SIGN_IN = """mutation ($phone: String!, $code: String!) { signIn(phone: $phone, code: $code, view: CONSUMER) {
    ... on Session { accessToken } ... on UserError { code } } }"""


def serve(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """``serve`` that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "cli", "serve", *arguments],
        env=clean_environment({f"HUTONG_{k.upper()}": v for k, v in settings.items()}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def has_ended(process: psutil.Process) -> bool:
    """Whether nothing of it is left, except perhaps its status."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_connections_are_spread_and_any_worker_tells_of_all(pair: Installation, caller: Caller) -> None:
    sockets = [await caller.socket() for _ in range(40)]
    try:
        counts = await caller.metric("hutong_sockets")
        assert set(counts) == {'{worker="0"}', '{worker="1"}'}
        assert sum(counts.values()) == 40
        assert min(counts.values()) >= 4, "the kernel spreads them by their addresses"
    finally:
        await asyncio.gather(*(ws.close() for ws in sockets))
    for _ in range(6):
        assert await caller.metric("hutong_worker_up") == {'{worker="0"}': 1, '{worker="1"}': 1}


async def test_the_sandbox_works_whichever_worker_is_asked(pair: Installation, caller: Caller) -> None:
    for number in range(6):
        phone = f"{PHONE[:-1]}{number}"
        assert "expiresAt" in (await caller.graphql(REQUEST_OTP, phone=phone))["data"]["requestOtp"]
        _, text = await caller.get(f"/sandbox/sms?phone={phone}")
        code = next(word for word in text.replace('"', " ").split() if word.isdigit() and len(word) == 6)
        assert "accessToken" in (await caller.graphql(SIGN_IN, phone=phone, code=code))["data"]["signIn"]


async def test_requests_of_one_event_stream_find_its_worker(pair: Installation, caller: Caller) -> None:
    """Single connection mode: one token, and any worker may get each request."""
    known = orjson.loads((await caller.get("/sandbox/tokens"))[1])
    signed_in = {"authorization": f"Bearer {known['merchant']}"}
    query = "subscription ($store: ID!) { queueBoardUpdates(store: $store) { cursor kind } }"
    asked = {"query": query, "variables": {"store": known["store"]}, "extensions": {"operationId": "one"}}
    url, http, owners = f"{pair.url}/graphql", caller.http, set[str]()
    for round in range(10):
        async with http.put(url, headers=signed_in) as reserved:
            assert reserved.status == 201
            token = await reserved.text()
        owners.add(token.partition(".")[0])
        holding = {"x-graphql-event-stream-token": token}
        streaming = {"accept": "text/event-stream"}
        given = http.get(url, headers=streaming | holding) if round % 2 else http.get(f"{url}?token={token}")
        async with given as stream:
            assert stream.status == 200
            async with http.post(url, json=asked, headers=holding) as started:
                assert started.status == 202, await started.text()
            async with http.post(url, json=asked, headers=holding) as again:
                assert again.status == 409, "the stream is known everywhere"
            async with asyncio.timeout(PATIENCE):
                text = b""
                while b'"kind":"SNAPSHOT"' not in text:
                    text += await stream.content.readany()
            async with http.delete(f"{url}?operationId=one", headers=holding) as stopped:
                assert stopped.status == 200
        async with http.put(url, headers=signed_in) as another:
            assert await another.text() != token

        async def left() -> bool:
            return sum((await caller.metric("hutong_sockets")).values()) == 0

        await until(left)
    assert owners == {"0", "1"}
    async with http.get(url, headers=streaming | {"x-graphql-event-stream-token": "1.unknown"}) as unknown:
        assert unknown.status == 404


async def test_a_killed_worker_is_replaced_and_the_others_go_on(pair: Installation, caller: Caller) -> None:
    before = {worker.pid for worker in pair.workers}
    assert len(before) == 2
    dead = pair.workers[0]
    dead.kill()
    await until(lambda: has_ended(dead))
    # Whoever is not starting takes all connections.
    assert [await caller.status("/healthz") for _ in range(20)] == [200] * 20

    await until(caller.all_up)
    assert len({worker.pid for worker in pair.workers} - before) == 1
    assert pair.logged("worker.died")[-1]["status"] == -signal.SIGKILL


async def test_a_stuck_worker_is_killed_and_replaced(pair: Installation, caller: Caller) -> None:
    stuck = pair.workers[0]
    stuck.suspend()
    await until(lambda: has_ended(stuck))
    assert pair.logged("worker.stuck")[-1]["pid"] == stuck.pid
    await until(caller.all_up)
    assert len({worker.pid for worker in pair.workers} - {stuck.pid}) == 2


async def test_workers_are_replaced_one_by_one_without_a_failed_request(pair: Installation, caller: Caller) -> None:
    before = {worker.pid for worker in pair.workers}
    ready = len(pair.logged("worker.ready"))
    answers: list[int | None] = []

    async def ask() -> None:
        while True:
            answers.append(await caller.status("/readyz"))
            await asyncio.sleep(0.01)

    asking = asyncio.create_task(ask())
    pair.signal(signal.SIGHUP)
    await until(lambda: len(pair.logged("worker.ready")) == ready + 2)
    await until(lambda: not before & {worker.pid for worker in pair.workers})
    asking.cancel()
    assert len(pair.workers) == 2
    # A connection that the closing listener had not yet accepted is reset; /readyz never says no.
    assert set(answers) <= {200, None}
    assert answers.count(None) <= 2


async def test_all_end_together_and_in_good_order(reaper: Reaper, database_url: str, redis_url: str) -> None:
    settings = {"database_url": database_url, "redis_url": redis_url, "drain_pause": "10"}
    async with installation(reaper, temporary_folder(reaper), **settings) as made:
        caller = Caller(made.url)
        sockets = [await caller.socket() for _ in range(20)]
        workers = made.workers
        made.signal(signal.SIGTERM)

        async def refuses() -> bool:
            return await caller.status("/readyz") == 503

        await until(refuses)
        assert await asyncio.wait_for(asyncio.gather(*map(_closed, sockets)), PATIENCE) == [1012] * 20
        assert await made.ended() == 0
        assert not any(worker.is_running() for worker in workers)
        await caller.close()


async def _closed(ws: aiohttp.ClientWebSocketResponse) -> int | None:
    """The code that the server closed with; None when it did not say any."""
    while (message := await ws.receive()).type is aiohttp.WSMsgType.TEXT:
        pass
    return message.data if message.type is aiohttp.WSMsgType.CLOSE else None


async def test_workers_end_when_their_parent_is_killed(reaper: Reaper, database_url: str, redis_url: str) -> None:
    async with installation(reaper, temporary_folder(reaper), database_url=database_url, redis_url=redis_url) as made:
        workers = made.workers
        made.signal(signal.SIGKILL)
        await until(lambda: all(map(has_ended, workers)))
        assert len(made.logged("worker.orphaned")) == 2


def test_several_workers_on_a_database_of_their_own_need_redis() -> None:
    done = serve("--workers", "2", database_url="postgres://nowhere/none", port="0")
    assert done.returncode == 2
    assert "HUTONG_REDIS_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_with_other_workers_on_it_is_not_shared(pair: Installation) -> None:
    done = serve(
        "--workers", "2", database_url="postgres://nowhere/none", redis_url="redis://nowhere", port=str(pair.port)
    )
    assert done.returncode == 1
    assert "Cannot listen on" in done.stderr


def test_workers_that_cannot_start_end_the_program(database_url: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text("{}")
    done = serve(
        "--workers", "2", database_url=database_url, redis_url="redis://127.0.0.1:1", port="0", jwt_keys_file=str(keys)
    )
    assert done.returncode != 0
    assert "is not a keys file" in done.stderr


async def test_embedded_engines_come_and_go_with_the_program(reaper: Reaper) -> None:
    """Without any URL, development's engines are started once, by the parent."""
    async with installation(reaper, temporary_folder(reaper)) as made:
        assert made.parent is not None
        children = psutil.Process(made.parent.pid).children(recursive=True)
        names = sorted({child.name().split(":")[0] for child in children})
        assert any("redis" in name for name in names)
        assert any("postgres" in name for name in names)
        made.signal(signal.SIGINT)
        assert await made.ended() == 0
        _, alive = psutil.wait_procs(children, timeout=PATIENCE)
        assert not alive


async def test_ended_while_it_starts_it_leaves_nothing_behind(reaper: Reaper) -> None:
    made = Installation(reaper, temporary_folder(reaper), 2, {})
    made.start()
    assert made.parent is not None
    parent = psutil.Process(made.parent.pid)

    def of_the_database() -> list[psutil.Process]:
        """Other programs are asked before, while the parent is not yet one that is told to end in good order."""
        with suppress(psutil.Error):
            return [child for child in parent.children() if child.name() in ("initdb", "postgres")]
        return []

    children = await until(of_the_database)
    made.signal(signal.SIGTERM)
    assert await made.ended() == 0
    _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert not alive
