"""Two processes on one port, joined by Redis, against one."""

from __future__ import annotations

from bench.scenarios.fanout import Shape, batch_of
from bench.streams import Flow, Sockets, Stage, saturate
from bench.support import number

SHAPES = (Shape(1, 1000), Shape(500, 1))


async def _flow(stage: Stage, workers: int, shape: Shape) -> Flow:
    """The median round."""
    target = stage.product(workers)
    try:
        with Sockets(stage.folder) as sockets:
            await sockets.open(target, shape.feeds * shape.viewers, shape.feeds)
            batch = batch_of(shape.viewers)
            await saturate(target, sockets, shape.viewers, shape.feeds, batch, 0.5)
            flows = [
                await saturate(target, sockets, shape.viewers, shape.feeds, batch, stage.seconds)
                for _ in range(stage.rounds)
            ]
    finally:
        stage.stop()
    return sorted(flows, key=lambda flow: flow.micros)[len(flows) // 2]


async def run(stage: Stage) -> None:
    rows: list[list[str]] = []
    ratios: list[float] = []
    for shape in SHAPES:
        one, two = [await _flow(stage, workers, shape) for workers in (1, 2)]
        # Where the client and the engines share the cores with the workers, what is seen does not say what two
        # workers could do. What they spend on a delivery does: two cores make twice what one makes at that cost.
        ratio = 2 * one.micros / two.micros
        ratios.append(ratio)
        rows += [
            [shape.name, str(workers), number(flow.micros), number(workers * 1e6 / flow.micros),
             number(flow.deliveries / flow.seconds)]
            for workers, flow in ((1, one), (2, two))
        ]  # fmt: skip
    stage.report.heading("Workers joined by Redis: deliveries, each worker on a core of its own")
    stage.report.table(["", "workers", "CPU µs", "per second of all cores", "seen per second"], rows)
    worst = min(ratios)
    stage.report.target("two workers against one, by CPU", "≥ 1.6×", f"{worst:.2f}×", worst >= 1.6)
