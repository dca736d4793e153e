"""Shows how the day goes on while it is played."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from replay.world import World

TERMINAL_EVERY: Final = 0.25
PLAIN_EVERY: Final = 5.0
STATES: Final = (
    "PLANNED", "PLACED", "PAID", "ACCEPTED", "PREPARING", "READY", "PICKED_UP", "DELIVERED", "COMPLETED", "CANCELLED",
)  # fmt: skip


def clock(minute: float) -> str:
    """``HH:MM`` of a minute of the day."""
    return f"{int(minute // 60):02d}:{int(minute % 60):02d}"


class Progress:
    """The state of a world as a table or as lines, with rates since the last look."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._last = (time.monotonic(), 0, 0)
        self._rates = (0.0, 0.0)

    def _look(self) -> None:
        stage = self._world.stage
        then, messages, calls = self._last
        now = (time.monotonic(), stage.traffic.messages, stage.api.calls)
        elapsed = max(now[0] - then, 1e-9)
        self._rates = ((now[1] - messages) / elapsed, (now[2] - calls) / elapsed)
        self._last = now

    def table(self) -> Table:
        self._look()
        stage, timeline = self._world.stage, self._world.timeline
        by_state = stage.tally.by_state()
        table = Table.grid(padding=(0, 2))
        table.add_row("clock", f"[bold]{clock(timeline.now)}[/]")
        table.add_row("orders", "  ".join(f"{s.lower()} {by_state[s]}" for s in STATES if by_state[s]))
        online, busy = self._riders()
        table.add_row("riders", f"{busy} busy of {online} online")
        table.add_row("events", f"{self._rates[0]:.0f}/s on {stage.traffic.live} sockets")
        table.add_row("API", f"{self._rates[1]:.0f} calls/s")
        if timeline.pace is not None:
            table.add_row("lag", f"{timeline.lag.last:.2f} s, worst {timeline.lag.worst:.2f} s")
        if troubles := self._troubles():
            table.add_row("[red]trouble[/]", troubles)
        return table

    def line(self) -> str:
        self._look()
        stage, tally = self._world.stage, self._world.stage.tally
        online, busy = self._riders()
        return (
            f"{clock(self._world.timeline.now)}  {tally.finished}/{len(tally.orders)} orders done, {busy}/{online} "
            f"riders busy, {self._rates[0]:.0f} events/s, {self._rates[1]:.0f} calls/s, {stage.traffic.live} sockets"
            + (f"; {troubles}" if (troubles := self._troubles()) else "")
        )

    def _troubles(self) -> str:
        tally = self._world.stage.tally
        found = [f"{n} × {reason}" for reason, n in tally.failures.items()]
        found += [f"{n} × not seen: {what}" for what, n in tally.not_seen.items()]
        return "; ".join(found[:3])

    def _riders(self) -> tuple[int, int]:
        riders = self._world.riders
        return sum(r.online for r in riders), sum(r.busy for r in riders)


async def show_while(world: World, console: Console, playing: asyncio.Task[None]) -> None:
    """Keep showing until ``playing`` is over."""
    progress = Progress(world)
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while not playing.done():
                live.update(progress.table(), refresh=True)
                await asyncio.wait([playing], timeout=TERMINAL_EVERY)
        return
    while not playing.done():
        await asyncio.wait([playing], timeout=PLAIN_EVERY)
        console.print(progress.line(), highlight=False)
