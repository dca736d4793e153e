"""Taking reports: what is refused, what it costs, what is known where, and what an outage does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from core.geo import Crs, Point, to_gcj02
from core.ids import uuid7
from services import retention
from services.delivery import dispatch, nearby, reading, riders, tasks, tracks
from services.delivery import locations as module
from services.delivery.fixes import FixProblem, ImplausibleFix
from services.errors import InvalidInput, LocationRejected, NotFound, RiderOffline
from subscriptions.feeds import CITY, RIDER_LOCATION, RIDER_TASKS, Signal
from tests.delivery.world import CountedDatabase, Work
from tests.ordering.world import STORE_AT

FAR = Point(31.23, 121.47)


def location_signals(work: Work) -> list[Signal]:
    return [s for s in work.city.runtime.signals.published if s.feed.startswith(RIDER_LOCATION.name)]  # type: ignore[attr-defined]


async def test_no_statement_per_report(work: Work) -> None:
    database = CountedDatabase(work.city.runtime.database)
    process = work.process(database)
    await process.report(work.rider_id, [work.fix(-1000)])
    assert database.statements == 1
    for second in range(500):
        report = await process.report(work.rider_id, [work.fix(second - 999 + n / 20) for n in range(10)])
        assert report.accepted == 10
        await process.publish()
    assert database.statements == 1
    await process.write()
    assert database.statements == 4  # the row, the duty again, the track
    await process.write()
    assert database.statements == 4


async def test_the_implausible_is_told_apart(work: Work) -> None:
    fixes = [
        work.fix(-30),
        work.fix(-13 * 3600),
        work.fix(-20, accuracy=2_001.0),
        work.fix(-10, place=FAR),
        work.fix(-40),
        work.fix(-30),
    ]
    report = await work.locations.report(work.rider_id, fixes)
    assert report.implausible == [
        ImplausibleFix(1, FixProblem.TOO_OLD),
        ImplausibleFix(2, FixProblem.INACCURATE),
        ImplausibleFix(3, FixProblem.FAR_FROM_CITY),
    ]
    assert (report.accepted, report.ignored) == (2, 4)
    assert report.last is not None
    assert report.last.recorded_at == fixes[0].recorded_at
    assert report.received_at == work.start


@pytest.mark.parametrize(
    ("fix", "reason"),
    [
        ({"seconds": 61}, "future"),
        ({"seconds": 0, "accuracy": float("nan")}, "accuracy"),
        ({"seconds": 0, "accuracy": -1.0}, "accuracy"),
        ({"seconds": 0, "heading": 361.0}, "heading"),
        ({"seconds": 0, "speed": 101.0}, "speed"),
        ({"seconds": 0, "place": Point(90.1, 0.0)}, "earth"),
    ],
)
async def test_the_impossible_refuses_the_batch(work: Work, fix: dict[str, Any], reason: str) -> None:
    with pytest.raises(LocationRejected) as refused:
        await work.locations.report(work.rider_id, [work.fix(-5), work.fix(**fix)])
    assert refused.value.index == 1
    assert reason in refused.value.reason
    assert refused.value.received_at == work.start  # a phone with a wrong clock learns the right time
    report = await work.locations.report(work.rider_id, [work.fix(-5)])
    assert report.accepted == 1


async def test_nothing_plausible_is_refused(work: Work) -> None:
    before = await work.row()
    with pytest.raises(LocationRejected) as refused:
        await work.locations.report(work.rider_id, [work.fix(-1, place=FAR), work.fix(-2, accuracy=5_000.0)])
    assert (refused.value.index, refused.value.reason) == (0, "is more than 200 km from the city")
    await work.locations.write()
    assert await work.row() == before


async def test_wrong_sizes_and_strangers(work: Work) -> None:
    for fixes in ([], [work.fix(n) for n in range(-101, 0)]):
        with pytest.raises(InvalidInput):
            await work.locations.report(work.rider_id, fixes)
    for _ in range(2):
        with pytest.raises(NotFound):
            await work.locations.report(uuid4(), [work.fix(0)])
    assert len(work.locations._riders) <= 1
    with pytest.raises(NotFound):
        await riders.report(work.city.runtime, work.city.consumer, [work.fix(0)])


async def test_wgs84_is_converted(work: Work) -> None:
    report = await work.locations.report(work.rider_id, [work.fix(-1, crs=Crs.WGS84)])
    expected = to_gcj02(Point(STORE_AT.latitude, STORE_AT.longitude, Crs.WGS84))
    assert report.last is not None
    assert report.last.location == expected
    assert expected != STORE_AT
    await work.locations.write()
    row = await work.city.runtime.database.fetchrow("SELECT latitude, longitude FROM track_point")
    assert row is not None
    assert (row["latitude"], row["longitude"]) == (expected.latitude, expected.longitude)


async def test_offline_is_known_at_once_here_and_by_the_signal_elsewhere(work: Work) -> None:
    city = work.city
    idle = await city.rider()
    assert idle.rider_id is not None
    other = work.process()
    for process in (work.locations, other):
        await process.report(idle.rider_id, [work.fix(-5)])
    await riders.go_offline(city.runtime, idle)
    with pytest.raises(RiderOffline):
        await riders.report(city.runtime, idle, [work.fix(-4)])
    assert Signal(RIDER_TASKS.of(idle.rider_id)) in city.runtime.signals.published  # type: ignore[attr-defined]
    other.deliver([Signal(RIDER_TASKS.of(idle.rider_id))])
    with pytest.raises(RiderOffline):
        await other.report(idle.rider_id, [work.fix(-4)])
    await riders.go_online(city.runtime, idle, STORE_AT)
    report = await riders.report(city.runtime, idle, [work.fix(1)])
    assert report.accepted == 1
    other.deliver(None)  # signals may have been lost
    assert (await other.report(idle.rider_id, [work.fix(2)])).accepted == 1


async def test_a_lost_signal_is_made_up_for(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    other = work.process()
    await other.report(work.rider_id, [work.fix(-5)])
    await work.city.runtime.database.execute("UPDATE rider SET online = false WHERE id = $1", work.rider_id)
    assert (await other.report(work.rider_id, [work.fix(-4)])).accepted == 1
    await other.write()  # reads the duty again
    with pytest.raises(RiderOffline):
        await other.report(work.rider_id, [work.fix(-3)])
    await work.city.runtime.database.execute("UPDATE rider SET online = true WHERE id = $1", work.rider_id)
    monkeypatch.setattr(module, "DUTY_LASTS", 0.0)
    assert (await other.report(work.rider_id, [work.fix(-3)])).accepted == 1


async def test_a_change_while_the_duty_is_read_is_not_overlooked(work: Work) -> None:
    process = work.process()
    read = process._database.fetch

    class Meanwhile:
        async def fetch(self, *args: Any) -> Any:
            rows = await read(*args)
            process.deliver([Signal(RIDER_TASKS.of(work.rider_id), 9)])
            return rows

    process._database = Meanwhile()  # type: ignore[assignment]
    await process.report(work.rider_id, [work.fix(-5)])
    assert process._riders[work.rider_id].duty is None


async def test_positions_are_signalled_by_order_and_only_on_a_delivery(work: Work) -> None:
    city = work.city
    await work.locations.report(work.rider_id, [work.fix(-9), work.fix(-8)])
    await work.locations.report(work.rider_id, [work.fix(-7)])
    await work.locations.publish()
    (signal,) = location_signals(work)
    assert signal.feed == RIDER_LOCATION.of(work.order.id)
    assert signal.value is not None
    assert signal.value["rider"] == str(work.rider_id)
    idle = await city.rider()
    assert idle.rider_id is not None
    await work.locations.report(idle.rider_id, [work.fix(-1)])
    await work.locations.publish()
    assert location_signals(work) == [signal]
    assert city.runtime.signals.published[-1] == Signal(CITY.of(city.id))  # type: ignore[attr-defined]


async def test_an_offer_is_no_delivery(work: Work) -> None:
    """Who is offered a job is not on it: nobody follows them, and there is no track."""
    city = work.city
    rider = await city.rider()
    assert rider.rider_id is not None
    order = await city.accepted()
    assert order.delivery is not None
    assert order.delivery.rider_id == rider.rider_id
    await city.runtime.locations.report(rider.rider_id, [work.fix(-1)])
    await work.locations.publish()
    await work.locations.write()
    assert location_signals(work) == []
    assert (await tracks.tracks(city.runtime, [order.delivery.id], 10))[order.delivery.id] == []
    await tasks.accept_offer(city.runtime, rider, order.delivery.id)
    work.locations.deliver([Signal(RIDER_TASKS.of(rider.rider_id), 2)])
    await city.runtime.locations.report(rider.rider_id, [work.fix(1)])
    await work.locations.publish()
    await work.locations.write()
    assert len(location_signals(work)) == 1
    assert len((await tracks.tracks(city.runtime, [order.delivery.id], 10))[order.delivery.id]) == 1


async def test_fixes_from_before_the_delivery_are_not_in_its_track(work: Work) -> None:
    before = work.order.delivery.created_at - work.start  # type: ignore[union-attr]
    seconds = before.total_seconds()
    await work.locations.report(work.rider_id, [work.fix(seconds - 1), work.fix(seconds), work.fix(seconds + 25)])
    await work.locations.write()
    assert await work.track() == [work.start + before, work.start + before + timedelta(seconds=25)]


async def test_the_database_may_be_away(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_POINTS", 20)
    database = CountedDatabase(work.city.runtime.database)
    process = work.process(database)
    await process.report(work.rider_id, [work.fix(-1000)])
    database.away = True
    for n in range(50):
        assert (await process.report(work.rider_id, [work.fix(-999 + 10 * n)])).accepted == 1
    with pytest.raises(ConnectionRefusedError):
        await process.write()
    assert len(process._points) == 20  # bounded: the newest are kept
    database.away = False
    await process.write()
    assert (await work.row())["located_at"] == work.fix(-509).recorded_at
    assert (await work.track())[-1] == work.fix(-509).recorded_at
    assert len(await work.track()) == 20


async def test_closing_writes_what_is_left(work: Work) -> None:
    process = work.process()
    await process.start()
    await process.report(work.rider_id, [work.fix(-20), work.fix(-3)])
    await process.close()
    assert (await work.row())["located_at"] == work.fix(-3).recorded_at
    assert await work.track() == [work.fix(-20).recorded_at, work.fix(-3).recorded_at]
    assert len(location_signals(work)) == 1


async def test_a_locked_row_is_written_later(work: Work) -> None:
    await work.locations.report(work.rider_id, [work.fix(-3)])
    before = (await work.row())["located_at"]
    async with work.city.runtime.database.transaction() as connection:
        await connection.execute("SELECT FROM rider WHERE id = $1 FOR UPDATE", work.rider_id)
        await work.locations.write()
        assert (await work.row())["located_at"] == before
    await work.locations.write()
    assert (await work.row())["located_at"] == work.fix(-3).recorded_at


async def test_the_silent_are_forgotten_once_written(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    await work.locations.report(work.rider_id, [work.fix(-3)])
    monkeypatch.setattr(module, "_FORGOTTEN_AFTER", -1.0)
    database = CountedDatabase(work.city.runtime.database)
    database.away = True
    work.locations._database = database  # type: ignore[assignment]
    with pytest.raises(ConnectionRefusedError):
        await work.locations.write()
    assert work.rider_id in work.locations._riders
    database.away = False
    await work.locations.write()
    assert work.locations._riders == {}


async def test_everybody_reads_the_live_position(work: Work) -> None:
    runtime = work.city.runtime
    there = Point(39.95, 116.45)
    await work.locations.report(work.rider_id, [work.fix(-1, place=there, accuracy=7.0)])
    rider = await reading.rider_of(runtime, work.rider)
    assert rider.position is not None
    assert (rider.position.location, rider.position.accuracy_metres) == (there, 7.0)
    assert [r.location for r in await reading.riders_of_city(runtime, work.city.id)] == [there]
    assert (await reading.visible_positions(runtime, [work.delivery_id]))[work.delivery_id].location == there
    near = await nearby.riders_near(runtime, work.city.admin, work.city.id, there, 100, False, 5)
    assert near == []  # the row is far behind: found again with the next write
    await work.locations.write()
    (found,) = await nearby.riders_near(runtime, work.city.admin, work.city.id, there, 100, False, 5)
    assert (found.rider.id, found.distance_metres) == (work.rider_id, 0)


async def test_visible_only_while_the_delivery_is_under_way(work: Work) -> None:
    runtime = work.city.runtime

    async def seen() -> bool:
        return work.delivery_id in await reading.visible_positions(runtime, [work.delivery_id])

    assert await seen()
    from services.ordering import actions

    await tasks.arrive(runtime, work.rider, work.delivery_id)
    await actions.mark_ready(runtime, work.city.clerk, work.order.id)
    await tasks.pick_up(runtime, work.rider, work.delivery_id)
    assert await seen()
    await tasks.complete(runtime, work.rider, work.delivery_id)
    assert not await seen()


async def test_riders_around(work: Work) -> None:
    city = work.city
    for meters in (300, 100, 900, 2_900, 3_400):
        await city.rider(Point(STORE_AT.latitude + meters / 111_195, STORE_AT.longitude))
    await city.rider(online=False)
    found = await nearby.riders_near(city.runtime, city.admin, city.id, STORE_AT, 3_000, False, 10)
    assert [near.distance_metres for near in found] == [0, 100, 300, 900, 2_900]
    free = await nearby.riders_near(city.runtime, city.admin, city.id, STORE_AT, 3_000, True, 2)
    assert [near.distance_metres for near in free] == [100, 300]
    for stranger in (city.clerk, city.consumer, work.rider):
        with pytest.raises(NotFound):
            await nearby.riders_near(city.runtime, stranger, city.id, STORE_AT, 3_000, False, 10)
    for radius in (0, 50_001):
        with pytest.raises(InvalidInput):
            await nearby.riders_near(city.runtime, city.admin, city.id, STORE_AT, radius, False, 10)


async def test_supply_is_told_in_steps(work: Work) -> None:
    city = work.city
    steps = []
    for riders_more in (0, 1, 2, 1, 6, 1, 5):
        for _ in range(riders_more):
            await city.rider(Point(STORE_AT.latitude + 0.02, STORE_AT.longitude))
        steps.append((await nearby.supply_at_stores(city.runtime, [city.store_id]))[city.store_id])
    S = nearby.RiderSupply
    assert steps == [S.NONE, S.LOW, S.LOW, S.NORMAL, S.NORMAL, S.HIGH, S.HIGH]


async def test_dispatch_finds_riders_where_they_reported(work: Work) -> None:
    """Who has come near gets the offer, within the delay of a write."""
    city = work.city
    away, near = Point(39.99, 116.5), Point(39.911, 116.411)
    first, second = await city.rider(away), await city.rider(away)
    assert first.rider_id is not None
    assert second.rider_id is not None
    await work.locations.report(second.rider_id, [work.fix(0.5, place=near)])
    await work.locations.write()
    order = await city.accepted()
    assert order.delivery is not None
    assert order.delivery.rider_id == second.rider_id
    assert await dispatch.run(city.runtime, city.id) == 0


async def test_old_tracks_are_forgotten(work: Work) -> None:
    kept = work.city.runtime.settings.track_retention
    await work.locations.report(work.rider_id, [work.fix(-60), work.fix(0)])
    await work.locations.write()
    work.city.clock.advance(kept - timedelta(seconds=30))
    assert (await retention.forget(work.city.runtime))["track_point"] == 1
    assert await work.track() == [work.start]


async def test_a_track_is_read_in_pages(work: Work) -> None:
    await work.locations.report(work.rider_id, [work.fix(-10 * n) for n in range(30)])
    await work.locations.write()
    runtime = work.city.runtime
    first = (await tracks.tracks(runtime, [work.delivery_id], 20))[work.delivery_id]
    rest = (await tracks.tracks(runtime, [work.delivery_id], 20, first[-1].recorded_at))[work.delivery_id]
    assert [p.recorded_at for p in first + rest] == await work.track()
    assert len(first + rest) == 30
    assert await tracks.tracks(runtime, [other := uuid7()], 20) == {other: []}
