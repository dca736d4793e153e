"""In whatever order, batches, processes and number of times fixes come: one last position and one track."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.geo import Crs, Point, distance_m, to_gcj02
from services.delivery.fixes import MAX_ACCURACY_M, MAX_AGE, MAX_FROM_CITY_M, Fix, Position
from services.delivery.locations import Locations
from services.errors import LocationRejected
from tests.delivery.world import Work, at_work, make_fix
from tests.ordering.world import FakeProvider, build
from tests.support import make_runtime

CENTER = Point(39.9042, 116.4074)
FAR = Point(31.23, 121.47)


@pytest.fixture(scope="module")
async def work(module_database_url: str) -> AsyncIterator[Work]:
    provider = FakeProvider()
    async with make_runtime(module_database_url, payments=provider) as runtime:
        yield await at_work(await build(runtime, provider))


SECONDS = st.one_of(
    st.integers(-120, 59).map(float),
    st.floats(-120, 59, allow_nan=False).map(lambda s: round(s, 6)),
    st.just(-MAX_AGE.total_seconds() - 1),
)
PLACES = st.one_of(st.tuples(st.floats(39.8, 40.0), st.floats(116.3, 116.5)).map(lambda p: Point(*p)), st.just(FAR))


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[float, Point, Crs, float | None]]:
    """What a phone read, by the instants it read them at."""
    instants = draw(st.lists(SECONDS, min_size=1, max_size=40, unique=True))
    accuracies = st.sampled_from([None, 0.0, 8.5, float(MAX_ACCURACY_M), MAX_ACCURACY_M + 1.0])
    return [(s, draw(PLACES), draw(st.sampled_from(Crs)), draw(accuracies)) for s in instants]


def believable(fix: Fix, now: datetime) -> bool:
    """The rule, said differently."""
    return (
        (now - fix.recorded_at).total_seconds() <= MAX_AGE.total_seconds()
        and (fix.accuracy_metres or 0) <= MAX_ACCURACY_M
        and distance_m(CENTER, fix.location) <= MAX_FROM_CITY_M
    )


def position_of(fix: Fix) -> Position:
    return Position(to_gcj02(fix.location), fix.recorded_at, fix.accuracy_metres, fix.heading, fix.speed)


def first_of_each_slot(fixes: list[Fix], seconds: int) -> list[datetime]:
    slots: dict[int, datetime] = {}
    for fix in sorted(fixes, key=lambda fix: fix.recorded_at):
        slots.setdefault(int(fix.recorded_at.timestamp()) // seconds, fix.recorded_at)
    return [at for _, at in sorted(slots.items())]


@settings(max_examples=150)
@given(stream=streams(), data=st.data())
async def test_one_last_position_and_one_track(work: Work, stream: list[tuple], data: st.DataObject) -> None:
    database, clock = work.city.runtime.database, work.city.clock
    now = clock.now()
    await database.execute("DELETE FROM track_point")
    await database.execute("UPDATE rider SET located_at = NULL, latitude = NULL, longitude = NULL")
    fixes = [
        make_fix(now + timedelta(seconds=s), place=place, crs=crs, accuracy=accuracy)
        for s, place, crs, accuracy in stream
    ]
    sent = data.draw(st.permutations(fixes + data.draw(st.lists(st.sampled_from(fixes), max_size=20))))
    processes = [work.process(), work.process()]
    signalled = len(work.city.runtime.signals.published)  # type: ignore[attr-defined]
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        batch, sent = sent[:size], sent[size:]
        process = data.draw(st.sampled_from(processes))
        before = process._riders[work.rider_id].last if work.rider_id in process._riders else None
        try:
            report = await process.report(work.rider_id, batch)
        except LocationRejected:
            assert not any(believable(fix, now) for fix in batch)
        else:
            assert report.accepted + report.ignored == len(batch)
            assert {one.index for one in report.implausible} == {
                index for index, fix in enumerate(batch) if not believable(fix, now)
            }
            if before is not None and report.last is not None:
                assert report.last.recorded_at >= before.recorded_at
        await data.draw(st.sampled_from([nothing, Locations.publish, Locations.write]))(process)
    for process in processes:
        await process.publish()
        await process.write()
        assert not process._points
    good = [fix for fix in fixes if believable(fix, now)]
    if not good:
        assert (await work.row())["located_at"] is None
        return
    newest = max(good, key=lambda fix: fix.recorded_at)
    assert await work.stored() == position_of(newest)
    seconds = int(work.city.runtime.settings.track_interval.total_seconds())
    assert await work.track() == first_of_each_slot(good, seconds)
    told = [s.value for s in work.city.runtime.signals.published[signalled:] if s.value]  # type: ignore[attr-defined]
    assert max(value["recorded_at"] for value in told) == int(newest.recorded_at.timestamp() * 1e6 + 0.5)


async def nothing(process: Locations) -> None:
    """Let the next batch come before anything is carried on."""
