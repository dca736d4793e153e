"""Riders who report where they are, in batches of ten fixes over HTTP, each watched by one consumer over WebSocket."""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import orjson

from auth.principals import Held, Principal, PrincipalKind, View
from bench.city import LIFE
from bench.load import load, post
from bench.streams import Sockets, Stage, greeting
from bench.support import number
from core.ids import decode
from models.identity import GrantRole
from services import identity
from services.unit import transaction

RIDERS: Final = 1000
FIXES: Final = 10
CONNECTIONS: Final = 32
REPORT: Final = """mutation Report($fixes: [LocationFixInput!]!) { reportLocation(fixes: $fixes) {
  ... on LocationReport { accepted ignored } ... on UserError { code message } } }"""
WATCH: Final = """subscription Watch($order: ID!) { riderLocation(order: $order) {
  at riderLocation { location { latitude longitude crs } recordedAt heading speed } eta } }"""


async def hire(stage: Stage, riders: int) -> list[str]:
    """Access tokens of riders who are each on the way with one of the orders."""
    runtime, city_id = stage.runtime, decode("City", stage.city.city)
    assert city_id is not None
    admin = Principal(PrincipalKind.ADMIN, View.ADMIN, UUID(int=1), grants=(Held(GrantRole.CITY_ADMIN, None, city_id),))
    tokens: list[str] = []
    for n, order in enumerate(stage.city.orders[:riders]):
        rider = await identity.register_rider(runtime, admin, city_id, f"+861370{n:07d}", f"Rider {n}")
        async with transaction(runtime) as unit:
            person = await unit.sql.fetchval("SELECT person_id FROM rider WHERE id = $1", rider.id)
            delivery = await unit.sql.fetchval(
                """INSERT INTO delivery (id, order_id, city_id, store_id, state, rider_id, declined_by, pickup_latitude,
                       pickup_longitude, dropoff_latitude, dropoff_longitude, distance_m, currency, fee, created_at)
                   SELECT $1, o.id, o.city_id, o.store_id, 'PICKED_UP', $2, '[]', s.latitude, s.longitude,
                       o.latitude, o.longitude, 900, o.currency, o.delivery_fee, now() - interval '1 hour'
                   FROM "order" o JOIN store s ON s.id = o.store_id WHERE o.id = $3
                   ON CONFLICT (order_id) DO UPDATE SET state = excluded.state, rider_id = excluded.rider_id
                   RETURNING id""",
                runtime.new_id(),
                rider.id,
                order,
            )
            await unit.sql.execute(
                """UPDATE rider SET online = true, active_delivery_id = $2, latitude = 39.911, longitude = 116.413,
                       located_at = now() - interval '1 minute' WHERE id = $1""",
                rider.id,
                delivery,
            )
            tokens.append((await identity.open_session(unit, person, View.RIDER, LIFE)).access_token)
    return tokens


def reports(tokens: list[str]) -> Callable[[], bytes]:
    """Gives the next request: the riders take turns, and all ride north."""
    turn = itertools.cycle(tokens)

    def next_request() -> bytes:
        now = datetime.now(UTC)
        fixes = [
            {
                "latitude": 39.911 + (now.timestamp() % 100) / 1e5 + n / 1e6,
                "longitude": 116.413,
                "recordedAt": now - timedelta(milliseconds=20 * (FIXES - n)),
                "accuracyMetres": 8,
                "heading": 0,
                "speed": 5.5,
            }
            for n in range(FIXES)
        ]
        return post("/graphql", {"query": REPORT, "variables": {"fixes": fixes}}, next(turn))

    return next_request


async def run(stage: Stage) -> None:
    riders = min(RIDERS, len(stage.city.orders))
    tokens = await hire(stage, riders)
    target = stage.product()
    target.greeting = lambda n: greeting(stage.city.tokens["consumer"], WATCH, {"order": stage.city.order_id(n)})
    port = target.server.port
    costs: list[float] = []
    seen: list[float] = []
    delivered: list[float] = []
    with Sockets(stage.folder) as sockets:
        await sockets.open(target, riders, riders)
        following = reports(tokens)
        first = await load(port, following, CONNECTIONS, 2.0)  # every rider's duty is read once
        answer = orjson.loads(first.body)["data"]["reportLocation"]
        if answer.get("accepted") != FIXES:
            raise SystemExit(f"a report was not taken: {answer}")
        for _ in range(stage.rounds):
            cpu, before = target.cpu(), sockets.counts.nexts
            took = await load(port, following, CONNECTIONS, stage.seconds)
            costs.append((target.cpu() - cpu) / took.responses / FIXES * 1e6)
            seen.append(took.responses * FIXES / took.seconds)
            delivered.append((sockets.counts.nexts - before) / took.seconds)
            await asyncio.sleep(0)
        last = sockets.counts
        if last.lost:
            raise SystemExit(f"{last.lost} consumers' sockets ended")
    cost, rate = statistics.median(costs), 1e6 / statistics.median(costs)
    stage.report.heading(f"{riders:,} riders, each watched by one consumer; batches of {FIXES} fixes over HTTP")
    stage.report.table(
        ["", "figure"],
        [
            ["CPU µs per fix", number(cost)],
            ["fixes per core and second", number(rate)],
            ["fixes seen per second", number(statistics.median(seen))],
            ["positions to consumers per second", number(statistics.median(delivered))],
        ],
    )
    stage.report.target("location ingest", "≥ 10,000 fixes/s per core", f"{rate:,.0f}", rate >= 10_000)
