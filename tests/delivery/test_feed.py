"""Following a rider through the public API: who sees a position, when, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from core import ids
from core.clock import wall_now
from core.geo import Crs, Point, to_gcj02
from tests.api import documents as doc
from tests.api.city import City, codes, key, running_city
from tests.api.follower import Follower
from tests.realtime.log import until

REPORT = """mutation ($fixes: [LocationFixInput!]!) { reportLocation(fixes: $fixes) {
    ... on LocationReport { accepted ignored receivedAt implausible { index problem }
        last { recordedAt accuracyMetres ageSeconds isStale location { latitude longitude } } }
    ... on LocationRejected { index reason receivedAt } ... on UserError { __typename code message } } }"""
WATCH = """subscription ($order: ID!, $every: Int! = 0) { riderLocation(order: $order, minIntervalMs: $every) {
    cursor kind at eta riderLocation { recordedAt accuracyMetres isStale location { latitude longitude crs } } } }"""
SEEN = """query ($order: ID!) { order(id: $order) { delivery { state riderLocation { recordedAt isStale } } } }"""
UPDATES = """subscription ($order: ID!, $after: String) { orderUpdates(order: $order, after: $after) {
    cursor kind type order { state delivery { state riderLocation { recordedAt } } } } }"""
TRACK = """query ($order: ID!, $first: Int! = 50, $after: String) { order(id: $order) { delivery {
    track(first: $first, after: $after) { nodes { recordedAt accuracyMetres location { latitude } }
        pageInfo { hasNextPage endCursor } } } } }"""
NEAR = """query ($city: ID!, $at: GeoPointInput!) { city(id: $city) { ridersNear(location: $at, first: 50) {
    distanceMetres rider { id currentTask { id } position { recordedAt isStale accuracyMetres } } } } }"""
SUPPLY = "query ($store: ID!) { store(id: $store) { riderSupply } }"


def fix(seconds: float = 0, latitude: float = 39.912, longitude: float = 116.414, **more: Any) -> dict[str, Any]:
    at = (wall_now() + timedelta(seconds=seconds)).isoformat()
    return {"latitude": latitude, "longitude": longitude, "recordedAt": at, "accuracyMetres": 6.5} | more


@dataclass
class Trip:
    """A delivery from the rider's acceptance on."""

    city: City
    owner: str
    consumer: str
    rider: str
    rider_id: str
    order: str
    delivery: str

    async def report(self, *fixes: dict[str, Any]) -> Any:
        return await self.city.do(self.rider, REPORT, fixes=list(fixes))

    async def seen_by(self, token: str) -> Any:
        """What a query shows to the holder of the token."""
        return (await self.city.do(token, SEEN, order=self.order))["delivery"]["riderLocation"]

    async def finish(self) -> None:
        for token, document, variables in (
            (self.rider, doc.ARRIVE, {"delivery": self.delivery}),
            (self.owner, doc.READY, {"order": self.order}),
            (self.rider, doc.PICK_UP, {"delivery": self.delivery}),
            (self.rider, doc.COMPLETE, {"delivery": self.delivery}),
        ):
            done = await self.city.do(token, document, **variables)
            assert "code" not in done, done


async def offered(city: City) -> Trip:
    """The only rider who is free has the offer."""
    await city.execute("UPDATE rider SET online = false WHERE active_delivery_id IS NULL")
    owner, store, sku = await city.shop()
    consumer = await city.consumer()
    rider, rider_id = await city.rider()
    order = await city.paid(consumer, store, sku)
    accepted = await city.do(owner, doc.ACCEPT, order=order)
    assert accepted["delivery"]["offer"]["rider"]["id"] == rider_id
    return Trip(city, owner, consumer, rider, rider_id, order, accepted["delivery"]["id"])


async def assigned(city: City) -> Trip:
    trip = await offered(city)
    assert (await city.do(trip.rider, doc.ACCEPT_OFFER, delivery=trip.delivery))["state"] == "ASSIGNED"
    return trip


@pytest.fixture(scope="module")
async def city(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[City]:
    async with running_city(module_database_url, tmp_path_factory.mktemp("city")) as city:
        yield city


def ended(how: Any) -> bool:
    """Whether the subscription was told that the delivery is over."""
    return [(e["extensions"]["code"], e["extensions"]["reason"]) for e in how] == [("ACCESS_ENDED", "DELIVERY_ENDED")]


def instants(follower: Follower) -> list[str]:
    return [value["riderLocation"]["recordedAt"] for value in follower.values]


async def test_consumer_and_store_follow_the_rider_until_the_end(city: City) -> None:
    trip = await offered(city)
    async with (
        city.follow(trip.consumer, WATCH, order=trip.order) as consumer,
        city.follow(trip.owner, WATCH, order=trip.order) as store,
        city.follow(city.tokens["admin"], WATCH, order=trip.order) as admin,
    ):
        everybody = (consumer, store, admin)
        await trip.report(fix(-30))
        assert await trip.seen_by(trip.consumer) is None
        await city.do(trip.rider, doc.ACCEPT_OFFER, delivery=trip.delivery)
        for follower in everybody:
            await follower.count(1)
            assert follower.values[0]["kind"] == "SNAPSHOT"
        earlier, here = fix(0.5), fix(1, crs="WGS84")
        told = await trip.report(here, earlier, here)
        assert (told["accepted"], told["ignored"], told["implausible"]) == (2, 1, [])
        place = to_gcj02(Point(39.912, 116.414, Crs.WGS84))
        for follower in everybody:
            value = await follower.until(lambda v: v["kind"] == "EVENT")
            assert value["riderLocation"] == {
                "recordedAt": told["last"]["recordedAt"],
                "accuracyMetres": 6.5,
                "isStale": False,
                "location": {"latitude": place.latitude, "longitude": place.longitude, "crs": "GCJ02"},
            }
            assert value["at"] == told["last"]["recordedAt"]
        assert (await trip.seen_by(trip.owner))["recordedAt"] == told["last"]["recordedAt"]
        await trip.finish()
        for follower in everybody:
            assert ended(await follower.end())
        counts = [len(follower.values) for follower in everybody]
        assert (await trip.report(fix(1)))["accepted"] == 1
        for token in (trip.consumer, trip.owner, city.tokens["admin"]):
            assert await trip.seen_by(token) is None
        assert [len(follower.values) for follower in everybody] == counts


async def test_who_has_nothing_to_do_with_it_sees_nothing(city: City) -> None:
    trip = await assigned(city)
    await trip.report(fix())
    stranger = await city.consumer()
    other_owner, _, _ = await city.shop()
    for token in (stranger, other_owner, None):
        async with city.follow(token, WATCH, order=trip.order) as follower:
            (error,) = await follower.end()
            assert error["extensions"]["code"] == "NOT_FOUND"
        assert await city.do(token, SEEN, order=trip.order) is None
    async with city.follow(trip.rider, WATCH, order=trip.order) as follower:
        assert "riderLocation" in (await follower.end())[0]["message"]  # not in the rider's contract
    await trip.finish()


async def test_a_past_event_does_not_show_where_the_rider_is_now(city: City) -> None:
    trip = await offered(city)
    async with city.follow(trip.consumer, UPDATES, order=trip.order) as follower:
        await follower.count(1)
        before = follower.values[0]["cursor"]
        await city.do(trip.rider, doc.ACCEPT_OFFER, delivery=trip.delivery)
        live = await follower.until(lambda v: v["type"] == "delivery.assigned")
        assert live["order"]["delivery"]["riderLocation"] is not None
    await trip.finish()
    await trip.report(fix(1))
    async with city.follow(trip.consumer, UPDATES, order=trip.order, after=before) as follower:
        await follower.until(lambda v: v["type"] == "order.delivered")
        states = [v["order"]["delivery"]["state"] for v in follower.values]
        assert states[:2] == ["ASSIGNED", "AT_STORE"]
        assert {str(v["order"]["delivery"]["riderLocation"]) for v in follower.values} == {"None"}


async def test_cancelling_ends_it(city: City) -> None:
    trip = await assigned(city)
    async with city.follow(trip.consumer, WATCH, order=trip.order) as follower:
        await follower.count(1)
        done = await city.do(trip.owner, doc.REFUND, order=trip.order, key=key(), amount=100)
        assert "code" in done or done["state"]
        rejected = await city.do(city.tokens["admin"], doc.CANCEL, order=trip.order, key=key())
        assert rejected.get("state") == "CANCELLED", rejected
        assert ended(await follower.end())
    await trip.report(fix(1))
    assert await trip.seen_by(trip.consumer) is None


async def test_one_update_per_interval_and_the_newest_in_the_end(city: City) -> None:
    trip = await assigned(city)
    async with (
        city.follow(trip.consumer, WATCH, order=trip.order) as all_of_them,
        city.follow(trip.consumer, WATCH, order=trip.order, every=60_000) as seldom,
        city.follow(trip.consumer, WATCH, order=trip.order, every=200) as sometimes,
    ):
        for follower in (all_of_them, seldom, sometimes):
            await follower.count(1)
        last = ""
        for n in range(10):
            last = (await trip.report(fix(n / 100)))["last"]["recordedAt"]
            await all_of_them.until(lambda v, wanted=last: v["riderLocation"]["recordedAt"] == wanted)
        await sometimes.until(lambda v: v["riderLocation"]["recordedAt"] == last)
        for follower in (all_of_them, sometimes):
            assert instants(follower) == sorted(set(instants(follower)))
        assert len(all_of_them.values) == 11
        assert len(seldom.values) == 1
        await trip.finish()
        assert ended(await seldom.end())  # at once, not after its interval
    for bad in (-1, 60_001):
        async with city.follow(trip.consumer, WATCH, order=trip.order, every=bad) as follower:
            assert (await follower.end())[0]["extensions"]["code"] == "INVALID_INPUT"


async def test_late_fixes_do_not_move_the_rider_back(city: City) -> None:
    trip = await assigned(city)
    async with city.follow(trip.consumer, WATCH, order=trip.order) as follower:
        await follower.count(1)
        newest = await trip.report(fix(5))
        old = await trip.report(fix(-10), fix(-20))
        assert (old["accepted"], old["ignored"]) == (0, 2)
        assert old["last"]["recordedAt"] == newest["last"]["recordedAt"]
        final = (await trip.report(fix(6)))["last"]["recordedAt"]
        await follower.until(lambda v: v["riderLocation"]["recordedAt"] == final)
        assert instants(follower)[-2:] == [newest["last"]["recordedAt"], final]
    await trip.finish()


async def test_reports_from_many_phones_at_once(city: City) -> None:
    """Twenty batches of one rider arrive in no order; everybody ends with the newest fix."""
    trip = await assigned(city)
    async with city.follow(trip.consumer, WATCH, order=trip.order) as follower:
        await follower.count(1)
        fixes = [fix(n / 10) for n in range(200)]
        answers = await asyncio.gather(*[trip.report(*fixes[n::20]) for n in range(20)])
        assert all(answer["accepted"] + answer["ignored"] == 10 for answer in answers)
        last = max(answer["last"]["recordedAt"] for answer in answers)
        await follower.until(lambda v: v["riderLocation"]["recordedAt"] == last)
        assert instants(follower) == sorted(instants(follower))
    await city.program.runtime.locations.write()
    track = (await city.do(city.tokens["admin"], TRACK, order=trip.order))["delivery"]["track"]["nodes"]
    assert len(track) in (2, 3)
    await trip.finish()


async def test_a_bad_fix_is_told_and_the_good_ones_are_taken(city: City) -> None:
    trip = await assigned(city)
    told = await trip.report(fix(-13 * 3600), fix(1), fix(1.5, accuracyMetres=9_000), fix(2, 31.23, 121.47))
    assert told["implausible"] == [
        {"index": 0, "problem": "TOO_OLD"},
        {"index": 2, "problem": "INACCURATE"},
        {"index": 3, "problem": "FAR_FROM_CITY"},
    ]
    assert told["accepted"] == 1
    ahead = await trip.report(fix(120))
    assert (ahead["code"], ahead["index"]) == ("LOCATION_REJECTED", 0)
    assert ahead["receivedAt"] < fix(60)["recordedAt"]
    await trip.finish()


async def test_admins_find_riders_and_see_how_old_positions_are(city: City) -> None:
    trip = await assigned(city)
    await trip.report(fix(1, 39.96, 116.46))
    locations = city.program.runtime.locations
    await locations.write()
    at = {"latitude": 39.9601, "longitude": 116.46}
    admin = city.tokens["admin"]
    (near,) = (await city.do(admin, NEAR, city=city.id, at=at))["ridersNear"]
    assert near["distanceMetres"] == 11
    assert near["rider"]["id"] == trip.rider_id
    assert near["rider"]["currentTask"] == {"id": trip.delivery}
    assert (near["rider"]["position"]["isStale"], near["rider"]["position"]["accuracyMetres"]) == (False, 6.5)
    # An old position: as if the phone had been silent for an hour.
    await city.execute(
        "UPDATE rider SET located_at = located_at - interval '1 hour' WHERE id = $1", ids.decode("Rider", trip.rider_id)
    )
    locations._riders.clear()
    (near,) = (await city.do(admin, NEAR, city=city.id, at=at))["ridersNear"]
    assert near["rider"]["position"]["isStale"] is True
    assert (await trip.seen_by(trip.consumer))["isStale"] is True
    for token in (trip.consumer, trip.owner, trip.rider):
        assert codes(await city.graphql(token, NEAR, {"city": city.id, "at": at})) == ["GRAPHQL_VALIDATION_FAILED"]
    await trip.finish()


async def test_supply_near_a_store(city: City) -> None:
    trip = await assigned(city)
    for token in (trip.consumer, trip.owner, city.tokens["admin"]):
        assert (await city.do(token, SUPPLY, store=city.store))["riderSupply"] in ("NONE", "LOW", "NORMAL", "HIGH")
    before = (await city.do(trip.consumer, SUPPLY, store=city.store))["riderSupply"]
    for _ in range(11):
        await city.rider()
    assert (await city.do(trip.consumer, SUPPLY, store=city.store))["riderSupply"] == "HIGH" != before
    await trip.finish()


async def test_the_track_is_for_the_rider_and_the_admins(city: City) -> None:
    trip = await assigned(city)
    await trip.report(*[fix(n / 3) for n in range(5)], fix(30))
    await city.program.runtime.locations.write()
    for token in (trip.rider, city.tokens["admin"]):
        page = (await city.do(token, TRACK, order=trip.order, first=1))["delivery"]["track"]
        assert page["pageInfo"]["hasNextPage"] is True
        rest = await city.do(token, TRACK, order=trip.order, after=page["pageInfo"]["endCursor"])
        assert rest["delivery"]["track"]["nodes"][-1]["accuracyMetres"] == 6.5
        assert page["nodes"][0]["recordedAt"] < rest["delivery"]["track"]["nodes"][0]["recordedAt"]
    assert codes(await city.graphql(trip.rider, TRACK, {"order": trip.order, "after": "-1"})) == ["INVALID_INPUT"]
    for token in (trip.consumer, trip.owner):
        assert codes(await city.graphql(token, TRACK, {"order": trip.order})) == ["GRAPHQL_VALIDATION_FAILED"]
    await trip.finish()


async def test_watchers_leave_nothing_behind(city: City) -> None:
    trip = await assigned(city)
    tails = city.program.tails
    before, tasks = tails.watchers, len(asyncio.all_tasks())
    for _ in range(20):
        async with city.follow(trip.consumer, WATCH, order=trip.order) as follower:
            await follower.count(1)
    await until(lambda: tails.watchers == before and len(asyncio.all_tasks()) <= tasks)
    await trip.finish()
