"""A reconnect storm: what handshake, init, subscribe and snapshot cost the server when all clients come at once."""

from __future__ import annotations

import statistics
from typing import Final

from bench.streams import Sockets, Stage, idle
from bench.support import number

CONNECTIONS: Final = 1000
AT_ONCE: Final = 100


async def run(stage: Stage) -> None:
    feeds = min(500, len(stage.city.orders))
    targets = stage.targets()
    found: dict[str, list[float]] = {target.name: [] for target in targets}
    for turn in range(stage.rounds + 1):
        for target in targets:
            with Sockets(stage.folder) as sockets:
                before = target.cpu()
                await sockets.open(target, CONNECTIONS, feeds, at_once=AT_ONCE, once=True)
                await idle(target)
                if turn:  # the first round warms caches
                    found[target.name].append((target.cpu() - before) / CONNECTIONS * 1000)
    stage.report.heading(
        f"{CONNECTIONS:,} reconnects, {AT_ONCE} at a time: ms of the server's CPU for each, and closing"
    )
    costs = {name: statistics.median(values) for name, values in found.items()}
    stage.report.table(["server", "CPU ms"], [[name, number(cost)] for name, cost in costs.items()])
    ours = costs[targets[0].name]
    stage.report.target("a reconnect", "≤ 1 ms of CPU", f"{number(ours)} ms", ours <= 1)
