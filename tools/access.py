"""``python -m cli admin`` and ``python -m cli partner``: who may do what, before there is anybody to decide it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

import app as program
from core import logs
from core.clock import wall_now
from core.errors import BusinessError
from core.geo import Point
from core.ids import decode, encode
from services import operator, partners
from services.partners import CredentialRecord, NewSecret
from services.runtime import Runtime
from serving.server import run_async
from tools.console import complaints, console, load_settings

admin_cli = typer.Typer(no_args_is_help=True, help="Cities and their admins.")
partner_cli = typer.Typer(no_args_is_help=True, help="Partners and their credentials.")

City = Annotated[str, typer.Argument(help="Slug of the city.")]
Phone = Annotated[str, typer.Argument(help="With country code, or of mainland China.")]
ClientId = Annotated[str, typer.Argument(help="What the partner signs in with.")]


def run(work: Callable[[Runtime], Awaitable[None]]) -> None:
    """Do it on the installation that the environment names; what is refused is told without a traceback."""
    settings = load_settings()
    logs.configure("error")

    async def main() -> None:
        async with program.open_runtime(settings) as (runtime, _):
            await work(runtime)

    try:
        run_async(main())
    except BusinessError as error:
        complaints.print(f"[red]{error.message()}[/]", highlight=False)
        raise typer.Exit(1) from None


def say(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


@admin_cli.command("city")
def create_city(
    slug: City,
    name: str,
    latitude: Annotated[float, typer.Option(help="Of the centre, GCJ-02.")],
    longitude: Annotated[float, typer.Option(help="Of the centre, GCJ-02.")],
    timezone: Annotated[str, typer.Option(help="IANA name.")] = "Asia/Shanghai",
    currency: Annotated[str, typer.Option(help="ISO 4217.")] = "CNY",
) -> None:
    """Make a city."""

    async def work(runtime: Runtime) -> None:
        city_id = await operator.create_city(runtime, slug, name, Point(latitude, longitude), timezone, currency)
        say(f"{slug} is {encode('City', city_id)}.")

    run(work)


@admin_cli.command("appoint")
def appoint(city: City, phone: Phone, name: str) -> None:
    """Let somebody administer a city; they sign in with a code to their phone."""

    async def work(runtime: Runtime) -> None:
        await operator.appoint_admin(runtime, await operator.city_called(runtime, city), phone, name)
        say(f"{name} administers {city}.")

    run(work)


@admin_cli.command("dismiss")
def dismiss(city: City, phone: Phone) -> None:
    """End somebody's administration of a city."""

    async def work(runtime: Runtime) -> None:
        await operator.dismiss_admin(runtime, await operator.city_called(runtime, city), phone)
        say(f"{phone} does not administer {city} any more.")

    run(work)


@admin_cli.command("list")
def list_admins() -> None:
    """The admins of all cities."""

    async def work(runtime: Runtime) -> None:
        for admin in await operator.admins(runtime):
            say(f"{admin.city:<20} {admin.phone:<16} {admin.name or ''}")

    run(work)


def _show_secret(made: NewSecret) -> None:
    say(f"client id      {made.partner.client_id}")
    say(f"client secret  {made.secret}")
    say("The secret is shown this once.")


@partner_cli.command("create")
def create(
    city: City,
    name: str,
    client_id: Annotated[str | None, typer.Option(help="What it signs in with. Default: made up.")] = None,
) -> None:
    """Let an integrator call the API; prints its first secret."""

    async def work(runtime: Runtime) -> None:
        city_id = await operator.city_called(runtime, city)
        _show_secret(await partners.create(runtime, None, city_id, name, client_id))

    run(work)


@partner_cli.command("list")
def list_partners() -> None:
    """All partners with their credentials."""

    async def work(runtime: Runtime) -> None:
        found = await operator.partners(runtime)
        credentials = await partners.credentials_of(runtime, [partner[0] for partner in found])
        for id, city, client_id, name, disabled in found:
            say(f"{city:<20} {client_id:<32} {name}{'  (disabled)' if disabled else ''}")
            for credential in credentials[id]:
                say(f"    {_described(credential)}")

    run(work)


def _described(credential: CredentialRecord) -> str:
    state = "live"
    if credential.revoked_at is not None:
        state = f"revoked {credential.revoked_at:%Y-%m-%d %H:%M}"
    elif credential.ends_at is not None:
        state = f"ends {credential.ends_at:%Y-%m-%d %H:%M}"
    used = "never" if credential.last_used_at is None else f"{credential.last_used_at:%Y-%m-%d %H:%M}"
    shown = encode("PartnerCredential", credential.id)
    return f"{shown}  {credential.kind:<6}  {state}, used {used}  {credential.kid or credential.name}"


@partner_cli.command("rotate-secret")
def rotate_secret(
    client_id: ClientId,
    overlap: Annotated[int | None, typer.Option(min=0, help="Hours that those before go on. Default: no end.")] = None,
) -> None:
    """Make another secret."""

    async def work(runtime: Runtime) -> None:
        partner_id = await operator.partner_called(runtime, client_id)
        ends_at = None if overlap is None else wall_now() + timedelta(hours=overlap)
        _show_secret(await partners.rotate_secret(runtime, None, partner_id, ends_at))

    run(work)


@partner_cli.command("add-key")
def add_key(
    client_id: ClientId,
    file: Annotated[Path, typer.Argument(exists=True, help="Public P-256 key, PEM or JWK.")],
    name: Annotated[str, typer.Option(help="To tell it from others.")] = "Key",
) -> None:
    """Let a partner sign in with a key pair (private_key_jwt)."""

    async def work(runtime: Runtime) -> None:
        partner_id = await operator.partner_called(runtime, client_id)
        added = await partners.add_key(runtime, None, partner_id, file.read_text(), name)
        say(f"kid {added.kid}")

    run(work)


@partner_cli.command("revoke")
def revoke(
    credential: Annotated[str, typer.Argument(help="Id of the secret or key, as `partner list` shows it.")],
    reason: Annotated[str, typer.Option(help="For the audit log.")],
    end_tokens: Annotated[bool, typer.Option(help="End the partner's access tokens too.")] = True,
) -> None:
    """End a secret or key."""

    async def work(runtime: Runtime) -> None:
        credential_id = decode("PartnerCredential", credential) or UUID(int=0)
        await partners.revoke_credential(runtime, None, credential_id, reason, end_tokens=end_tokens)
        say(f"{credential} is revoked.")

    run(work)
