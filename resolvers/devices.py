"""Fields, actions and feeds of devices: one service call each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from auth.principals import View
from models.devices import (
    BoardKind,
    CommandAction,
    CommandFailure,
    CommandOutcome,
    DeviceCapability,
    DeviceStation,
    TicketKind,
)
from resolvers import merchants
from resolvers.base import Page, action, key, make_page, or_none, page_size
from resolvers.context import Context, Info, batched, by_arguments
from resolvers.feeds import admit, follow
from services import devices
from services.devices import Actor, CommandRecord, DeviceRecord, Note, OpenGate, OrderTicket, Pairing
from services.errors import InvalidInput, NotFound
from services.feeds import COMMANDS, DEVICES
from services.ordering import reading
from services.ordering.records import OrderRecord
from subscriptions.feeds import Event
from subscriptions.updates import Update

MIN_INTERVAL: Final = timedelta(milliseconds=250)
"""Real time between two updates of a store's devices, however many tickets are printed."""

# fields


async def _load_devices_of(context: Context, keys: list[tuple[UUID, UUID]]) -> list[list[DeviceRecord] | Exception]:
    """The devices of a store of a city, for its staff and the city's admins; NotFound for others."""
    principal = context.principal
    mine = {store for store, city in keys if principal.works_at(store) or principal.administers(city)}
    found = await devices.of_stores(context.runtime, list(mine)) if mine else {}
    return [found[store] if store in mine else NotFound(resource="Store") for store, _ in keys]


async def _load_orders(context: Context, keys: list[UUID]) -> list[OrderRecord | None]:
    found = await reading.visible(context.runtime, context.principal, keys, context.columns)
    return [found.get(order_id) for order_id in keys]


devices_of = batched(_load_devices_of, attrgetter("id", "city_id"))
device_of = batched(
    merchants.by_id(lambda runtime, ids, _: devices.by_ids(runtime, ids), "Device"), attrgetter("device_id")
)
order_of = batched(_load_orders, attrgetter("order_id"))


async def _histories(
    context: Context, keys: list[UUID], window: tuple[int, UUID | None]
) -> dict[UUID, list[CommandRecord]]:
    return await devices.history(context.runtime, keys, *window)


_load_histories = by_arguments(_histories)


async def commands_of(root: Any, info: Info, first: int, after: str | None = None) -> Page[CommandRecord]:
    """A page of what a device was sent, newest first."""
    size = page_size(first)
    try:
        before = None if after is None else UUID(hex=after)
    except ValueError:
        raise InvalidInput(field="after", reason="is not a cursor of this list") from None
    rows = await info.context.loader(_load_histories).load((root.id, (size + 1, before)))
    return make_page(rows, size, lambda command: command.id.hex, after=after)


def actions_of(root: CommandRecord, info: Info) -> list[CommandAction]:
    """What the viewer can do to the command now."""
    principal = info.context.principal
    if principal.view is View.DEVICE:
        return devices.available_actions(root.state, Actor.DEVICE)
    managing = principal.view is View.ADMIN or principal.works_at(root.store_id, managing=True)
    if root.capability in devices.NEEDS_MANAGER and not managing:
        return []
    return devices.available_actions(root.state, Actor.SENDER)


# queries


async def device(context: Context, device: str) -> DeviceRecord | None:
    return await or_none(load_device(context, key("Device", device)))


async def load_device(context: Context, device_id: UUID) -> DeviceRecord | None:
    return await or_none(devices.find(context.runtime, context.principal, device_id))


async def load_command(context: Context, command_id: UUID) -> CommandRecord | None:
    found = await or_none(devices.find_command(context.runtime, context.principal, command_id))
    return None if found is None else found[0]


async def my_device(context: Context) -> DeviceRecord | None:
    return await or_none(devices.own(context.runtime, context.principal))


async def pending_commands(context: Context, first: int) -> list[CommandRecord]:
    size = page_size(first)
    mine = await devices.own(context.runtime, context.principal)
    await devices.seen(context.runtime, mine.id)
    return await devices.pending(context.runtime, mine, size)


# actions


@action
async def register_device(
    context: Context, store: str, name: str, station: DeviceStation, capabilities: Sequence[DeviceCapability]
) -> Pairing:
    return await devices.register(context.runtime, context.principal, key("Store", store), name, station, capabilities)


@action
async def pair_device(context: Context, device: str) -> Pairing:
    return await devices.pair(context.runtime, context.principal, key("Device", device))


@action
async def rename_device(context: Context, device: str, name: str) -> DeviceRecord:
    return await devices.rename(context.runtime, context.principal, key("Device", device), name)


@action
async def assign_device(
    context: Context, device: str, station: DeviceStation, capabilities: Sequence[DeviceCapability]
) -> DeviceRecord:
    return await devices.assign(context.runtime, context.principal, key("Device", device), station, capabilities)


@action
async def disable_device(context: Context, device: str) -> DeviceRecord:
    return await devices.disable(context.runtime, context.principal, key("Device", device))


@dataclass(frozen=True, slots=True)
class PrintOrder:
    """A wish for a ticket of an order, by its public id."""

    order: str
    ticket: TicketKind


@action
async def send_command(
    context: Context,
    device: str,
    content: PrintOrder | Note | OpenGate | BoardKind,
    expires_in_seconds: int | None,
    idempotency_key: str,
) -> CommandRecord:
    wish = OrderTicket(key("Order", content.order), content.ticket) if isinstance(content, PrintOrder) else content
    expires_in = None if expires_in_seconds is None else timedelta(seconds=expires_in_seconds)
    return await devices.send(
        context.runtime, context.principal, key("Device", device), wish, expires_in, idempotency_key
    )


@action
async def resend_command(context: Context, command: str, idempotency_key: str) -> CommandRecord:
    return await devices.resend(context.runtime, context.principal, key("DeviceCommand", command), idempotency_key)


@action
async def cancel_command(context: Context, command: str) -> CommandRecord:
    return await devices.cancel(context.runtime, context.principal, key("DeviceCommand", command))


@action
async def acknowledge_command(
    context: Context, command: str, outcome: CommandOutcome, failure: CommandFailure | None, detail: str | None
) -> CommandRecord:
    return await devices.acknowledge(
        context.runtime, context.principal, key("DeviceCommand", command), outcome, failure, detail
    )


# feeds


async def device_commands(context: Context, after: str | None) -> AsyncIterator[Update[list[CommandRecord]]]:
    """Everything that the calling device has to do, then every change of that."""
    mine = await devices.own(context.runtime, context.principal)
    admission = await admit(context, COMMANDS, mine.id)
    async with (
        devices.connected(context.runtime, mine.id),
        aclosing(context.tails.follow(admission.feed_name, after, admission.snapshot)) as updates,
    ):
        async for update in updates:
            value = update.value
            if isinstance(value, Event):
                value = await devices.hand_over(context.runtime, mine, [UUID(value.payload["command"])])
            yield update.carrying(value)


def store_devices(context: Context, store: str) -> AsyncIterator[Update[list[DeviceRecord]]]:
    return follow(context, DEVICES, store, None, MIN_INTERVAL)


def value_of(root: Update[Any]) -> Any:
    """What an update carries."""
    return root.value


NODES: dict[str, Callable[[Context, UUID], Awaitable[object | None]]] = {
    "Device": load_device,
    "DeviceCommand": load_command,
}
