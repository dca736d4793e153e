"""The operator's commands: ``python -m cli --help``."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import structlog
import typer
from rich.table import Table

import app as program
from auth.principals import View
from core import logs
from core.clock import wall_now
from core.settings import Settings
from gateway.contracts import SDL_FOLDER, build_contracts, sdl_drift, write_sdl
from gateway.manifests import BUNDLED, SOURCES
from models.database import migrate as migrate_database
from replay.command import replay
from schema.build import full_schema
from services import seed
from services.jobs import JobRunner
from serving import server
from serving.parent import RedisNeeded, reserve, supervise
from serving.server import on_end_signals, run_async
from serving.siblings import Siblings
from serving.workers import Line
from subscriptions import feeds
from tools import operations
from tools import schema_changes as changes_of_schema
from tools.access import admin_cli, partner_cli
from tools.console import complaints, console, load_settings
from tools.error_docs import error_docs
from tools.feed_docs import feed_docs
from tools.keys import keys_cli
from tools.webhooks import webhook_cli

CONFIGURATION: Final = Path("docs/configuration.md")
DEMO_TOKEN: Final = "HUTONG_DEMO_ADMIN_TOKEN"
DEMO_OWNER_TOKEN: Final = "HUTONG_DEMO_OWNER_TOKEN"
EXAMPLE_DEVICE: Final = Path(__file__).with_name("examples") / "device.py"
DEVICE_CLIENT: Final = "HUTONG_DEVICE_CLIENT_ID"
DEVICE_SECRET: Final = "HUTONG_DEVICE_CLIENT_SECRET"

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
operations_cli = typer.Typer(no_args_is_help=True, help="Persisted operations: all that a partner can call.")
cli.add_typer(operations_cli, name="operations")
cli.add_typer(keys_cli, name="keys")
cli.add_typer(admin_cli, name="admin")
cli.add_typer(partner_cli, name="partner")
cli.add_typer(webhook_cli, name="webhook")
cli.command()(replay)
cli.command()(error_docs)
cli.command()(feed_docs)

Check = Annotated[bool, typer.Option("--check", help="Write nothing; fail when the files are not up to date.")]


def development(**chosen: Any) -> Settings:
    """Settings with the conveniences of development, below the environment and below what was ``chosen``."""
    convenient: dict[str, Any] = {
        "sandbox": True,
        "introspection": True,
        "graphiql": True,
        "mask_errors": False,
        "log_json": False,
        "log_level": "warning",
        "drain_pause": timedelta(0),
        "drain_window": timedelta(seconds=2),
        "shutdown_grace": timedelta(seconds=3),
    }
    unset = {name: value for name, value in convenient.items() if f"HUTONG_{name.upper()}" not in os.environ}
    return load_settings(**unset | {name: value for name, value in chosen.items() if value is not None})


def deadlines_for_people(settings: Settings) -> dict[str, timedelta]:
    """Deadlines stretched by the speed of the clock: who clicks through the terminals does not live faster."""
    names = ("quote_ttl", "payment_ttl", "accept_ttl", "offer_ttl")
    stretch = max(settings.clock_speed, 1.0)
    return {name: getattr(settings, name) * stretch for name in names}


# serving


@cli.command()
def run(
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for the embedded database and keys.")] = None,
    speed: Annotated[float, typer.Option(min=0.01, help="Domain seconds per real second.")] = seed.DEMO_SPEED,
    demo: Annotated[bool, typer.Option(help="Let people order, cook and ride all day.")] = True,
) -> None:
    """Run everything on this machine, with a city to look at: nothing else needs to be installed or started."""
    settings = development(port=port, host=host, data_dir=data_dir)
    if settings.clock_origin is None and settings.clock_speed == 1:
        settings = settings.model_copy(update=continued_clock(settings.data_dir / "clock.json", speed))
    settings = settings.model_copy(update=deadlines_for_people(settings))
    logs.configure(settings.log_level, json=settings.log_json)

    beside: list[asyncio.subprocess.Process] = []
    tokens: dict[str, str] = {}
    secrets: list[str] = []

    async def prepare(running: program.Program) -> None:
        tokens.update(await seed.demo_tokens(running.runtime))
        secrets.append(seed.demo_secret(running.runtime, seed.PRINTER_CLIENT))

    async def started() -> None:
        show_welcome(settings.public_url or "", tokens, settings)
        if demo:
            here = server.base_url(settings.host, settings.port)
            beside.append(await start_demo(here, tokens["admin"], tokens["merchant"]))
            beside.append(await start_printer(here, secrets[0], settings.data_dir / "printer"))

    async def stopping() -> None:
        for process in beside:
            if process.returncode is None:
                process.terminate()
                await process.wait()

    listener = open_port(server.listen, settings)
    settings = located(settings, listener)
    ended(server.serve(settings, listener, prepare=prepare, started=started, stopping=stopping))


@cli.command()
def serve(
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that share the port.")] = None,
) -> None:
    """Serve in production, as the environment's HUTONG_* variables say (docs/configuration.md).

    SIGTERM drains; SIGHUP replaces several workers one by one.
    """
    settings = load_settings(**({} if workers is None else {"workers": workers}))
    logs.configure(settings.log_level, json=settings.log_json)
    if settings.workers == 1:
        listener = open_port(server.listen, settings)
        ended(server.serve(located(settings, listener), listener))
        return
    if not hasattr(socket, "SO_REUSEPORT") or sys.platform != "linux":
        complaints.print("[red]HUTONG_WORKERS[/]: only Linux spreads the connections of one port over processes.")
        raise typer.Exit(2)
    reserved = open_port(reserve, settings)
    try:
        status = asyncio.run(supervise(settings, reserved))
    except RedisNeeded as error:
        complaints.print(f"[red]HUTONG_REDIS_URL[/]: {error}")
        raise typer.Exit(2) from None
    ended(status == 0)


@cli.command(hidden=True)
def serve_worker(
    index: Annotated[int, typer.Option()], line: Annotated[int, typer.Option()], folder: Annotated[Path, typer.Option()]
) -> None:
    """One of several processes that serve (started by ``serve``)."""
    settings = load_settings()
    logs.configure(settings.log_level, json=settings.log_json)
    structlog.contextvars.bind_contextvars(worker=index)
    siblings, parent = Siblings(folder, index, settings.workers), Line(line)
    listener = server.bind(settings.host, settings.port, shared=True)

    async def prepare(running: program.Program) -> None:
        # Others serve the port already: what is not ready yet does not listen.
        if running.jobs is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(running.jobs.connected.wait(), 10)
        await siblings.start()

    async def started() -> None:
        parent.hold()

    ended(server.serve(settings, listener, prepare=prepare, started=started, siblings=siblings))


def open_port(opened: Callable[[str, int], socket.socket], settings: Settings) -> socket.socket:
    """The socket that ``opened`` makes of host and port; ends the program with an explanation when there is none."""
    try:
        return opened(settings.host, settings.port)
    except OSError as error:
        complaints.print(
            f"[red]Cannot listen on {settings.host}:{settings.port}:[/] {error.strerror}."
            " Choose another with --port or HUTONG_PORT."
        )
        raise typer.Exit(1) from None


def located(settings: Settings, listener: socket.socket) -> Settings:
    """``settings`` with the port that ``listener`` has, and where others find it."""
    port = listener.getsockname()[1]
    public_url = settings.public_url or server.base_url(settings.host, port)
    return settings.model_copy(update={"port": port, "public_url": public_url})


def ended(well: bool) -> None:
    """End the program too when serving did not begin."""
    if not well:
        complaints.print("[red]The program could not start;[/] the reason is above.")
        raise typer.Exit(server.STARTUP_FAILED)


@cli.command()
def worker() -> None:
    """Run deadlines and retries only; for installations with HUTONG_JOBS_IN_PROCESS=false on the web processes."""
    settings = load_settings()
    logs.configure(settings.log_level, json=settings.log_json)

    async def main() -> None:
        async with program.open_runtime(settings) as (runtime, _):
            runner = JobRunner(runtime)
            stop = asyncio.Event()
            on_end_signals(stop.set)
            runner.start()
            await stop.wait()
            await runner.stop()

    run_async(main())


@cli.command()
def migrate() -> None:
    """Bring the database to the newest schema. Safe to repeat, also while the program runs."""
    settings = load_settings()
    logs.configure(settings.log_level, json=settings.log_json)

    async def main() -> None:
        async with program.database_url(settings) as url:
            await migrate_database(url)

    run_async(main())
    console.print("The database is up to date.")


@cli.command()
def new_epoch() -> None:
    """After restoring a backup: give the event log a new name, so that clients with newer cursors start afresh."""
    settings = load_settings()
    logs.configure(settings.log_level, json=settings.log_json)

    async def main() -> None:
        async with program.open_runtime(settings) as (runtime, _):
            console.print(f"The event log is now called {await feeds.begin_epoch(runtime.database)}.")

    run_async(main())


# development


def continued_clock(path: Path, speed: float) -> dict[str, Any]:
    """Settings of a domain clock that goes on where the last run with this data folder left it.

    A clock that jumped back at every start would make tomorrow's orders younger than yesterday's.
    """
    now = wall_now()
    origin = now
    if path.exists():
        was = orjson.loads(path.read_bytes())
        elapsed = (now.timestamp() - was["real_origin"]) * was["speed"]
        origin = max(now, datetime.fromisoformat(was["origin"]) + timedelta(seconds=elapsed))
    if speed != 1:
        # The demo starts with the rush of lunch, and so does its clock: on to the next such moment.
        origin += (seed.LUNCH - (origin - datetime.min.replace(tzinfo=UTC))) % timedelta(days=1)
    clock = {"origin": origin, "real_origin": now.timestamp(), "speed": speed}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(clock))
    return {"clock_origin": origin, "clock_real_origin": now.timestamp(), "clock_speed": speed}


def show_welcome(base_url: str, tokens: dict[str, str], settings: Settings) -> None:
    """Where to look and what to call it with."""
    table = Table.grid(padding=(0, 2))
    table.add_row("Terminals", f"[link={base_url}]{base_url}/[/]")
    table.add_row("GraphQL", f"{base_url}/graphql   (also WebSocket, graphql-transport-ws)")
    if settings.graphiql:
        table.add_row("GraphiQL", f"[link={base_url}/graphiql]{base_url}/graphiql[/]")
    table.add_row("Clock", f"{settings.clock_speed:g} domain seconds per second")
    console.print()
    console.rule("[bold]Hutong[/]")
    console.print(table)
    console.print("\nDemo tokens, for an [bold]Authorization: Bearer[/] header:")
    for view in ("consumer", "merchant", "rider", "admin", "partner", "device"):
        console.print(f"[bold]{view}[/]")
        console.print(tokens[view], soft_wrap=True, style="dim", highlight=False)
    console.print("\nStop with Ctrl-C.", highlight=False)


async def start_demo(base_url: str, admin_token: str, owner_token: str) -> asyncio.subprocess.Process:
    """A child process that plays the day, so that its work does not slow the server's loop."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", "play-demo", base_url,
        env={**os.environ, DEMO_TOKEN: admin_token, DEMO_OWNER_TOKEN: owner_token},
    )  # fmt: skip


async def start_printer(base_url: str, secret: str, home: Path) -> asyncio.subprocess.Process:
    """The demo shop's kitchen printer, with the bad days of a real one."""
    return await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLE_DEVICE), base_url, "--quiet", "--home", str(home),
        "--drop", "0.02", "--twice", "0.05", "--paper", "30",
        env={**os.environ, DEVICE_CLIENT: seed.PRINTER_CLIENT, DEVICE_SECRET: secret},
    )  # fmt: skip


@cli.command(hidden=True)
def play_demo(base_url: str) -> None:
    """Play the demo day against a running server (started by ``run``)."""
    from replay import demo

    logs.configure("warning")
    run_async(demo.play_forever(base_url, os.environ[DEMO_TOKEN], 1, owner_token=os.environ[DEMO_OWNER_TOKEN]))


@cli.command()
def token(view: Annotated[str, typer.Argument(help="consumer, merchant, rider, admin, partner or device")]) -> None:
    """Print a token of a demo account; for development, on a sandbox installation."""
    settings = development()
    logs.configure("error")

    async def main() -> None:
        async with program.open_runtime(settings) as (runtime, _):
            tokens = await seed.demo_tokens(runtime)
            if view not in tokens:
                complaints.print(f"[red]No demo account for {view};[/] there are {', '.join(sorted(tokens))}.")
                raise typer.Exit(2)
            print(tokens[view])

    run_async(main())


# contracts and operations


@cli.command()
def schema(check: Check = False) -> None:
    """Write the contract of every view to schema/sdl/."""
    contracts = build_contracts(full_schema())
    if not check:
        for path in write_sdl(contracts):
            console.print(f"wrote {path}")
        return
    drift = sdl_drift(contracts)
    if drift:
        print(drift)
        complaints.print(
            f"[red]{SDL_FOLDER}/ is not what the code says.[/] If the change is meant: python -m cli schema"
        )
        raise typer.Exit(1)
    console.print("The contracts are up to date.")


@cli.command()
def schema_changes(
    release: Annotated[str | None, typer.Option(help="Promise the contracts as they are now, as this version.")] = None,
) -> None:
    """What has changed in the contracts since the last release; fails on breaking changes that nobody told of."""
    contracts = build_contracts(full_schema())
    found = changes_of_schema.all_changes(contracts)
    for change in found:
        colour = "red" if change.breaking else "yellow"
        console.print(f"[{colour}]{change.view.lower():<9}[/] {change.text}", highlight=False)
    missing = changes_of_schema.unexplained(found, changes_of_schema.CHANGELOG.read_text())
    if missing:
        complaints.print(f"[red]Not told of in {changes_of_schema.CHANGELOG}:[/]")
        for change in missing:
            complaints.print(f"  {change.entry}", highlight=False)
        raise typer.Exit(1)
    console.print(f"{len(found)} changes since the last release; all breaking ones are told of.")
    if release is not None:
        changes_of_schema.release(contracts, release)
        console.print(f"Released as {release}.")


@operations_cli.command("register")
def register_operations(
    source: Annotated[Path, typer.Argument(help="Apollo manifest, Relay's persisted.json, or a folder of documents.")],
    view: Annotated[View, typer.Option(case_sensitive=False, help="Who may call them.")] = View.PARTNER,
    client: Annotated[str | None, typer.Option(help="Only this client (its client id) may call them.")] = None,
) -> None:
    """Register operations; running servers take them over within seconds. All are registered or none."""
    run_operations(lambda: operations.register(load_settings(), source, view, client))


@operations_cli.command("manifest")
def make_operations_manifest(
    folder: Annotated[Path, typer.Argument(help="Folder of .graphql files, one named operation each.")] = SOURCES,
    out: Annotated[Path, typer.Option(help="The manifest to write.")] = BUNDLED,
) -> None:
    """Make a manifest of operations, with their ids; by default the one that the program brings along."""
    try:
        operations.make(folder, out)
    except operations.Failed as error:
        complaints.print(f"[red]{error}[/]", highlight=False)
        raise typer.Exit(1) from None


@operations_cli.command("explain")
def explain_operation(
    id: Annotated[str, typer.Argument(help="Id of a registered operation or its beginning, or its name.")],
    variables: Annotated[str, typer.Option(help="JSON; those that @skip and @include ask choose a plan.")] = "{}",
) -> None:
    """The Python that a registered operation is compiled to, for each view that has it."""
    run_operations(lambda: operations.explain(load_settings(), id, variables))


@operations_cli.command("list")
def list_operations() -> None:
    """The operations in the database: who may call them, how often they were, until when."""
    run_operations(lambda: operations.show(load_settings()))


@operations_cli.command("check")
def check_operations() -> None:
    """Fail when a registered operation that is in use, or one that comes along, is not valid any more."""
    run_operations(lambda: operations.check(load_settings()))


def run_operations(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a command about operations; what it refuses is told without a traceback."""
    logs.configure("error")
    try:
        run_async(work())
    except operations.Failed as error:
        complaints.print(f"[red]{error}[/]", highlight=False)
        raise typer.Exit(1) from None


# documentation


@cli.command()
def config_docs(check: Check = False) -> None:
    """Write docs/configuration.md from the settings."""
    text = configuration_page()
    if not check:
        CONFIGURATION.parent.mkdir(exist_ok=True)
        CONFIGURATION.write_text(text)
        console.print(f"wrote {CONFIGURATION}")
    elif not CONFIGURATION.exists() or CONFIGURATION.read_text() != text:
        complaints.print(f"[red]{CONFIGURATION} is not what core/settings.py says.[/] Run: python -m cli config-docs")
        raise typer.Exit(1)
    else:
        console.print(f"{CONFIGURATION} is up to date.")


def configuration_page() -> str:
    """The page: one table per group of settings; a comment in the class heads a group."""
    lines = [
        "# Configuration",
        "",
        "Every setting is an environment variable. The defaults are safe for production.",
        "This page is generated from `core/settings.py` by `python -m cli config-docs`.",
    ]
    for line in inspect.getsource(Settings).splitlines():
        if heading := re.fullmatch(r"    # (.+)", line):
            lines += ["", f"## {heading[1].capitalize()}", "", "| Variable | Default | Meaning |", "|---|---|---|"]
        elif (field := re.match(r"    (\w+):", line)) and field[1] in Settings.model_fields:
            info = Settings.model_fields[field[1]]
            meaning = (info.description or "").replace("|", "\\|")
            default = _shown_default(info.get_default(call_default_factory=True))
            lines.append(f"| `HUTONG_{field[1].upper()}` | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def _shown_default(value: Any) -> str:
    if value is None or value == []:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, timedelta):
        return f"`{value.total_seconds():g}` (seconds)"
    return f"`{value}`"


if __name__ == "__main__":
    cli()
