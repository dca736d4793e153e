"""``python -m cli replay PATH``: play a day through the public API and report on it.

:func:`replay` is the command; its parameters are Typer's annotations, so that ``typer_app.command()(replay)`` makes
it a command of any Typer program. ``app`` is a Typer program with it alone, to be run by itself or mounted.
Exit codes: 0 all good, 1 something was lost, failed or left open, 2 nothing could be played.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from replay import report as reporting
from replay.api import Api, CallFailed, Refused, Session, ready_session
from replay.day import Day
from replay.generator import generate
from replay.progress import show_while
from replay.reader import DayInvalid, read
from replay.report import Report
from replay.server import OwnServer, ServerFailed, Watch
from replay.town import Builder, new_run
from replay.world import Choices, World

GENERATED: Final = "generated:"
ADMIN_TOKEN: Final = "HUTONG_REPLAY_ADMIN_TOKEN"
ADMIN_PHONE: Final = "+8613800000001"
"""The admin of a sandbox city, who signs in by a one-time code like everybody."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to play and how. ``pace`` None: as fast as possible. ``url`` None: a server of our own."""

    day: Day
    pace: float | None = None
    url: str | None = None
    admin_token: str | None = None
    admin_phone: str = ADMIN_PHONE
    city: str | None = None
    seed: int = 1
    parallel: int = 12
    lookahead: float = 6.0
    window: float = 0.0
    drop_share: float = 0.002
    most_drops: int | None = 40
    environment: dict[str, str] = field(default_factory=dict[str, str])


def load(path: str) -> Day:
    """The day of ``path``: a folder, or ``generated:SEED[:ORDERS]``. Raises DayInvalid."""
    if not path.startswith(GENERATED):
        return read(Path(path))
    try:
        seed, _, orders = path.removeprefix(GENERATED).partition(":")
        return generate(int(seed), int(orders) if orders else 250)
    except ValueError as error:
        raise DayInvalid(path, None, f"is not generated:SEED[:ORDERS] ({error})") from None


async def play(options: Options, console: Console) -> Report:
    """Play the day of ``options``. Raises ServerFailed, CallFailed, Refused."""
    if options.url is not None:
        return await _play_at(options, options.url, None, console)
    console.print("Starting a server …", highlight=False)
    async with OwnServer(options.pace or 1.0, options.environment) as server:
        return await _play_at(options, server.url, server.pid, console)


async def _play_at(options: Options, url: str, pid: int | None, console: Console) -> Report:
    day = options.day
    async with Api(url, parallel=options.parallel) as api:
        admin = await _admin(api, options)
        _, clock_speed = await api.read_clock()
        if options.pace is not None and abs(clock_speed / options.pace - 1) > 0.01:
            console.print(f"[yellow]The server's clock runs at {clock_speed:g}, the day at {options.pace:g}.[/]")
        run = new_run()
        began = time.monotonic()
        builder = Builder(api, admin, day, run, city=options.city)
        town = await builder.build(_teller(console))
        choices = Choices(
            pace=options.pace,
            seed=options.seed,
            drop_share=options.drop_share,
            most_drops=options.most_drops,
            lookahead=options.lookahead,
            window=options.window,
        )
        world = World(api, day, town, f"replay-{run:05d}", choices)
        try:
            await world.open()
            world.stage.tally.setup_seconds = time.monotonic() - began
            console.print(
                f"{len(day.restaurants)} stores, {len(day.couriers)} riders, {len(day.orders)} consumers are there "
                f"after {world.stage.tally.setup_seconds:.1f} s.",
                highlight=False,
            )
            return await _watched(options, api, world, pid, url, console)
        finally:
            await world.close()


async def _watched(options: Options, api: Api, world: World, pid: int | None, url: str, console: Console) -> Report:
    """Play, check and summarise an opened world."""
    api.latencies.clear()
    calls, messages = api.calls, world.stage.traffic.messages
    watch = None if pid is None else Watch(pid)
    if watch is not None:
        watch.begin()
    playing = asyncio.create_task(world.play())
    try:
        await show_while(world, console, playing)
        await playing
    finally:
        playing.cancel()
    usage = None if watch is None else watch.end()
    calls, messages = api.calls - calls, world.stage.traffic.messages - messages
    latencies = {name: list(times) for name, times in api.latencies.items()}
    await world.check()
    lag = world.timeline.lag
    return reporting.summarise(
        options.day,
        world.stage.tally,
        world.verdicts,
        latencies,
        world.stage.traffic,
        calls=calls,
        pauses=api.pauses,
        messages=messages,
        speed="max" if options.pace is None else f"{options.pace:g}",
        seed=options.seed,
        url=url,
        lag=(lag.mean, lag.worst),
        usage=usage,
    )


async def _admin(api: Api, options: Options) -> Session:
    if options.admin_token is not None:
        return ready_session(options.admin_token)
    return await api.sign_in(options.admin_phone, "ADMIN")


def _teller(console: Console) -> Any:
    """Says now and then how far the setup is."""
    told: dict[str, float] = {}

    def tell(what: str, done: int, count: int) -> None:
        now = time.monotonic()
        if done == count or now - told.get(what, now - 2) > 2:
            told[what] = now
            console.print(f"{what}: {done}/{count}", highlight=False)

    return tell


def parse_speed(text: str) -> float | None:
    """Simulated seconds per real second, None for ``max``. Raises ValueError."""
    if text == "max":
        return None
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 100_000:
        raise ValueError(f"speed {text!r} is neither max nor a number above 0")
    return speed


def replay(
    path: Annotated[str, typer.Argument(help="Folder of a day, or generated:SEED[:ORDERS].")],
    speed: Annotated[str, typer.Option(help="Simulated seconds per second, or max.")] = "max",
    url: Annotated[str | None, typer.Option(help="Server to play against; without it one is started.")] = None,
    report: Annotated[Path | None, typer.Option(help="Folder for replay.json and replay.html.")] = None,
    seed: Annotated[int, typer.Option(help="Decides who loses the connection when.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    admin_token: Annotated[
        str | None, typer.Option(envvar=ADMIN_TOKEN, help="Admin's access token, for --url.")
    ] = None,
    admin_phone: Annotated[str, typer.Option(help="Without a token: the sandbox admin to sign in as.")] = ADMIN_PHONE,
    city: Annotated[str | None, typer.Option(help="Slug of the city to play in; by default the first one.")] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Most ordinary API calls under way at once.")] = 12,
    lookahead: Annotated[float, typer.Option(min=0, help="Minutes that loose events may run ahead at max.")] = 6.0,
    window: Annotated[float, typer.Option(min=0, help="Minutes that strict events may run ahead at max.")] = 0.0,
    drops: Annotated[float, typer.Option(min=0, max=1, help="Share of updates after which a line drops.")] = 0.002,
    most_drops: Annotated[int, typer.Option(min=0, help="Most lines to drop in a day.")] = 40,
) -> None:
    """Play a day of a city through the public API and report on it."""
    console = Console(stderr=json)
    try:
        day, pace = load(path), parse_speed(speed)
    except (DayInvalid, ValueError) as error:
        Console(stderr=True).print(f"[red]Cannot play:[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
    options = Options(
        day, pace, url, admin_token, admin_phone, city, seed, parallel, lookahead, window, drops, most_drops,
        {k: v for k, v in os.environ.items() if k == "HUTONG_DATABASE_URL"},
    )  # fmt: skip
    try:
        result = run_loop(play(options, console))
    except (ServerFailed, CallFailed, Refused) as error:
        Console(stderr=True).print(f"[red]Cannot play:[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        Console(stderr=True).print("Interrupted.")
        raise typer.Exit(130) from None
    if json:
        sys.stdout.write(result.json().decode() + "\n")
    else:
        reporting.show(result, console)
    if report is not None:
        for file in reporting.write(result, report):
            console.print(f"wrote {file}", highlight=False)
    if not result.good:
        raise typer.Exit(1)


def run_loop(main: Coroutine[Any, Any, Report]) -> Report:
    """Run on uvloop where there is one; SIGTERM ends it in good order, like Ctrl-C."""

    async def stoppable() -> Report:
        task = asyncio.current_task()
        assert task is not None
        if sys.platform != "win32":
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await main

    if sys.platform == "win32":
        return asyncio.run(stoppable())
    import uvloop

    return uvloop.run(stoppable())


app = typer.Typer(add_completion=False)
app.callback(invoke_without_command=True)(replay)

if __name__ == "__main__":
    typer.run(replay)
