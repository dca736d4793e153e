"""The bucket of a caller: nobody gets more than is in it, nobody loses what was not used, whatever Redis does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from auth.principals import ANONYMOUS, Principal, PrincipalKind, View
from core.settings import Settings
from gateway.admission import OperationRequest
from gateway.contracts import build_contracts
from gateway.execution import Gateway
from gateway.refusals import Refused
from gateway.throttle import LocalBuckets, Rate, RedisBuckets, Throttle, key_of
from resolvers.context import Context
from tests.engines import RedisServer
from tests.gateway.tiny import tiny_schema
from tests.patience import PATIENCE

pytestmark = pytest.mark.usefixtures("patient_redis")

ALICE = Principal(PrincipalKind.CONSUMER, View.CONSUMER, UUID(int=1))
BOB = Principal(PrincipalKind.CONSUMER, View.CONSUMER, UUID(int=2))
RATE = Rate(100, 10)


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def settings(available: int = 100, restore: int = 10) -> Settings:
    return Settings(
        cost_available={"CONSUMER": available, "ANONYMOUS": available},
        cost_restore_rate={"CONSUMER": restore, "ANONYMOUS": restore},
    )


async def takes(throttle: Throttle, points: int, principal: Principal = ALICE, address: str = "") -> bool:
    try:
        await throttle.take(principal, address, points)
    except Refused as refused:
        assert refused.code == "THROTTLED" and refused.http_status == 429
        return False
    return True


@pytest.fixture
async def shared(redis_url: str) -> AsyncIterator[list[Throttle]]:
    """Three processes that share the buckets; with so little restoring that a slow test gets none to speak of."""
    redis = cast(Any, Redis.from_url(redis_url))
    await redis.delete(f"hutong:cost:{key_of(ALICE, '')}", f"hutong:cost:{key_of(BOB, '')}")
    throttles = [Throttle(settings(10_000, 1)) for _ in range(3)]
    for throttle in throttles:
        throttle.share(RedisBuckets(redis_url))
    yield throttles
    for throttle in throttles:
        await throttle.close()
    await redis.aclose()


@given(st.lists(st.tuples(st.integers(0, 120), st.floats(0, 8), st.integers(0, 120)), max_size=40))
def test_what_is_taken_never_exceeds_what_was_there_and_came_back(steps: list[tuple[int, float, int]]) -> None:
    """Over any stretch: spent ≤ size + rate x time. ``steps``: points asked for, seconds before, points not used."""
    time = Time()
    buckets = LocalBuckets(time)
    spent, given_back = 0.0, 0.0
    for points, pause, unused in steps:
        time.now += pause
        enough, available = buckets.take("a", RATE, points)
        assert 0 <= available <= 100
        if enough:
            unused = min(unused, points)
            spent += points - unused
            given_back += unused
            assert buckets.give("a", RATE, unused) <= 100
        assert spent <= 100 + 10 * (time.now - 1000) + 1e-6


def test_a_bucket_fills_up_at_its_rate_and_no_further() -> None:
    time = Time()
    buckets = LocalBuckets(time)
    assert buckets.take("a", RATE, 100) == (True, 0)
    assert buckets.take("a", RATE, 1) == (False, 0)
    time.now += 2.5
    assert buckets.take("a", RATE, 0) == (True, 25)
    time.now += 1000
    assert buckets.take("a", RATE, 0) == (True, 100)
    assert buckets.give("a", RATE, 50) == 100
    assert buckets.give("a", RATE, -1000) == -100


def test_the_buckets_that_are_remembered_are_bounded() -> None:
    buckets = LocalBuckets(Time(), most=3)
    for name in "abcd":
        buckets.take(name, RATE, 60)
    assert len(buckets) == 3
    assert buckets.take("d", RATE, 60)[0] is False
    assert buckets.take("a", RATE, 60)[0] is True


async def test_callers_have_buckets_of_their_own() -> None:
    throttle = Throttle(settings())
    assert await takes(throttle, 100) and not await takes(throttle, 50)
    assert await takes(throttle, 100, BOB)
    assert await takes(throttle, 100, ANONYMOUS, "192.0.2.1") and not await takes(throttle, 50, ANONYMOUS, "192.0.2.1")
    assert await takes(throttle, 100, ANONYMOUS, "192.0.2.2")
    # Of an IPv6 network one caller has all addresses; IPv4 inside IPv6 is the same caller.
    assert await takes(throttle, 100, ANONYMOUS, "2001:db8::1") and not await takes(
        throttle, 50, ANONYMOUS, "2001:db8::ffff:2"
    )
    assert await takes(throttle, 100, ANONYMOUS, "2001:db8:0:1::1")
    assert not await takes(throttle, 50, ANONYMOUS, "::ffff:192.0.2.1")


async def test_refusals_say_how_long_to_wait() -> None:
    time = Time()
    throttle = Throttle(settings(), LocalBuckets(time))
    await throttle.take(ALICE, "", 95)
    with pytest.raises(Refused) as caught:
        await throttle.take(ALICE, "", 50)
    facts = caught.value.errors[0]["extensions"]
    assert facts == {
        "code": "THROTTLED", "cost": 50, "available": 5, "max": 100, "restoreRate": 10, "retryAfter": 5
    }  # fmt: skip
    time.now += facts["retryAfter"] - 1
    assert not await takes(throttle, 50)
    time.now += 1
    assert await takes(throttle, 50)
    with pytest.raises(Refused) as caught:
        await throttle.take(ALICE, "", 101)
    assert caught.value.code == "COST_LIMIT_EXCEEDED" and caught.value.http_status == 400
    assert caught.value.errors[0]["extensions"]["limit"] == 100


async def test_processes_that_share_give_no_more_than_one_bucket(shared: list[Throttle]) -> None:
    """Three processes, sixty at once: those get through for whom it suffices, whatever the order."""
    answers = await asyncio.gather(*(takes(throttle, 700) for throttle in shared for _ in range(20)))
    assert answers.count(True) == 10_000 // 700


async def test_refunds_are_exact_over_processes(shared: list[Throttle]) -> None:
    rng = random.Random(7)
    for _ in range(30):
        throttle = rng.choice(shared)
        charge = await throttle.take(ALICE, "", 6_000)
        throttle.settle(charge, 100)
        await throttle.flush()
    charge = await shared[0].take(ALICE, "", 501)  # too much for a lease
    shared[0].settle(charge, 0)
    await shared[0].flush()
    assert 7_000 <= charge.available < 7_100
    assert not await takes(shared[1], 7_100)
    assert await takes(shared[2], 7_000)


async def test_an_answer_larger_than_its_estimate_is_paid_in_full(shared: list[Throttle]) -> None:
    charge = await shared[0].take(ALICE, "", 1_000)
    shared[0].settle(charge, 15_000)
    assert charge.told()["actual"] == 15_000 and charge.available < -4_900
    await shared[0].flush()
    assert (await asyncio.gather(*(takes(throttle, 1) for throttle in shared))) == [False] * 3


async def test_events_are_paid_for_by_their_subscriber(shared: list[Throttle]) -> None:
    first, second = shared[0].meter(ALICE, ""), shared[0].meter(ALICE, "")
    for _ in range(2_000):
        first.add(3)
        second.add(1)
    await shared[0].flush()
    assert not await takes(shared[1], 2_100)
    assert await takes(shared[1], 2_000) and await takes(shared[1], 8_000, BOB)
    first.add(100_000)
    await shared[0].flush()
    with pytest.raises(Refused) as caught:
        await shared[2].take(ALICE, "", 1)
    assert -10_000 <= caught.value.errors[0]["extensions"]["available"] < -9_900, "overdrawn by its size at most"


async def test_without_redis_each_process_goes_on_from_what_it_last_heard(redis_server: RedisServer) -> None:
    one, other = Throttle(settings(10_000, 1)), Throttle(settings(10_000, 1))
    for throttle in (one, other):
        throttle.share(RedisBuckets(redis_server.url))
    assert await takes(one, 6_000) and await takes(other, 3_000)
    redis_server.kill()
    # Nobody gets an error of Redis; `other` heard that 1,000 were left, `one` that 4,000 were.
    assert not await takes(other, 1_100) and await takes(other, 900)
    assert not await takes(one, 4_100) and await takes(one, 3_900)
    assert not any(await asyncio.gather(*(takes(one, 300) for _ in range(50))))
    assert await takes(one, 10_000, BOB)
    charge = await other.take(BOB, "", 5)
    other.settle(charge, 0)
    other.meter(BOB, "").add(1)
    await other.flush()
    redis_server.restart()

    async def are_shared_again() -> None:
        while True:
            somebody = Principal(PrincipalKind.CONSUMER, View.CONSUMER, UUID(int=random.getrandbits(64)))
            if await takes(one, 10_000, somebody) and not await takes(other, 10_000, somebody):
                return
            await asyncio.sleep(0.05)

    await asyncio.wait_for(are_shared_again(), PATIENCE)
    await one.close()
    await other.close()


# through the gateway


def door(**more: Any) -> Gateway:
    return Gateway(build_contracts(tiny_schema()), Settings(**more))


def context(principal: Principal = ANONYMOUS, address: str = "192.0.2.1") -> Context:
    return Context(cast(Any, None), cast(Any, None), principal, client_address=address)


async def test_parallel_operations_get_what_is_there_and_no_more() -> None:
    gateway = door()
    limits = Settings(cost_available={"ANONYMOUS": 30}, cost_restore_rate={"ANONYMOUS": 1})
    gateway.throttle = Throttle(limits, LocalBuckets(Time()))

    async def ask() -> bool:
        operation = gateway.admit(ANONYMOUS, OperationRequest(query="{ thing { id } }"))
        try:
            await gateway.respond(operation, context())
        except Refused as refused:
            assert refused.code == "THROTTLED"
            return False
        return True

    answers = await asyncio.gather(*(ask() for _ in range(100)))
    assert answers.count(True) == 15, "a root and a thing are two points"


async def test_the_answer_tells_what_it_cost_when_it_is_asked() -> None:
    gateway = door()
    request = OperationRequest(query='{ thing(name: "none") { id } }', extensions={"cost": True})
    answer = orjson.loads((await gateway.respond(gateway.admit(ANONYMOUS, request), context())).body)
    cost = answer["extensions"]["cost"]
    assert cost["requested"] == 2
    assert cost["throttle"] == {"max": 40_000, "available": 40_000 - cost["actual"], "restoreRate": 4_000}
    silent = await gateway.execute(gateway.admit(ANONYMOUS, OperationRequest(query="{ thing { id } }")), context())
    assert "extensions" not in silent
