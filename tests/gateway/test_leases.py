"""Points that processes take in advance: no more is ever spent for it than the leases hold, and none are lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from auth.principals import Principal, PrincipalKind, View
from core.settings import Settings
from gateway.leases import LASTS, Leases
from gateway.refusals import Refused
from gateway.throttle import LocalBuckets, Rate, RedisBuckets, Throttle, key_of
from tests.engines import RedisServer
from tests.patience import PATIENCE

pytestmark = pytest.mark.usefixtures("patient_redis")

ALICE = Principal(PrincipalKind.CONSUMER, View.CONSUMER, UUID(int=3))
RATE = Rate(200, 10)
MOST = 10
SIZE = 10_000
LEASE = 500


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Simulated(RedisBuckets):
    """A process whose Redis is a bucket in memory with a clock that the test moves."""

    def __init__(self, bucket: LocalBuckets, time: Time) -> None:
        super().__init__("redis://127.0.0.1:1", Leases(time))
        self._bucket = bucket
        self.calls = 0

    async def _call(self, key: str, rate: Rate, points: int, back: int, wanted: int) -> tuple[bool, float, int]:
        self.calls += 1
        self._bucket.give(key, rate, back)
        enough, available = self._bucket.take(key, rate, points)
        leased = min(wanted, int(available // 8)) if enough else 0
        return enough, self._bucket.give(key, rate, -leased), leased

    async def _settle(self, owed: dict[str, tuple[Rate, int]]) -> None:
        for key, (rate, points) in owed.items():
            self._bucket.give(key, rate, points)

    async def admits(self, points: int) -> bool:
        if self.spend("a", points):
            return True
        found = await self.take("a", RATE, points)
        assert found is not None
        return found[0]


steps = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 25), st.floats(0, 3), st.integers(0, 25), st.integers(0, 9)),
    max_size=60,
)


@given(steps)
def test_over_any_stretch_no_more_is_spent_than_the_bucket_gave_and_the_leases_held(
    steps: list[tuple[int, int, float, int, int]],
) -> None:
    """``steps``: which process, points asked for, seconds before, points not used, 0 for settling or for its death."""

    async def play() -> None:
        time = Time()
        bucket = LocalBuckets(time)
        processes = [Simulated(bucket, time) for _ in range(3)]
        spent: list[tuple[float, int]] = []
        for which, points, pause, unused, fate in steps:
            time.now += pause
            process = processes[which]
            if await process.admits(points):
                process.give("a", RATE, min(unused, points))
                spent.append((time.now, points - min(unused, points)))
            if fate == 0:
                await process.flush()
            elif fate == 1:  # it dies with its lease and what it owes
                processes[which] = Simulated(bucket, time)
        for first, (begun, _) in enumerate(spent):
            total = 0
            for at, points in spent[first:]:
                total += points
                assert total <= RATE.max_available + RATE.restore_rate * (at - begun) + 3 * MOST + 1e-6

    asyncio.run(play())


@given(steps)
def test_what_is_not_spent_comes_back_when_all_have_closed(steps: list[tuple[int, int, float, int, int]]) -> None:
    async def play() -> None:
        time = Time()
        bucket = LocalBuckets(time)
        processes = [Simulated(bucket, time) for _ in range(3)]
        spent = 0
        for which, points, _, unused, fate in steps:
            process = processes[which]
            if await process.admits(points):
                process.give("a", RATE, min(unused, points))
                spent += points - min(unused, points)
            if fate == 0:
                await process.flush()
        for process in processes:
            await process.close()
        # No time has passed, so nothing was restored.
        assert bucket.take("a", RATE, 0)[1] == RATE.max_available - spent

    asyncio.run(play())


def test_a_lease_is_spent_while_it_lasts_and_holds_no_more_than_its_part() -> None:
    time = Time()
    leases = Leases(time)
    assert not leases.spend("a", 0)
    assert leases.open("a", RATE, 7) == 0 and leases.give("a", 5) == 2 and leases.left("a") == MOST
    assert leases.spend("a", 4) and not leases.spend("a", 7) and leases.spend("a", 6)
    assert leases.give("a", 3) == 0
    time.now += LASTS
    assert not leases.spend("a", 1) and leases.give("a", 1) == 1
    assert leases.end_old() == [("a", RATE, 3)] and len(leases) == 0


async def test_a_bucket_that_is_nearly_empty_is_shared_exactly() -> None:
    time = Time()
    bucket = LocalBuckets(time)
    one, other = Simulated(bucket, time), Simulated(bucket, time)
    assert await one.admits(190)
    admitted = 0
    while await one.admits(1) or await other.admits(1):
        admitted += 1
    assert admitted == 10


# several processes and a real Redis


@contextmanager
def counted(buckets: RedisBuckets) -> Iterator[list[int]]:
    calls = [0]
    call = buckets._call

    async def counting(*args: Any) -> Any:
        calls[0] += 1
        return await call(*args)

    buckets._call = counting  # type: ignore[method-assign]
    yield calls


@pytest.fixture
async def shared(redis_url: str) -> AsyncIterator[list[Throttle]]:
    """Four processes; with so little restoring that a slow test gets none to speak of."""
    redis = cast(Any, Redis.from_url(redis_url))
    await redis.delete(f"hutong:cost:{key_of(ALICE, '')}")
    throttles = [process(redis_url) for _ in range(4)]
    yield throttles
    for throttle in throttles:
        await throttle.close()
    await redis.aclose()


def process(url: str, own: LocalBuckets | None = None) -> Throttle:
    """``own``: its buckets while Redis is away."""
    throttle = Throttle(Settings(cost_available={"CONSUMER": SIZE}, cost_restore_rate={"CONSUMER": 1}), own)
    throttle.share(RedisBuckets(url))
    return throttle


async def spend(throttle: Throttle, points: int, unused: int = 0) -> int:
    """Points that an operation has spent; 0 when it was refused."""
    try:
        charge = await throttle.take(ALICE, "", points)
    except Refused as refused:
        assert refused.code == "THROTTLED"
        return 0
    await asyncio.sleep(0)
    throttle.settle(charge, points - unused)
    return points - unused


async def left(throttle: Throttle) -> float:
    return (await throttle.take(ALICE, "", 0, exact=True)).available


async def test_most_operations_ask_nobody(shared: list[Throttle], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.leases.LASTS", 3600.0)
    monkeypatch.setattr("gateway.throttle.FLUSHED_EVERY", 3600.0)
    with counted(cast(RedisBuckets, shared[0]._shared)) as calls:
        for _ in range(400):
            assert await spend(shared[0], 20, unused=10) == 10
    assert calls[0] <= 40, "about one for each 500 points"


@pytest.mark.parametrize("unused", [0, 30])
async def test_processes_give_out_one_bucket(shared: list[Throttle], unused: int) -> None:
    """All at once, more than there is: not a point more is spent, and none is lost."""
    rng = random.Random(3)
    begun = asyncio.get_running_loop().time()
    work = [(rng.choice(shared), rng.randint(1, 60)) for _ in range(1_500)]
    spent = sum(await asyncio.gather(*(spend(one, points, min(points, unused)) for one, points in work)))
    for throttle in shared[1:]:
        await throttle.close()
    told = await left(shared[0])
    restored = asyncio.get_running_loop().time() - begun + 1
    assert 0 < spent <= SIZE + restored
    assert SIZE - spent <= told <= SIZE - spent + restored
    if not unused:
        assert spent >= SIZE - 4 * LEASE - 60, "who was refused lacked no more than what lay in leases"


async def test_the_level_that_is_told_is_true_but_for_the_leases_of_others(shared: list[Throttle]) -> None:
    spent = 0
    for n in range(100):
        spent += await spend(shared[n % 4], 30, unused=5)
    told = await left(shared[0])
    assert SIZE - spent - 3 * LEASE <= told <= SIZE - spent + 60
    for throttle in shared[1:]:
        await throttle.close()
    told = await left(shared[0])
    assert SIZE - spent <= told <= SIZE - spent + 60


async def test_a_process_that_dies_takes_no_more_than_its_lease_with_it(shared: list[Throttle], redis_url: str) -> None:
    dead = process(redis_url)
    assert await spend(dead, 10) == 10
    assert await left(shared[0]) >= SIZE - 10 - LEASE
    if dead._flushing is not None:
        dead._flushing.cancel()


async def test_what_is_left_goes_back_by_itself(shared: list[Throttle], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.throttle.FLUSHED_EVERY", 0.01)
    monkeypatch.setattr("gateway.leases.LASTS", 0.01)
    assert await spend(shared[0], 10) == 10
    async with asyncio.timeout(PATIENCE):
        while await left(shared[1]) < SIZE - 10:
            await shared[1].flush()
            await asyncio.sleep(0.01)


async def test_a_lease_outlives_redis_and_then_the_process_goes_on_alone(redis_server: RedisServer) -> None:
    one = process(redis_server.url, LocalBuckets(Time()))
    assert await spend(one, 9_000) == 9_000  # too much for a lease
    assert await spend(one, 10) == 10
    redis_server.kill()
    assert sum([await spend(one, 10) for _ in range(150)]) == 990
    await one.close()
    redis_server.restart()
