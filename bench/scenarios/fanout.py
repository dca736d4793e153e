"""What a delivery costs: one feed with many viewers, and many feeds with one viewer each.

Once with events that are written to the event log, in a transaction, and come with a signal through Redis; and where
there are peers to compare with also with events from memory, as theirs are.
"""

from __future__ import annotations

from contextlib import ExitStack

from bench.streams import BARE, IN_MEMORY, NODE, OURS, PEERS, STRAWBERRY, Flow, Sockets, Stage, Target, saturate
from bench.support import number

WIDE = (500, 2000)
NARROW = (500,)
WIDE_FLAT = (100, 500, 2000, 5000)
NARROW_FLAT = (1, 500, 2000)
BATCH = 250
"""Deliveries, at least, that one transaction of the publisher causes."""


def batch_of(viewers: int) -> int:
    return max(1, BATCH // viewers)


class Shape:
    """So many feeds, so many viewers of each."""

    def __init__(self, feeds: int, viewers: int) -> None:
        self.feeds, self.viewers = feeds, viewers

    @property
    def name(self) -> str:
        many = f"{self.viewers:,} viewers of one order"
        return many if self.feeds == 1 and self.viewers > 1 else f"{self.feeds:,} orders, one viewer each"


async def measure(stage: Stage, targets: list[Target], shape: Shape) -> dict[str, Flow]:
    """The median round of each target."""
    found: dict[str, list[Flow]] = {target.name: [] for target in targets}
    with ExitStack() as stack:
        open_sockets: dict[str, Sockets] = {}
        for target in targets:
            sockets = open_sockets[target.name] = stack.enter_context(Sockets(stage.folder))
            await sockets.open(target, shape.feeds * shape.viewers, shape.feeds)
        batch = batch_of(shape.viewers)
        for target in targets:
            await saturate(target, open_sockets[target.name], shape.viewers, shape.feeds, batch, 0.5)
        for _ in range(stage.rounds):
            for target in targets:
                sockets = open_sockets[target.name]
                flow = await saturate(target, sockets, shape.viewers, shape.feeds, batch, stage.seconds)
                found[target.name].append(flow)
    return {name: sorted(flows, key=lambda flow: flow.micros)[len(flows) // 2] for name, flows in found.items()}


async def run(stage: Stage) -> None:
    results: dict[tuple[str, str], Flow] = {}
    compared = {(1, n) for n in WIDE} | {(n, 1) for n in NARROW}
    most = len(stage.city.orders)
    shapes = [Shape(1, n) for n in WIDE_FLAT] + [Shape(n, 1) for n in NARROW_FLAT if n <= most]
    for shape in shapes:
        beside = (shape.feeds, shape.viewers) in compared
        targets = [stage.product()]
        if beside:
            targets.append(stage.product_in_memory())
        if not stage.alone:
            targets += [stage.peer(name) for name in (PEERS if beside else (BARE,))]
        for name, flow in (await measure(stage, targets, shape)).items():
            results[shape.name, name] = flow
        stage.stop()
    stage.report.heading("Deliveries: µs of the server's CPU for each, and what that makes per core and second")
    rows: list[list[str]] = []
    for shape in shapes:
        base = results[shape.name, OURS].micros
        for name in (OURS, IN_MEMORY, *PEERS):
            flow = results.get((shape.name, name))
            if flow is not None:
                seen = flow.deliveries / flow.seconds
                rows.append(
                    [shape.name, name, number(flow.micros), number(1e6 / flow.micros),
                     f"{flow.micros / base:.1f}×", number(seen)]
                )  # fmt: skip
    stage.report.table(["", "server", "CPU µs", "per core and second", f"cost to {OURS}", "seen per second"], rows)
    _judge(stage, results, shapes)


def _judge(stage: Stage, results: dict[tuple[str, str], Flow], shapes: list[Shape]) -> None:
    report = stage.report
    for shape, wanted in ((Shape(1, 500), 80_000), (Shape(500, 1), 30_000)):
        for name, how in ((IN_MEMORY, "from memory"), (OURS, "through the log")):
            rate = 1e6 / results[shape.name, name].micros
            what = f"{shape.name}, {how}"
            report.target(what, f"≥ {wanted:,} deliveries/s per core", f"{rate:,.0f}", rate >= wanted)
        for peer in (STRAWBERRY, NODE):
            if (shape.name, peer) in results:
                # The peers' events come from memory too.
                ratio = results[shape.name, peer].micros / results[shape.name, IN_MEMORY].micros
                report.target(f"{shape.name}, against {peer}", "ahead", f"{ratio:.1f}×", ratio > 1)
    for what, some in (("viewers", shapes[: len(WIDE_FLAT)]), ("orders", shapes[len(WIDE_FLAT) :])):
        found = _spread(results, OURS, some)
        told = f"±{found:.0%}" if stage.alone else f"±{found:.0%} ({BARE} ±{_spread(results, BARE, some):.0%})"
        report.target(f"cost flat over {what}", "±25 %", told, found <= 0.25)


def _spread(results: dict[tuple[str, str], Flow], name: str, shapes: list[Shape]) -> float:
    """How far a server's costs are from their middle, as a share of it."""
    costs = [results[shape.name, name].micros for shape in shapes]
    return (max(costs) - min(costs)) / (max(costs) + min(costs))
