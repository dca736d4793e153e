"""The product as ``cli serve`` runs it, but with the events of some orders in memory, as the peers have theirs.

Shows what a delivery costs without the event log: no statement to write it and no signal through Redis.
``POST /publish`` with a list of numbers makes the next event of each order. Argument: a file with the orders' keys.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

import app
import cli
from core.clock import wall_now
from models.database import Database
from services.ordering import reading
from services.ordering.records import order_to_json
from services.runtime import Runtime
from subscriptions import feeds
from subscriptions.feeds import ORDER, Carried, Event, Page, Signal

ORDERS: Final = [UUID(key) for key in json.loads(Path(sys.argv[1]).read_text())]
KEPT: Final = 2000
"""Events of one order that a follower may be behind."""

_read_pages, _tops, _routes = feeds.read_pages, feeds.tops, app.Program.routes


class Log:
    """The events of one order. They start at the version that the order has in the database, which stays."""

    def __init__(self, feed: str, payload: dict[str, Any]) -> None:
        self._feed = feed
        self._order: dict[str, Any] = payload
        self.top: int = payload["version"]
        self.events: deque[Event] = deque(maxlen=KEPT)

    def append(self) -> Signal:
        self.top += 1
        payload = orjson.dumps({"order": self._order | {"version": self.top}, "actor": "MERCHANT"}).decode()
        carried = Carried(LOG[0], "order.accepted", wall_now(), payload)
        self.events.append(carried.of(self._feed, self.top))
        return Signal(self._feed, self.top, None, carried)

    def after(self, offset: int, limit: int) -> list[Event]:
        missing = self.top - offset
        first = max(0, len(self.events) - missing)
        return [self.events[n] for n in range(first, min(first + limit, len(self.events)))] if missing > 0 else []


LOGS: Final[dict[str, Log]] = {}


async def read_pages(
    database: Database, positions: Sequence[tuple[str, int]], limit: int = 200
) -> dict[tuple[str, int], Page]:
    others = [position for position in positions if position[0] not in LOGS]
    pages = await _read_pages(database, others, limit) if others else {}
    for feed, after in positions:
        log = LOGS.get(feed)
        if log is not None:
            pages[feed, after] = Page(LOG[0], log.top, log.after(after, limit))
    return pages


async def tops(database: Database, names: Sequence[str]) -> tuple[str, dict[str, int]]:
    log, found = await _tops(database, names)
    return log, found | {feed: LOGS[feed].top for feed in names if feed in LOGS}


LOG: Final[list[str]] = []


async def log_of(runtime: Runtime, number: int) -> Log:
    feed = ORDER.of(ORDERS[number])
    log = LOGS.get(feed)
    if log is None:
        if not LOG:
            LOG.append((await _tops(runtime.database, []))[0])
        _, order = await reading.snapshot(runtime, ORDERS[number])
        # As it would come from the log: through JSON.
        log = LOGS[feed] = Log(feed, orjson.loads(orjson.dumps(order_to_json(order), default=str)))
    return log


def routes(self: app.Program) -> list[BaseRoute]:
    async def publish(request: Request) -> Response:
        signals: list[Signal] = []
        for number in orjson.loads(await request.body()):
            log = await log_of(self.runtime, number)
            signals.append(log.append())
        self.tails.deliver(signals)
        return Response(b"{}", media_type="application/json")

    return [Route("/publish", publish, methods=["POST"]), *_routes(self)]


if __name__ == "__main__":
    feeds.read_pages, feeds.tops, app.Program.routes = read_pages, tops, routes
    cli.cli(["serve"])
