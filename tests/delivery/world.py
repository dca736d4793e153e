"""A rider on a delivery, and fixes as phones send them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from auth.principals import Principal
from core.geo import Crs, Point
from models.database import Database, Record
from services.delivery import tasks
from services.delivery.fixes import Fix, Position
from services.delivery.locations import Locations
from services.ordering.records import OrderRecord
from tests.ordering.world import STORE_AT, City


@dataclass
class Work:
    city: City
    rider: Principal
    order: OrderRecord
    start: datetime

    @property
    def rider_id(self) -> UUID:
        assert self.rider.rider_id is not None
        return self.rider.rider_id

    @property
    def delivery_id(self) -> UUID:
        assert self.order.delivery is not None
        return self.order.delivery.id

    @property
    def locations(self) -> Locations:
        return self.city.runtime.locations

    def process(self, database: Any = None) -> Locations:
        """The locations of another process of the same installation."""
        runtime = self.city.runtime
        return Locations(runtime.settings, database or runtime.database, runtime.clock, runtime.signals)

    async def row(self) -> Record:
        row = await self.city.runtime.database.fetchrow("SELECT * FROM rider WHERE id = $1", self.rider_id)
        assert row is not None
        return row

    async def stored(self) -> Position:
        row = await self.row()
        at = Point(row["latitude"], row["longitude"])
        return Position(at, row["located_at"], row["accuracy_m"], row["heading"], row["speed"])

    async def track(self) -> list[datetime]:
        rows = await self.city.runtime.database.fetch(
            "SELECT recorded_at FROM track_point WHERE delivery_id = $1 ORDER BY slot", self.delivery_id
        )
        return [row["recorded_at"] for row in rows]

    def fix(self, seconds: float, **more: Any) -> Fix:
        return make_fix(self.start + timedelta(seconds=seconds), **more)


def make_fix(
    at: datetime,
    *,
    place: Point = STORE_AT,
    crs: Crs = Crs.GCJ02,
    accuracy: float | None = 10.0,
    heading: float | None = None,
    speed: float | None = None,
) -> Fix:
    return Fix(Point(place.latitude, place.longitude, crs), at, accuracy, heading, speed)


async def at_work(city: City) -> Work:
    rider = await city.rider()
    order = await city.accepted()
    assert order.delivery is not None
    order = await tasks.accept_offer(city.runtime, rider, order.delivery.id)
    city.later(hours=1)
    return Work(city, rider, order, city.clock.now())


class CountedDatabase:
    """Counts statements, and can be away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.statements = 0
        self.away = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._database, name)

        async def counted(*args: Any) -> Any:
            self.statements += 1
            if self.away:
                raise ConnectionRefusedError("the database is away")
            return await method(*args)

        return counted
