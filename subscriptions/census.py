"""Counting what is connected to this process, for :mod:`clients.presence` and for the metrics."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final

from prometheus_client import Gauge

from gateway import metrics
from services.presence import names_of
from subscriptions.sessions import Session

_AT_ONCE: Final = 500
"""Connections that are counted before others get a turn of the loop."""

CONNECTIONS: Final = Gauge(
    "hutong_connections", "Open WebSockets and event streams by view.", ["view"], registry=metrics.REGISTRY
)
SUBSCRIPTIONS: Final = Gauge(
    "hutong_subscriptions",
    "Running subscriptions by kind of feed and view.",
    ["feed", "view"],
    registry=metrics.REGISTRY,
)


async def census(sessions: Collection[Session]) -> Mapping[str, int]:
    """Open connections by the names that they count under."""
    names: Counter[str] = Counter()
    views: Counter[str] = Counter()
    subscriptions: Counter[tuple[str, str]] = Counter()
    for number, session in enumerate(list(sessions), start=1):
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
        view = session.principal.view.value
        views[view] += 1
        names.update(names_of(session.principal))
        for operation in session.operations.values():
            admission = operation.context.admission
            if admission is not None:
                subscriptions[admission.feed_name.partition(":")[0], view] += 1
    CONNECTIONS.clear()
    for view, count in views.items():
        CONNECTIONS.labels(view).set(count)
    SUBSCRIPTIONS.clear()
    for (feed, view), count in subscriptions.items():
        SUBSCRIPTIONS.labels(feed, view).set(count)
    return names
