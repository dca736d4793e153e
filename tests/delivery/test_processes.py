"""Several processes with one Redis and one database: what one is told the others show, and what a crash costs."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from core import ids
from replay.server import OwnServer
from tests.api import documents as doc
from tests.api.city import City, running_city
from tests.delivery.test_feed import TRACK, WATCH, Trip, assigned, ended, fix, instants, offered
from tests.engines import RedisServer
from tests.realtime.log import PATIENCE

NEVER = "3600"


@asynccontextmanager
async def two_processes(
    database_url: str, folder: Path, redis_url: str, other_writes_every: str = NEVER
) -> AsyncIterator[tuple[City, City, OwnServer]]:
    """One process here, one of its own; they write to the database when a test or their end makes them."""
    async with running_city(database_url, folder, redis_url=redis_url, location_write_interval=3600.0) as here:
        environment = {
            "HUTONG_DATABASE_URL": database_url,
            "HUTONG_REDIS_URL": redis_url,
            "HUTONG_JWT_KEYS_FILE": str(folder / "keys.json"),
            "HUTONG_LOCATION_WRITE_INTERVAL": other_writes_every,
        }
        async with OwnServer(1, environment) as server:
            yield here, replace(here, url=server.url), server


def via(trip: Trip, city: City) -> Trip:
    """The same trip, its parties being clients of another process."""
    return replace(trip, city=city)


async def written(city: City, rider_id: str) -> str:
    row = await city.program.runtime.database.fetchrow(
        "SELECT located_at FROM rider WHERE id = $1", ids.decode("Rider", rider_id)
    )
    assert row is not None
    return row["located_at"].isoformat().replace("+00:00", "Z")


async def test_a_position_reported_to_one_is_seen_at_the_other(
    database_url: str, tmp_path: Path, redis_url: str
) -> None:
    async with two_processes(database_url, tmp_path, redis_url) as (here, there, _):
        trip = await offered(here)
        async with (
            there.follow(trip.consumer, WATCH, order=trip.order) as far,
            here.follow(trip.consumer, WATCH, order=trip.order) as near,
        ):
            await here.do(trip.rider, doc.ACCEPT_OFFER, delivery=trip.delivery)
            for follower in (far, near):
                await follower.count(1)
            last = ""
            for n in range(20):
                one = via(trip, there) if n % 2 else trip
                last = (await one.report(fix(n / 10), fix(n / 10 - 0.05)))["last"]["recordedAt"]
            for follower in (far, near):
                await follower.until(lambda v: v["riderLocation"]["recordedAt"] == last)
                assert instants(follower) == sorted(instants(follower))
            # Nothing is in the row yet: who comes late learns it from Redis.
            assert await written(here, trip.rider_id) < last
            for city in (here, there):
                assert (await via(trip, city).seen_by(trip.consumer))["recordedAt"] == last
                async with city.follow(trip.consumer, WATCH, order=trip.order) as late:
                    await late.count(1)
                    assert instants(late) == [last]
            old = await via(trip, there).report(fix(0.3))
            assert (old["accepted"], old["last"]["recordedAt"]) == (0, last)
            await trip.finish()  # here; the other process learns it by the signals
            for follower in (far, near):
                assert ended(await follower.end())
            for city in (here, there):
                assert await via(trip, city).seen_by(trip.consumer) is None
        # Who goes offline here is offline there, as soon as the signal is.
        await here.do(trip.rider, doc.GO_OFFLINE)
        async with asyncio.timeout(PATIENCE):
            while (await via(trip, there).report(fix(5))).get("code") != "RIDER_OFFLINE":  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_killed_process_loses_what_it_has_not_written_and_no_more(
    database_url: str, tmp_path: Path, redis_url: str
) -> None:
    """The last position is in Redis all the same; of the track at most what came since the last write is gone."""
    async with two_processes(database_url, tmp_path, redis_url, other_writes_every="1") as (here, there, server):
        trip = await assigned(here)
        first = (await via(trip, there).report(fix(0)))["last"]["recordedAt"]
        async with asyncio.timeout(PATIENCE):
            while await written(here, trip.rider_id) != first:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        last = (await via(trip, there).report(fix(30)))["last"]["recordedAt"]
        async with here.follow(trip.consumer, WATCH, order=trip.order) as follower:
            await follower.until(lambda v: v["riderLocation"]["recordedAt"] == last)
        os.kill(server.pid, signal.SIGKILL)
        assert (await trip.seen_by(trip.consumer))["recordedAt"] == last
        points = (await here.do(here.tokens["admin"], TRACK, order=trip.order))["delivery"]["track"]["nodes"]
        assert [p["recordedAt"] for p in points] in ([first], [first, last])
        again = await trip.report(fix(30, recordedAt=last), fix(31))  # the phone sends what it has no answer for
        assert again["accepted"] == 1
        await here.program.runtime.locations.write()
        points = (await here.do(here.tokens["admin"], TRACK, order=trip.order))["delivery"]["track"]["nodes"]
        assert [p["recordedAt"] for p in points][:2] == [first, last]
        await trip.finish()


async def test_an_orderly_end_loses_nothing(database_url: str, tmp_path: Path, redis_url: str) -> None:
    async with two_processes(database_url, tmp_path, redis_url) as (here, there, server):
        trip = await assigned(here)
        last = (await via(trip, there).report(fix(0), fix(30)))["last"]["recordedAt"]
        assert await written(here, trip.rider_id) != last
        os.kill(server.pid, signal.SIGTERM)
        await server.ended()
        assert await written(here, trip.rider_id) == last
        points = (await here.do(here.tokens["admin"], TRACK, order=trip.order))["delivery"]["track"]["nodes"]
        assert len(points) == 2


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_redis_may_be_away(database_url: str, tmp_path: Path, redis_server: RedisServer, how: str) -> None:
    """No rider gets an error; those connected here see positions at once, the others from the row."""
    async with two_processes(database_url, tmp_path, redis_server.url, other_writes_every="0.5") as (here, there, _):
        trip = await assigned(here)
        async with here.follow(trip.consumer, WATCH, order=trip.order) as near:
            await near.count(1)
            assert redis_server._process is not None
            if how == "kill":
                redis_server.kill()
            else:
                os.kill(redis_server._process.pid, signal.SIGSTOP)
            try:
                last = ""
                for n in range(5):
                    last = (await trip.report(fix(n)))["last"]["recordedAt"]
                    await near.until(lambda v: v["riderLocation"]["recordedAt"] == last)  # noqa: B023
                assert (await trip.seen_by(trip.consumer))["recordedAt"] == last
                assert (await via(trip, there).seen_by(trip.consumer))["recordedAt"] < last
                await here.program.runtime.locations.write()
                assert (await via(trip, there).seen_by(trip.consumer))["recordedAt"] == last
                last = (await via(trip, there).report(fix(10)))["last"]["recordedAt"]
                async with there.follow(trip.consumer, WATCH, order=trip.order) as far:
                    await far.until(lambda v: v["riderLocation"]["recordedAt"] == last)
            finally:
                if how == "freeze":
                    os.kill(redis_server._process.pid, signal.SIGCONT)
            if how == "kill":
                redis_server.start()
            # Back again: positions reach the other process without anybody connecting anew.
            async with there.follow(trip.consumer, WATCH, order=trip.order) as far:
                async with asyncio.timeout(PATIENCE):
                    for n in itertools.count(11):
                        last = (await trip.report(fix(11 + n / 1000)))["last"]["recordedAt"]
                        if last in instants(far):
                            break
                        await asyncio.sleep(0.02)
        await trip.finish()
