"""The ways that deliveries took: sampled by :mod:`services.delivery.locations`, kept for a while.

A track tells where a person was, so it is kept only of deliveries under way, thinly, and not for longer than disputes
about a delivery last (PIPL art. 19, 28).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.geo import Point
from services.pages import of_each
from services.runtime import Runtime


@dataclass(frozen=True, slots=True)
class TrackPoint:
    """Where the rider of a delivery was."""

    location: Point
    recorded_at: datetime
    accuracy_metres: float | None


async def tracks(
    runtime: Runtime, delivery_ids: Sequence[UUID], limit: int, after: datetime | None = None
) -> dict[UUID, list[TrackPoint]]:
    """Of each delivery the points recorded after ``after``, oldest first, at most ``limit``.

    Written with a delay of seconds.
    """
    page = """SELECT latitude, longitude, recorded_at, accuracy_m FROM track_point
        WHERE delivery_id = k.key AND ($2::timestamptz IS NULL OR recorded_at > $2) ORDER BY recorded_at LIMIT $3"""
    found = await of_each(runtime, delivery_ids, "uuid", page, "page.recorded_at", after, limit)
    return {
        key: [TrackPoint(Point(r["latitude"], r["longitude"]), r["recorded_at"], r["accuracy_m"]) for r in rows]
        for key, rows in found.items()
    }
