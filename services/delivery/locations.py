"""Where riders are: taken in by the thousand per second, without a database statement on the way.

Each process keeps what it needs to know of the riders who report to it (their *duty*: city, online, delivery) and
their last position. A report changes memory only; two tasks carry it on:

- the **publisher** puts last positions where all processes see them (:mod:`clients.latest`) and then signals them to
  those who watch the order that the rider is carrying out, all that came meanwhile at once;
- the **writer** brings last positions to the ``rider`` rows, which dispatch and other processes read, and sampled
  tracks to ``track_point``, every few seconds and in one statement each. A process that is killed loses what was
  not written yet: at most ``location_write_interval`` of both.

A duty is read again when a signal says that the rider's tasks or row changed, when signals may have been lost, and
with each write. A position is signalled by the order whose delivery the rider carries out, and never without one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import orjson

from clients.latest import LatestValues
from core import logs
from core.clock import Clock
from core.geo import Point, to_gcj02
from core.settings import Settings
from models.database import Database
from services.delivery.fixes import (
    MAX_FIXES,
    PROBLEMS,
    Fix,
    ImplausibleFix,
    LocationReport,
    Position,
    implausible,
    impossible,
    position_from_json,
    position_to_json,
    version_of,
)
from services.errors import InvalidInput, LocationRejected, NotFound, RiderOffline
from subscriptions.feeds import CITY, RIDER_LOCATION, RIDER_TASKS, Signal

if TYPE_CHECKING:
    from services.runtime import Signals

log = logs.get(__name__)

PUBLISH_PAUSE: Final = 0.025
"""Seconds between two publications: one costs half a millisecond, whether it carries one position or a hundred."""
DUTY_LASTS: Final = 10.0
"""Seconds after which a duty is read again, whatever was signalled."""
_FORGOTTEN_AFTER: Final = 600.0
"""Seconds without a report after which a rider costs no memory."""
_SHORTEST_PAUSE: Final = 0.2
_WRITE_TIMEOUT: Final = 15.0
_ROWS: Final = 500
"""Rows per statement: so many row locks are held at once."""
_MOST_POINTS: Final = 50_000
"""Points of tracks that may wait for the database; the oldest go first when it stays away."""

_READ: Final = """
SELECT r.id, r.city_id, c.latitude AS city_latitude, c.longitude AS city_longitude, r.online,
       d.id AS delivery_id, d.order_id, d.created_at AS since,
       r.latitude, r.longitude, r.located_at, r.accuracy_m, r.heading, r.speed
FROM rider r JOIN city c ON c.id = r.city_id
LEFT JOIN delivery d ON d.id = r.active_delivery_id AND d.state IN ('ASSIGNED', 'AT_STORE', 'PICKED_UP')
WHERE r.id = ANY($1::uuid[])
"""

# Rows that somebody holds are left for the next time: nobody ever waits for this statement's locks in a circle.
_WRITE: Final = """
WITH fix AS (
    SELECT * FROM unnest($1::uuid[], $2::float8[], $3::float8[], $4::timestamptz[], $5::float8[], $6::float8[],
                         $7::float8[]) AS f (id, latitude, longitude, located_at, accuracy_m, heading, speed)
), taken AS (
    SELECT r.id FROM rider r JOIN fix ON fix.id = r.id
    WHERE r.located_at IS NULL OR r.located_at < fix.located_at
    FOR NO KEY UPDATE OF r SKIP LOCKED
)
UPDATE rider r SET latitude = f.latitude, longitude = f.longitude, located_at = f.located_at,
                   accuracy_m = f.accuracy_m, heading = f.heading, speed = f.speed
FROM fix f JOIN taken USING (id) WHERE r.id = f.id
"""

_TRACK: Final = """
INSERT INTO track_point (delivery_id, rider_id, slot, recorded_at, latitude, longitude, accuracy_m)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::float8[], $6::float8[],
                     $7::float8[])
ON CONFLICT (delivery_id, rider_id, slot) DO UPDATE
SET recorded_at = excluded.recorded_at, latitude = excluded.latitude, longitude = excluded.longitude,
    accuracy_m = excluded.accuracy_m
WHERE excluded.recorded_at < track_point.recorded_at
"""


@dataclass(frozen=True, slots=True)
class _Duty:
    """What decides how a report is taken: where and for which delivery the rider works, ``since`` when it exists."""

    city_id: UUID
    city_at: Point
    online: bool
    delivery_id: UUID | None
    order_id: UUID | None
    since: datetime | None


@dataclass(slots=True, eq=False)
class _Rider:
    """A rider who reports to this process. ``version`` grows whenever the duty may have changed."""

    id: UUID
    duty: _Duty | None = None
    read_at: float = 0.0
    version: int = 0
    last: Position | None = None
    unwritten: bool = False
    heard_at: float = 0.0
    sampled: tuple[UUID, int, datetime] | None = None
    """The delivery, the newest slot of time that its track has a point of, and the instant of that point."""

    def move(self, position: Position) -> bool:
        """Take a newer position; False for any other. Of two of the same instant the first one stays."""
        if self.last is not None and position.recorded_at <= self.last.recorded_at:
            return False
        self.last = position
        return True

    def dismiss(self) -> None:
        """Read the duty again before the next report."""
        self.version += 1
        self.duty = None


@dataclass(frozen=True, slots=True)
class _News:
    """A position on its way to those who watch."""

    position: Position
    order_id: UUID | None
    city_id: UUID


_Key = tuple[UUID, UUID, int]
"""Delivery, rider and slot of a point of a track."""


class Locations:
    """The live positions of a process. ``start`` first, ``close`` last: that writes what is left.

    :param shared: where the processes see each other's positions; None when there is only one.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock: Clock,
        signals: Signals,
        shared: LatestValues | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._signals = signals
        self._shared = shared
        self._slot = settings.track_interval.total_seconds()
        self._pause = max(settings.location_write_interval.total_seconds() / clock.speed, _SHORTEST_PAUSE)
        self._riders: dict[UUID, _Rider] = {}
        self._news: dict[UUID, _News] = {}
        self._points: dict[_Key, Fix] = {}
        self._woken = asyncio.Event()
        self._closing = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._keep_publishing()), asyncio.create_task(self._keep_writing())]

    async def close(self) -> None:
        """Publish and write what has been taken."""
        self._closing.set()
        self._woken.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.publish()
        await self._write_or_log()
        if self._shared is not None:
            await self._shared.close()

    # -- taking reports

    async def report(self, rider_id: UUID, fixes: Sequence[Fix]) -> LocationReport:
        """Take a batch of 1–100 fixes, in any order, repeated ones included; the newest becomes the position.

        Raises LocationRejected naming the first impossible fix, or the first one when none is plausible (nothing
        of the batch is taken then), InvalidInput, RiderOffline, NotFound.
        """
        if not 1 <= len(fixes) <= MAX_FIXES:
            raise InvalidInput(field="fixes", reason=f"must be 1 to {MAX_FIXES}")
        now = self._clock.now()
        for index, fix in enumerate(fixes):
            reason = impossible(fix, now)
            if reason is not None:
                raise LocationRejected(index=index, reason=reason, received_at=now)
        rider, duty = await self._on_duty(rider_id)
        if not duty.online:
            raise RiderOffline()
        # From here to the end nothing waits: a report is taken as a whole, whoever else reports for the rider.
        doubts: list[ImplausibleFix] = []
        before = None if rider.last is None else rider.last.recorded_at
        fresh: dict[datetime, Fix] = {}
        for index, fix in enumerate(fixes):
            problem = implausible(fix, now, duty.city_at)
            if problem is not None:
                doubts.append(ImplausibleFix(index, problem))
                continue
            if before is None or fix.recorded_at > before:
                fresh.setdefault(fix.recorded_at, fix)
            if duty.delivery_id is not None:
                self._sample(rider, duty, fix)
        if len(doubts) == len(fixes):
            raise LocationRejected(index=0, reason=PROBLEMS[doubts[0].problem], received_at=now)
        if fresh:
            newest = fresh[max(fresh)]
            at = to_gcj02(newest.location)
            position = Position(at, newest.recorded_at, newest.accuracy_metres, newest.heading, newest.speed)
            rider.move(position)
            rider.unwritten = True
            self._news[rider_id] = _News(position, duty.order_id, duty.city_id)
            self._woken.set()
        return LocationReport(len(fresh), len(fixes) - len(fresh), doubts, rider.last, now)

    def _sample(self, rider: _Rider, duty: _Duty, fix: Fix) -> None:
        """Keep the first fix of each slot for the track; the table decides the same about what comes late."""
        assert duty.delivery_id is not None and duty.since is not None
        at = fix.recorded_at
        if at < duty.since:
            return
        slot = int(at.timestamp() // self._slot)
        delivery, newest, first = rider.sampled or (None, -1, at)
        if delivery == duty.delivery_id and slot == newest and at >= first:
            return
        if delivery != duty.delivery_id or slot >= newest:
            rider.sampled = (duty.delivery_id, slot, at)
        key = (duty.delivery_id, rider.id, slot)
        known = self._points.get(key)
        if known is None or at < known.recorded_at:
            self._points[key] = fix
        if len(self._points) > _MOST_POINTS:
            del self._points[next(iter(self._points))]

    async def _on_duty(self, rider_id: UUID) -> tuple[_Rider, _Duty]:
        """The rider with a duty that holds. Raises NotFound."""
        rider = self._riders.get(rider_id)
        now = time.monotonic()
        if rider is None:
            rider = self._riders[rider_id] = _Rider(rider_id)
        rider.heard_at = now
        if rider.duty is not None and now < rider.read_at + DUTY_LASTS:
            return rider, rider.duty
        duties = await self._read([rider])
        if rider_id not in duties:
            self._riders.pop(rider_id, None)
            raise NotFound(resource="Rider")
        return rider, duties[rider_id]

    async def _read(self, riders: Sequence[_Rider]) -> dict[UUID, _Duty]:
        """Read duties and positions from the rows; they hold unless something changed meanwhile."""
        versions = [rider.version for rider in riders]
        now = time.monotonic()
        rows = {row["id"]: row for row in await self._database.fetch(_READ, [rider.id for rider in riders])}
        shared = await self._shared_positions(rows)
        duties: dict[UUID, _Duty] = {}
        for rider, version in zip(riders, versions, strict=True):
            row = rows.get(rider.id)
            if row is None:
                continue
            duty = duties[rider.id] = _Duty(
                row["city_id"], Point(row["city_latitude"], row["city_longitude"]), row["online"],
                row["delivery_id"], row["order_id"], row["since"],
            )  # fmt: skip
            if row["located_at"] is not None:
                at = Point(row["latitude"], row["longitude"])
                stored = Position(at, row["located_at"], row["accuracy_m"], row["heading"], row["speed"])
                if rider.move(stored) or rider.last == stored:
                    rider.unwritten = False
            if rider.id in shared:
                rider.move(shared[rider.id])
            if rider.version == version:
                rider.duty, rider.read_at = duty, now
        return duties

    # -- what others say and ask

    def deliver(self, signals: Sequence[Signal] | None) -> None:
        """Take the signals of all processes; None when some may have been lost."""
        if signals is None:
            for rider in self._riders.values():
                rider.dismiss()
            return
        for signal in signals:
            kind, _, key = signal.feed.partition(":")
            if kind == RIDER_TASKS.name:
                self._dismiss(UUID(key))
            elif kind == RIDER_LOCATION.name and signal.value is not None:
                rider = self._riders.get(UUID(signal.value["rider"]))
                if rider is not None:
                    rider.move(position_from_json(signal.value))

    async def changed(self, rider_id: UUID) -> None:
        """Call after the commit of a change of the rider's row."""
        self._dismiss(rider_id)
        await self._signals.publish([Signal(RIDER_TASKS.of(rider_id))])

    def _dismiss(self, rider_id: UUID) -> None:
        rider = self._riders.get(rider_id)
        if rider is not None:
            rider.dismiss()

    async def newest(self, rider_ids: Iterable[UUID]) -> dict[UUID, Position]:
        """The live positions that are known; one in the row may be newer."""
        ids = list(rider_ids)
        found = await self._shared_positions(ids)
        for id in ids:
            rider = self._riders.get(id)
            last = None if rider is None else rider.last
            if last is not None and (id not in found or last.recorded_at >= found[id].recorded_at):
                found[id] = last
        return found

    async def _shared_positions(self, rider_ids: Iterable[UUID]) -> dict[UUID, Position]:
        if self._shared is None:
            return {}
        names = {str(id): id for id in rider_ids}
        values = await self._shared.read(list(names))
        return {names[name]: position_from_json(orjson.loads(value)) for name, value in values.items()}

    # -- carrying on

    async def publish(self) -> None:
        """Let the other processes and those who watch know what was reported since the last time.

        Shared first, signalled second: who begins to watch meanwhile finds it in one place or hears of it.
        """
        news, self._news = self._news, {}
        if not news:
            return
        if self._shared is not None:
            await self._shared.keep(
                {
                    str(id): (version_of(one.position.recorded_at), orjson.dumps(position_to_json(one.position)))
                    for id, one in news.items()
                }
            )
        signals = [
            Signal(RIDER_LOCATION.of(one.order_id), None, position_to_json(one.position) | {"rider": str(id)})
            for id, one in news.items()
            if one.order_id is not None
        ]
        signals += [Signal(CITY.of(city_id)) for city_id in {one.city_id for one in news.values()}]
        await self._signals.publish(signals)

    async def write(self) -> None:
        """Bring last positions to the riders' rows and points to their tracks."""
        unwritten = [rider for rider in self._riders.values() if rider.unwritten]
        for start in range(0, len(unwritten), _ROWS):
            await self._write_rows(unwritten[start : start + _ROWS])
        points = sorted(self._points)
        for start in range(0, len(points), _ROWS):
            await self._write_points(points[start : start + _ROWS])
        silent_since = time.monotonic() - _FORGOTTEN_AFTER
        for rider in [r for r in self._riders.values() if r.heard_at < silent_since and not r.unwritten]:
            del self._riders[rider.id]

    async def _write_rows(self, riders: Sequence[_Rider]) -> None:
        last = [(r.id, r.last) for r in riders if r.last is not None]
        await self._database.execute(
            _WRITE,
            [id for id, _ in last],
            [at.location.latitude for _, at in last],
            [at.location.longitude for _, at in last],
            [at.recorded_at for _, at in last],
            [at.accuracy_metres for _, at in last],
            [at.heading for _, at in last],
            [at.speed for _, at in last],
        )
        found = await self._read(riders)
        for rider in riders:
            if rider.id not in found:
                self._riders.pop(rider.id, None)

    async def _write_points(self, keys: Sequence[_Key]) -> None:
        points = [self._points[key] for key in keys]
        places = [to_gcj02(fix.location) for fix in points]
        await self._database.execute(
            _TRACK,
            [delivery_id for delivery_id, _, _ in keys],
            [rider_id for _, rider_id, _ in keys],
            [datetime.fromtimestamp(slot * self._slot, UTC) for _, _, slot in keys],
            [fix.recorded_at for fix in points],
            [place.latitude for place in places],
            [place.longitude for place in places],
            [fix.accuracy_metres for fix in points],
        )
        for key, fix in zip(keys, points, strict=True):
            if self._points.get(key) is fix:  # an earlier one of the slot may have come meanwhile
                del self._points[key]

    async def _keep_publishing(self) -> None:
        while not self._closing.is_set():
            await self._woken.wait()
            self._woken.clear()
            await self.publish()
            await asyncio.sleep(PUBLISH_PAUSE)

    async def _keep_writing(self) -> None:
        while not self._closing.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._closing.wait()
            await self._write_or_log()

    async def _write_or_log(self) -> None:
        """What cannot be written now stays for the next time."""
        try:
            async with asyncio.timeout(_WRITE_TIMEOUT):
                await self.write()
        except Exception as error:
            log.warning("locations.unwritten", error=repr(error), points=len(self._points))
