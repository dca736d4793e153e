"""Stores near a point, nearest first.

Nearness comes from the GiST index on the stores' places on a sphere: a box around the circle bounds the search and
the index hands the rows out by straight-line distance through the Earth, which orders like the way along its
surface. Pages are keyset pages on (that distance, id).
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from core.geo import EARTH_RADIUS_M, Point, is_on_earth, to_gcj02
from core.textsearch import query as search_query
from models.merchants import StoreStatus
from services.columns import ALL, Columns
from services.errors import InvalidInput
from services.merchants.hours import open_now_sql
from services.merchants.records import STORES, StoreRecord
from services.runtime import Runtime

MAX_RADIUS_M: Final = 50_000
MAX_SEARCH: Final = 80
"""Characters."""
RARE: Final = 500
"""Stores that may match for a search to count as rare."""

_EXTENSION_RADIUS_M: Final = 6_378_168.0
"""Radius of the sphere that PostgreSQL's earthdistance puts places on (its function earth())."""


@dataclass(frozen=True, slots=True)
class Nearby:
    """One store of a page with its place in the order."""

    store: StoreRecord
    chord: float

    @property
    def cursor(self) -> str:
        """Opaque: what comes after this store."""
        raw = f"{self.chord.hex()}|{self.store.id.hex}".encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a consumer looks for. ``search``: words in the names of the store, its tags and its items."""

    near: Point
    radius_m: int
    open_now: bool = False
    tag_id: UUID | None = None
    search: str | None = None


def _position(cursor: str) -> tuple[float, UUID]:
    try:
        chord, _, key = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition("|")
        position = float.fromhex(chord), UUID(key)
    except (ValueError, binascii.Error, OverflowError) as error:
        raise InvalidInput(field="after", reason="is not a cursor of this list") from error
    if not math.isfinite(position[0]):
        raise InvalidInput(field="after", reason="is not a cursor of this list")
    return position


def _chord(distance: float) -> float:
    """Straight line on the extension's sphere for ``distance`` metres along our Earth's surface."""
    return 2 * _EXTENSION_RADIUS_M * math.sin(distance / (2 * EARTH_RADIUS_M))


def _distance(chord: float) -> float:
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, chord / (2 * _EXTENSION_RADIUS_M)))


def statement(
    wanted: Discovery, at: object, limit: int, after: tuple[float, UUID] | None, shown: str = STORES.choose().sql
) -> tuple[str, list[object]]:
    """The SQL of one page and its arguments; a row is what is ``shown`` of a store and its distance."""
    here = to_gcj02(wanted.near)
    # The box is a little larger than the circle, because the extension's Earth is larger than ours.
    args: list[object] = [here.latitude, here.longitude, wanted.radius_m * 1.002, _chord(wanted.radius_m), limit]
    place, origin = "ll_to_earth(s.latitude, s.longitude)", "ll_to_earth($1, $2)"
    chord = f"({place} <-> {origin})"
    box = f"earth_box({origin}, $3) @> {place}"
    conditions = [f"{chord} <= $4"]

    def arg(value: object) -> str:
        args.append(value)
        return f"${len(args)}"

    def page(*more: str) -> str:
        return f"""SELECT {shown}, {chord} AS chord FROM store s
            WHERE {" AND ".join([*more, *conditions])} ORDER BY chord, s.id LIMIT $5"""

    if after is not None:
        conditions.append(f"({chord}, s.id) > ({arg(after[0])}::float8, {arg(after[1])}::uuid)")
    if wanted.tag_id is not None:
        conditions.append(f"s.tag_ids ? {arg(str(wanted.tag_id))}")
    if wanted.open_now:
        conditions.append(f"s.status = {arg(StoreStatus.OPEN.value)}")
        conditions.append(open_now_sql("s", f"{arg(at)}::timestamptz"))
    if wanted.search is None or not wanted.search.strip():
        return page(box), args
    words = search_query(wanted.search)
    # Terms hold letters and digits only: nothing in them is special to LIKE.
    found = (
        "false"
        if not words.terms
        else (
            f"s.search_grams @> {arg(words.grams)}::text[]"
            f" AND s.search_text LIKE ALL ({arg([f'%{term}%' for term in words.terms])}::text[])"
        )
    )
    # Few stores have a rare word: take them all from the search index and sort. Many have a common one: walking
    # outwards by the place index soon meets enough. Only one of the two halves runs.
    sql = f"""WITH
        hits AS MATERIALIZED (SELECT s.id FROM store s WHERE {found} LIMIT {RARE + 1}),
        word AS MATERIALIZED (SELECT count(*) <= {RARE} AS rare FROM hits)
        SELECT * FROM (
            ({page("(SELECT rare FROM word)", "s.id IN (SELECT id FROM hits)")})
            UNION ALL
            ({page("NOT (SELECT rare FROM word)", box, found)})
        ) AS s ORDER BY chord, id LIMIT $5"""
    return sql, args


async def stores_near(
    runtime: Runtime, wanted: Discovery, limit: int, after: str | None = None, columns: Columns = ALL
) -> list[Nearby]:
    """Up to ``limit`` stores within the radius, nearest first, after the cursor ``after``.

    Raises InvalidInput for a place off the Earth, a radius outside 1–50,000 m, an overlong search, a bad cursor.
    """
    if not is_on_earth(wanted.near.latitude, wanted.near.longitude):
        raise InvalidInput(field="near", reason="latitude must be within ±90 and longitude within ±180 degrees")
    if not 1 <= wanted.radius_m <= MAX_RADIUS_M:
        raise InvalidInput(field="radiusMetres", reason=f"must be 1 to {MAX_RADIUS_M}")
    if wanted.search is not None and len(wanted.search) > MAX_SEARCH:
        raise InvalidInput(field="search", reason=f"must be at most {MAX_SEARCH} characters")
    position = _position(after) if after is not None else None
    chosen = STORES.choose(columns.of(StoreRecord))
    sql, args = statement(wanted, runtime.clock.now(), limit, position, chosen.sql)
    rows = await runtime.database.fetch(sql, *args)
    found: list[Nearby] = []
    for row in rows:
        store, chord = chosen.record(row[:-1]), row[-1]
        store.distance_m = _distance(chord)
        found.append(Nearby(store, chord))
    return found
