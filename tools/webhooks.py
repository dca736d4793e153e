"""``python -m cli webhook``: where partners are told of orders, and what became of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, NoReturn
from uuid import UUID

import typer

from core.clock import wall_now
from core.ids import decode, encode
from models.webhooks import WebhookDeliveryState
from services import operator, webhooks
from services.runtime import Runtime
from services.webhooks import Delivery, Endpoint, NewEndpointSecret
from tools.access import ClientId, run, say
from tools.console import complaints

webhook_cli = typer.Typer(no_args_is_help=True, help="Signed webhooks to partners.")

EndpointId = Annotated[str, typer.Argument(help="Id of the endpoint, as `webhook list` shows it.")]
StoreId = Annotated[str, typer.Argument(help="Id of the store.")]
Types = Annotated[list[str] | None, typer.Option("--type", help="Event to send; several times. Default: all.")]


def _key(type_name: str, public_id: str) -> UUID:
    """The key in an id; one that no row has where it is none."""
    return decode(type_name, public_id) or UUID(int=0)


def _wrong(text: str) -> NoReturn:
    complaints.print(f"[red]{text}[/]", highlight=False)
    raise typer.Exit(2)


def _show_secret(made: NewEndpointSecret) -> None:
    say(f"endpoint  {encode('WebhookEndpoint', made.endpoint.id)}")
    say(f"secret    {made.secret}")
    say("The secret is shown this once.")


def _described(endpoint: Endpoint) -> str:
    state = endpoint.state.lower()
    if endpoint.disabled_reason is not None:
        state = f"{state} ({endpoint.disabled_reason.lower()})"
    elif endpoint.failing_since is not None:
        state = f"failing since {endpoint.failing_since:%Y-%m-%d %H:%M}, {endpoint.failures} times"
    types = "all events" if endpoint.event_types is None else ", ".join(endpoint.event_types)
    return f"{encode('WebhookEndpoint', endpoint.id)}  {state}  {endpoint.url}  {types}"


def _told(delivery: Delivery) -> str:
    shown = encode("WebhookDelivery", delivery.id)
    return f"{shown}  {delivery.at:%Y-%m-%d %H:%M:%S}  {delivery.type:<22} {delivery.state.lower()}"


@webhook_cli.command("share")
def share(client_id: ClientId, store: StoreId) -> None:
    """Let a partner be told of the orders of a store from now on."""

    async def work(runtime: Runtime) -> None:
        partner_id = await operator.partner_called(runtime, client_id)
        await webhooks.share_store(runtime, None, partner_id, _key("Store", store))
        say(f"{client_id} is told of the orders of {store}.")

    run(work)


@webhook_cli.command("unshare")
def unshare(client_id: ClientId, store: StoreId) -> None:
    """Tell a partner of nothing more of a store."""

    async def work(runtime: Runtime) -> None:
        partner_id = await operator.partner_called(runtime, client_id)
        await webhooks.unshare_store(runtime, None, partner_id, _key("Store", store))
        say(f"{client_id} is told nothing more of {store}.")

    run(work)


@webhook_cli.command("create")
def create(client_id: ClientId, url: str, types: Types = None, description: str = "") -> None:
    """Tell a partner at a URL of what happens from now on; prints the secret that signs."""

    async def work(runtime: Runtime) -> None:
        partner_id = await operator.partner_called(runtime, client_id)
        _show_secret(await webhooks.create(runtime, None, partner_id, url, types, description))

    run(work)


@webhook_cli.command("list")
def list_endpoints(
    client_id: Annotated[
        str | None, typer.Argument(help="What the partner signs in with. Default: all partners.")
    ] = None,
) -> None:
    """Endpoints of partners, and the stores whose orders they are told of."""

    async def work(runtime: Runtime) -> None:
        partners = {row[0]: row[2] for row in await operator.partners(runtime)}
        if client_id is not None:
            partners = {await operator.partner_called(runtime, client_id): client_id}
        endpoints = await webhooks.of_partners(runtime, list(partners))
        stores = await webhooks.stores_of(runtime, list(partners), 1000, None)
        for partner_id, name in partners.items():
            if not endpoints[partner_id] and not stores[partner_id]:
                continue
            say(name)
            for endpoint in endpoints[partner_id]:
                say(f"    {_described(endpoint)}")
            for store_id in stores[partner_id]:
                say(f"    {encode('Store', store_id)}")

    run(work)


@webhook_cli.command("rotate-secret")
def rotate_secret(
    endpoint: EndpointId,
    overlap: Annotated[int, typer.Option(min=0, help="Hours for which the one before signs too.")] = 24,
) -> None:
    """Make another secret."""

    async def work(runtime: Runtime) -> None:
        ends_at = wall_now() + timedelta(hours=overlap)
        _show_secret(await webhooks.rotate_secret(runtime, None, _key("WebhookEndpoint", endpoint), ends_at))

    run(work)


@webhook_cli.command("enable")
def enable(endpoint: EndpointId) -> None:
    """Go on where an endpoint was left."""

    async def work(runtime: Runtime) -> None:
        say(_described(await webhooks.enable(runtime, None, _key("WebhookEndpoint", endpoint))))

    run(work)


@webhook_cli.command("disable")
def disable(endpoint: EndpointId, reason: Annotated[str, typer.Option(help="For the audit log.")]) -> None:
    """Send nothing more to an endpoint until it is enabled again."""

    async def work(runtime: Runtime) -> None:
        say(_described(await webhooks.disable(runtime, None, _key("WebhookEndpoint", endpoint), reason)))

    run(work)


@webhook_cli.command("ping")
def ping(endpoint: EndpointId) -> None:
    """Have a running server send an event that means nothing."""

    async def work(runtime: Runtime) -> None:
        say(_told(await webhooks.ping(runtime, None, _key("WebhookEndpoint", endpoint))))

    run(work)


@webhook_cli.command("deliveries")
def deliveries(
    endpoint: EndpointId,
    state: Annotated[WebhookDeliveryState | None, typer.Option(help="Only those in this state.")] = None,
    first: Annotated[int, typer.Option(min=1, max=1000)] = 20,
) -> None:
    """What an endpoint was sent, the newest first, with the last attempt."""

    async def work(runtime: Runtime) -> None:
        endpoint_id = (await webhooks.get(runtime, None, _key("WebhookEndpoint", endpoint))).id
        found = (await webhooks.of_endpoints(runtime, [endpoint_id], state, first, None))[endpoint_id]
        attempts = await webhooks.attempts_of(runtime, [delivery.id for delivery in found])
        for delivery in found:
            tried = attempts[delivery.id]
            last = "" if not tried else f"  {len(tried)} sent, last {tried[-1].status or tried[-1].fault}"
            say(_told(delivery) + last)

    run(work)


@webhook_cli.command("resend")
def resend(delivery: Annotated[str, typer.Argument(help="Id of the delivery (`webhook-id`).")]) -> None:
    """Have a running server send one delivery again."""

    async def work(runtime: Runtime) -> None:
        say(_told(await webhooks.resend(runtime, None, _key("WebhookDelivery", delivery))))

    run(work)


@webhook_cli.command("replay")
def replay(
    endpoint: EndpointId,
    after: Annotated[str | None, typer.Option(help="Cursor of the last event that is not to be sent again.")] = None,
    starting: Annotated[str | None, typer.Option(help="Or the instant to begin at, RFC 3339.")] = None,
) -> None:
    """Have a running server send again what came after a cursor or an instant."""
    try:
        instant = None if starting is None else datetime.fromisoformat(starting)
    except ValueError:
        _wrong(f"{starting} is no instant.")
    if instant is not None and instant.tzinfo is None:
        _wrong("--starting needs an offset, as in 2026-03-02T12:00:00+08:00.")

    async def work(runtime: Runtime) -> None:
        endpoint_id = _key("WebhookEndpoint", endpoint)
        done = await webhooks.replay(runtime, None, endpoint_id, after, instant)
        say(f"{done.scheduled} are sent again.")

    run(work)
