"""How long an event takes to its viewers: 20 events a second to 2,000 subscribers of one order."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from bench.streams import OURS, Sockets, Stage, Target, TooSlow
from bench.support import number

SUBSCRIBERS: Final = 2000
PER_SECOND: Final = 20
WARM_UP: Final = 20
"""Events that are not counted."""


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def deliveries(target: Target, sockets: Sockets, subscribers: int, events: int, per_second: float) -> list[float]:
    """Seconds that each delivery took from its event's commit, without the first ``WARM_UP`` events."""
    total = events + WARM_UP
    sockets.tell("record", events=total)
    before = sockets.counts.nexts
    published: list[float] = []
    began = time.monotonic()
    for n in range(total):
        await asyncio.sleep(max(0.0, began + n / per_second - time.monotonic()))
        await target.publish([0])
        published.append(time.monotonic())
    await sockets.until(lambda c: c.nexts >= before + total * subscribers)
    arrivals: list[list[float]] = sockets.tell("arrivals")["arrivals"]
    return [
        arrived - at
        for at, times in list(zip(published, arrivals, strict=True))[WARM_UP:]
        for arrived in times[:subscribers]
    ]


async def run(stage: Stage) -> None:
    rows: list[list[str]] = []
    ours = float("inf")
    for target in stage.targets():
        with Sockets(stage.folder) as sockets:
            await sockets.open(target, SUBSCRIBERS, 1)
            events = max(20, round(stage.seconds * stage.rounds * PER_SECOND))
            try:
                took = await deliveries(target, sockets, SUBSCRIBERS, events, PER_SECOND)
            except TooSlow:
                rows.append([target.name, "does not keep up", "–", "–"])
                continue
        p50, p99, worst = (percentile(took, share) * 1000 for share in (0.5, 0.99, 1.0))
        rows.append([target.name, number(p50), number(p99), number(worst)])
        if target.name == OURS:
            ours = p99
    stage.report.heading(f"Milliseconds from commit to client, {PER_SECOND} events/s to {SUBSCRIBERS:,} subscribers")
    stage.report.table(["server", "p50", "p99", "longest"], rows)
    what = f"p99 at {PER_SECOND} events/s × {SUBSCRIBERS:,}"
    stage.report.target(what, "≤ 15 ms", f"{number(ours)} ms", ours <= 15)
