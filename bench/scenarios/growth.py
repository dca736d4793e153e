"""Memory over many events: 500 orders with one viewer each, so that each event is executed and delivered once."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Final

from bench.streams import Sockets, Stage
from bench.support import number

FEEDS: Final = 500
BATCH: Final = 500
SAMPLES: Final = 40
SETTLED: Final = 0.25
"""Share of the events after which memory must not grow any more."""


async def run(stage: Stage) -> None:
    events = stage.events
    feeds = min(FEEDS, len(stage.city.orders))
    target = stage.product()
    samples: list[tuple[int, int]] = []
    with Sockets(stage.folder) as sockets:
        await sockets.open(target, feeds, feeds)
        expected = first = sockets.counts.nexts
        turn = itertools.cycle(range(feeds))
        began = time.perf_counter()
        for step in range(events // BATCH):
            room = expected - 2 * BATCH
            await sockets.until(lambda c, room=room: c.nexts >= room)
            await target.publish(list(itertools.islice(turn, BATCH)))
            expected += BATCH
            if step % max(1, events // BATCH // SAMPLES) == 0:
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
    settled = [sample for sample in samples if sample[0] >= events * SETTLED]
    slope = statistics.linear_regression(*zip(*settled, strict=True)).slope
    stage.report.heading(f"Memory over {events:,} events to {feeds} viewers, {events / took:,.0f} events/s")
    shown = samples[:: max(1, len(samples) // 10)]
    stage.report.table(["events", "MB"], [[f"{count:,}", number(size / 1e6)] for count, size in [*shown, samples[-1]]])
    # A byte per event is a megabyte over the whole run, the grain of the allocator.
    stage.report.target(f"memory over {events:,} events", "0 bytes per event", f"{slope:.2f}", slope < 2)
