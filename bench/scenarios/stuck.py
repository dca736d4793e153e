"""A subscriber that reads nothing any more: how soon the server lets go of it, and whether the others notice."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import psutil

from bench.scenarios.latency import WARM_UP, deliveries, percentile
from bench.streams import Sockets, Stage, Target
from bench.support import number

SUBSCRIBERS: Final = 100
PER_SECOND: Final = 50
WATCHED: Final = 40.0
"""Seconds for which the stuck peer is watched: its buffers fill in a few, then its deadline runs."""
WITHIN: Final = 30.0


def holds(target: Target, port: int) -> bool:
    """Whether the server still has the connection whose other end is at ``port``."""
    return any(
        connection.raddr and connection.raddr.port == port
        for connection in psutil.Process(target.server.pid).net_connections("tcp")
    )


async def until_gone(target: Target, port: int) -> float:
    """Seconds until the server has let go of it."""
    began = time.monotonic()
    while holds(target, port):
        await asyncio.sleep(0.25)
        if time.monotonic() - began > WATCHED + 60:
            return float("inf")
    return time.monotonic() - began


async def run(stage: Stage) -> None:
    target = stage.product()
    events = round(WATCHED * PER_SECOND) - WARM_UP
    with Sockets(stage.folder) as sockets:
        await sockets.open(target, SUBSCRIBERS, 1)
        without = await deliveries(target, sockets, SUBSCRIBERS, events // 2, PER_SECOND)
        await sockets.open(target, 1, 1, receive_buffer=4096)
        port = sockets.tell("stuck")["port"]
        assert holds(target, port)
        watching = asyncio.create_task(until_gone(target, port))
        beside = await deliveries(target, sockets, SUBSCRIBERS, events, PER_SECOND)
        gone = await watching
        without += await deliveries(target, sockets, SUBSCRIBERS, events // 2, PER_SECOND)
        lost = sockets.counts.lost
    alone, with_it = (percentile(took, 0.99) * 1000 for took in (without, beside))
    stage.report.heading(f"A stuck peer among {SUBSCRIBERS} subscribers, {PER_SECOND} events/s")
    stage.report.table(
        ["", "figure"],
        [
            ["seconds until it is gone", number(gone)],
            ["p99 of the others before and after, ms", number(alone)],
            ["p99 of the others beside it, ms", number(with_it)],
            ["others that were lost", str(lost)],
        ],
    )
    stage.report.target(
        "a stuck peer is gone", f"within {WITHIN:g} s of its last read", f"{gone:.1f} s", gone <= WITHIN
    )
    moved = with_it / alone
    stage.report.target("p99 of the others beside it", "does not move", f"{moved:.2f}×", moved <= 1.25 and not lost)
