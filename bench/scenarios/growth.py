"""Memory over many events: 500 orders with one viewer each, so that each event is executed and delivered once."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Final

from bench.streams import Sockets, Stage
from bench.support import number

EVENTS: Final = 1_000_000
FEEDS: Final = 500
BATCH: Final = 500
SAMPLES: Final = 40
SETTLED: Final = 0.25
"""Share of the events after which memory must not grow any more."""


async def run(stage: Stage) -> None:
    feeds = min(FEEDS, len(stage.city.orders))
    target = stage.product()
    samples: list[tuple[int, int]] = []
    with Sockets(stage.folder) as sockets:
        await sockets.open(target, feeds, feeds)
        expected = first = sockets.counts.nexts
        turn = itertools.cycle(range(feeds))
        began = time.perf_counter()
        for step in range(EVENTS // BATCH):
            room = expected - 2 * BATCH
            await sockets.until(lambda c, room=room: c.nexts >= room)
            await target.publish(list(itertools.islice(turn, BATCH)))
            expected += BATCH
            if step % (EVENTS // BATCH // SAMPLES) == 0:
                samples.append((expected - first, target.memory()))
                # What all viewers have had is not needed any more; a million of them would fill the disk.
                await stage.runtime.database.execute(
                    """DELETE FROM feed_event e USING feed_head h WHERE h.feed = e.feed AND e."offset" < h.top - 100"""
                )
        counts = await sockets.until(lambda c: c.nexts >= expected)
        samples.append((expected - first, target.memory()))
        took = time.perf_counter() - began
        if counts.lost or counts.wrong:
            raise SystemExit(f"{counts.lost} sockets ended, {counts.wrong} breaks of order")
    settled = [(events, bytes_) for events, bytes_ in samples if events >= EVENTS * SETTLED]
    slope = statistics.linear_regression(*zip(*settled, strict=True)).slope
    stage.report.heading(f"Memory over {EVENTS:,} events to {feeds} viewers, {EVENTS / took:,.0f} events/s")
    shown = samples[:: max(1, len(samples) // 10)]
    stage.report.table(
        ["events", "MB"], [[f"{events:,}", number(bytes_ / 1e6)] for events, bytes_ in [*shown, samples[-1]]]
    )
    # A byte per event is a megabyte over the whole run, the grain of the allocator.
    stage.report.target("memory over a million events", "0 bytes per event", f"{slope:.2f}", slope < 2)
