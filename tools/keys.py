"""``python -m cli keys``: the keys that sign access tokens."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from auth.keys import ANNOUNCED, KeyInUse, SigningKeys
from core import logs
from core.clock import wall_now
from services.seed import TOKEN_LIFE
from tools.console import complaints, console, load_settings

keys_cli = typer.Typer(no_args_is_help=True, help="The keys that sign access tokens.")


def _open() -> tuple[SigningKeys, timedelta]:
    """The keys, and the longest life of a token of theirs."""
    settings = load_settings()
    logs.configure("error")
    life = settings.access_token_ttl
    return SigningKeys.of(settings), max(life, TOKEN_LIFE) if settings.sandbox else life


@keys_cli.command("list")
def list_keys() -> None:
    """Every key, in the order in which they sign."""
    keys, _ = _open()
    signing, now = keys.signing, wall_now()
    for key in keys.all:
        state = "signs" if key is signing else "announced" if key.signs_from > now else "verifies"
        console.print(f"{key.kid}  {state:<9}  from {key.signs_from:%Y-%m-%d %H:%M:%S} UTC", highlight=False)


@keys_cli.command("rotate")
def rotate(
    after: Annotated[
        int, typer.Option(min=0, help="Seconds until it signs: long enough for every process and host to know it.")
    ] = int(ANNOUNCED.total_seconds()),
) -> None:
    """Add a key. Running processes verify by it at once and sign with it after a while."""
    keys, life = _open()
    key = keys.rotate(timedelta(seconds=after))
    console.print(f"{key.kid} signs from {key.signs_from:%Y-%m-%d %H:%M:%S} UTC.", highlight=False)
    console.print(f"The key before can be retired {life} later.", highlight=False)


@keys_cli.command("retire")
def retire(
    kid: str,
    compromised: Annotated[bool, typer.Option(help="At once: its tokens do not count any more.")] = False,
) -> None:
    """Take a key out once its last token has expired. Nobody is logged out: clients refresh."""
    keys, life = _open()
    try:
        keys.retire(kid, life, compromised=compromised)
    except LookupError:
        complaints.print(f"[red]There is no key[/] {kid}", highlight=False)
        raise typer.Exit(1) from None
    except KeyInUse as error:
        when = "rotate first" if error.until is None else f"retire it after {error.until:%Y-%m-%d %H:%M:%S} UTC"
        complaints.print(f"[red]The key is in use:[/] {when}.", highlight=False)
        raise typer.Exit(1) from None
    console.print(f"{kid} is retired.", highlight=False)
