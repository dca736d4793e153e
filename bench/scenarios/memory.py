"""What an idle subscriber costs in memory, and 10,000 of them on one process."""

from __future__ import annotations

from typing import Final

from bench.streams import OURS, Sockets, Stage, Target, idle
from bench.support import number

SOME: Final = 2000
MANY: Final = 10_000


async def _per_subscriber(stage: Stage, target: Target, count: int, feeds: int) -> float:
    """Bytes of the server for each of ``count`` more subscribers of ``feeds`` orders; all of them get an event then."""
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
    report, most = stage.report, len(stage.city.orders)
    rows: list[list[str]] = []
    for what, feeds in (("of one order", 1), ("of an order each", min(SOME, most))):
        for target in stage.targets():
            each = await _per_subscriber(stage, target, SOME, feeds)
            rows.append([target.name, f"{SOME:,} {what}", number(each / 1000)])
            if target.name == OURS:
                report.target(f"idle subscriber, {what}", "≤ 30 kB", f"{number(each / 1000)} kB", each <= 30_000)
        stage.stop()
    each = await _per_subscriber(stage, stage.product(), MANY, min(MANY, most))
    rows.append([OURS, f"{MANY:,} of {min(MANY, most):,} orders", number(each / 1000)])
    report.target(f"{MANY:,} idle subscribers on one process", "all get an event", "all did", True)
    report.heading("kB of the server for each idle subscriber; every one gets an event afterwards")
    report.table(["server", "subscribers", "kB each"], rows)
