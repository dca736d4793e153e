"""What an idle subscriber costs in memory, and 10,000 of them on one process."""

from __future__ import annotations

from typing import Final

from bench.streams import Sockets, Stage, Target, idle
from bench.support import number

SOME: Final = 2000
MANY: Final = 10_000


async def _per_subscriber(stage: Stage, target: Target, count: int) -> float:
    """Bytes of the server for each of ``count`` more subscribers, one order each; all of them get an event then."""
    feeds = min(count, len(stage.city.orders))
    with Sockets(stage.folder) as warm, Sockets(stage.folder) as sockets:
        await warm.open(target, 50, feeds)  # what the first subscribers allocate once and for all
        await idle(target)
        before = target.memory()
        await sockets.open(target, count, feeds)
        await idle(target)
        each = (target.memory() - before) / count
        seen = sockets.counts
        await target.publish(range(feeds))
        await sockets.until(lambda c: c.nexts >= seen.nexts + count)
        if sockets.counts.lost:
            raise SystemExit(f"{target.name}: {sockets.counts.lost} of {count} sockets ended")
    return each


async def run(stage: Stage) -> None:
    rows: list[list[str]] = []
    for target in stage.targets():
        each = await _per_subscriber(stage, target, SOME)
        rows.append([target.name, f"{SOME:,}", number(each / 1000)])
        if len(rows) == 1:
            stage.report.target("memory of an idle subscriber", "≤ 30 kB", f"{number(each / 1000)} kB", each <= 30_000)
    stage.stop()
    ours = stage.product()
    each = await _per_subscriber(stage, ours, MANY)
    rows.append([ours.name, f"{MANY:,}", number(each / 1000)])
    stage.report.target(f"{MANY:,} idle subscribers on one process", "all get an event", "all did", True)
    stage.report.heading("kB of the server for each idle subscriber; every one gets an event afterwards")
    stage.report.table(["server", "subscribers", "kB each"], rows)
