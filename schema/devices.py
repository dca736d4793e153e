"""Devices in shops, and commands to them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from models.devices import (
    BoardKind,
    CommandAction,
    CommandFailure,
    CommandOutcome,
    CommandState,
    DeviceCapability,
    DeviceState,
    DeviceStation,
    TicketKind,
)
from models.ordering import FulfilmentMode
from resolvers import devices as resolvers
from resolvers import merchants
from resolvers.context import ID, Info
from schema import enums as _enums  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schema.base import (
    A,
    Connection,
    D,
    M,
    Money,
    Node,
    computed,
    exposes,
    money_field,
    mutation,
    node_id,
    only,
    query,
    result,
    sized,
    subscription,
)
from schema.delivery import FeedReset
from services import devices, errors
from subscriptions.updates import UpdateKind

if TYPE_CHECKING:
    from schema.merchants import Store
    from schema.ordering import Order

VIEWS = frozenset({M, A, D})
StoreType = Annotated["Store", strawberry.lazy("schema.merchants")]
CommandType = Annotated["DeviceCommand", strawberry.lazy("schema.devices")]


@exposes(devices.DeviceRecord, views=VIEWS)
@strawberry.type(description="A printer, a gate, a board of a store: one place for hardware.")
class Device(Node):
    id: strawberry.ID = node_id("Device")
    name: str
    store: StoreType = computed(merchants.store_of)
    station: DeviceStation
    capabilities: list[DeviceCapability]
    state: DeviceState
    online: bool = strawberry.field(
        description="Connected, or polled within the last minute and a half.", metadata=only(M, A)
    )
    last_seen_at: datetime | None = strawberry.field(description="To half a minute.", metadata=only(M, A))
    paired_at: datetime | None
    pending: int = strawberry.field(description="Commands that it still has to carry out.", metadata=only(M, A))
    waiting_since: datetime | None = strawberry.field(
        description="When the oldest of these was sent: long ago means that the device is stuck.", metadata=only(M, A)
    )
    problem: CommandFailure | None = strawberry.field(
        description="Why it could not carry out the last command that it answered; null when it could.",
        metadata=only(M, A),
    )
    commands: Connection[CommandType] = computed(
        resolvers.commands_of, M, A, description="What it was sent, newest first."
    )


@exposes(devices.TicketLine, views=VIEWS)
@strawberry.type
class TicketLine:
    name: str
    options: list[str] = strawberry.field(description="Size first, then what was chosen.")
    quantity: int
    total: Money | None = money_field("total")


@exposes(devices.PrintTicket, views=VIEWS)
@strawberry.type(description="Print this. Facts of an order are those of the moment at which it was sent.")
class PrintTicket:
    kind: TicketKind
    title: str
    number: str | None = strawberry.field(description="Of the order.")
    pickup_number: int | None = strawberry.field(description="Of the order: to be printed large.")
    mode: FulfilmentMode | None
    table: str | None
    lines: list[TicketLine]
    note: str
    placed_at: datetime | None
    due_at: datetime | None = strawberry.field(description="When the food is promised to be ready.")
    total: Money | None = money_field("total", description="On receipts.")


@exposes(devices.OpenGate, views=VIEWS)
@strawberry.type(description="Let somebody through.")
class OpenGate:
    gate: str
    seconds: int = strawberry.field(description="How long it stays open.")
    reason: str


@exposes(devices.ShowBoard, views=VIEWS)
@strawberry.type(description="Show this from now on, until another such command.")
class ShowBoard:
    board: BoardKind
    store: StoreType = computed(merchants.store_of)


CommandPayload = Annotated[PrintTicket | OpenGate | ShowBoard, strawberry.union("CommandPayload")]


@exposes(devices.CommandRecord, views=VIEWS)
@strawberry.type(description="Something that a device is to do once. Do it only while `state` is DELIVERED.")
class DeviceCommand(Node):
    id: strawberry.ID = node_id("DeviceCommand")
    device: Device = computed(resolvers.device_of)
    payload: CommandPayload
    state: CommandState
    created_at: datetime
    expires_at: datetime = strawberry.field(description="Not to be done any more from then on.")
    order: Annotated[Order, strawberry.lazy("schema.ordering")] | None = computed(
        resolvers.order_of, M, A, description="The order that it is about."
    )
    delivered_at: datetime | None = strawberry.field(
        description="When it was handed to the device's connection.", metadata=only(M, A)
    )
    closed_at: datetime | None
    outcome: CommandOutcome | None = strawberry.field(
        description="What the device said became of it, also when it said so too late."
    )
    failure: CommandFailure | None
    detail: str | None = strawberry.field(description="The device's own words.")
    reported_at: datetime | None
    available_actions: list[CommandAction] = strawberry.field(
        resolver=resolvers.actions_of, description="What the viewer can do to it now."
    )


@exposes(devices.Pairing, views={M, A})
@strawberry.type(description="How to pair hardware with a device. The code is shown here only and works once.")
class DevicePairing:
    device: Device
    code: str
    expires_at: datetime = strawberry.field(description="Real time, whatever the domain clock says.")


@exposes(views={D})
@strawberry.type(
    description="SNAPSHOT: all commands that the device has to carry out, oldest first. EVENT: the one that changed."
    " A command comes as it is now, not as it was at the event."
)
class DeviceCommandUpdate:
    cursor: str
    kind: UpdateKind
    type: str | None
    at: datetime
    reset: FeedReset | None
    commands: list[DeviceCommand] = sized(5, strawberry.field(resolver=resolvers.value_of))


@exposes(views={M, A})
@strawberry.type(description="A store's devices after any change. Intermediate changes may be skipped.")
class StoreDevicesUpdate:
    cursor: str
    kind: UpdateKind
    at: datetime
    devices: list[Device] = strawberry.field(resolver=resolvers.value_of)


@strawberry.input
class RegisterDeviceInput:
    store: ID
    name: str
    station: DeviceStation
    capabilities: list[DeviceCapability]


@strawberry.input(description="A ticket of a paid order of the device's store.")
class PrintOrderInput:
    order: ID
    ticket: TicketKind = TicketKind.KITCHEN


@strawberry.input(description="Free text, for example to try a printer.")
class PrintNoteInput:
    title: str
    lines: list[str]


@strawberry.input
class OpenGateInput:
    gate: str
    seconds: int = 5
    reason: str = ""


@strawberry.input
class ShowBoardInput:
    board: BoardKind


@strawberry.input(one_of=True, description="What the device is to do: exactly one of these.")
class CommandContentInput:
    print_order: PrintOrderInput | None = strawberry.UNSET
    print_note: PrintNoteInput | None = strawberry.UNSET
    open_gate: OpenGateInput | None = strawberry.UNSET
    show_board: ShowBoardInput | None = strawberry.UNSET

    def to_content(self) -> resolvers.PrintOrder | devices.Note | devices.OpenGate | BoardKind:
        """The one that is given."""
        if self.print_order:
            return resolvers.PrintOrder(self.print_order.order, self.print_order.ticket)
        if self.print_note:
            return devices.Note(self.print_note.title, self.print_note.lines)
        if self.open_gate:
            return devices.OpenGate(self.open_gate.gate, self.open_gate.seconds, self.open_gate.reason)
        assert self.show_board
        return self.show_board.board


_REFUSALS = (
    errors.DeviceNotActive,
    errors.CapabilityMissing,
    errors.DeviceBacklogged,
    errors.IdempotencyConflict,
)


class DevicesQuery:
    @query(Device | None, M, A)
    async def device(self, info: Info, id: ID) -> object | None:
        """One device, for the staff of its store and the admins of its city."""
        return await resolvers.device(info.context, id)

    @query(Device | None, D)
    async def my_device(self, info: Info) -> object | None:
        """The calling device; null for a client that is paired with none."""
        return await resolvers.my_device(info.context)

    @query(list[DeviceCommand], D)
    async def pending_commands(self, info: Info, first: int) -> object:
        """What the calling device has to do, oldest first: for one that can hold no connection."""
        return await resolvers.pending_commands(info.context, first)


class DevicesMutation:
    @mutation(result("RegisterDeviceResult", DevicePairing), M, A)
    async def register_device(self, info: Info, input: RegisterDeviceInput) -> object:
        """Add a device to a store. Its hardware exchanges the code for credentials at `POST /oauth/register`."""
        return await resolvers.register_device(info.context, input.store, input.name, input.station, input.capabilities)

    @mutation(result("PairDeviceResult", DevicePairing), M, A)
    async def pair_device(self, info: Info, device: ID) -> object:
        """A new code: for other hardware in the same place, or to bring a disabled device back."""
        return await resolvers.pair_device(info.context, device)

    @mutation(result("RenameDeviceResult", Device), M, A)
    async def rename_device(self, info: Info, device: ID, name: str) -> object:
        """Call it something else."""
        return await resolvers.rename_device(info.context, device, name)

    @mutation(result("AssignDeviceResult", Device), M, A)
    async def assign_device(
        self, info: Info, device: ID, station: DeviceStation, capabilities: list[DeviceCapability]
    ) -> object:
        """Say where it stands and what it is for."""
        return await resolvers.assign_device(info.context, device, station, capabilities)

    @mutation(result("DisableDeviceResult", Device), M, A)
    async def disable_device(self, info: Info, device: ID) -> object:
        """Cut it off at once; what it has not done is cancelled."""
        return await resolvers.disable_device(info.context, device)

    @mutation(result("SendDeviceCommandResult", DeviceCommand, *_REFUSALS), M, A)
    async def send_device_command(
        self,
        info: Info,
        device: ID,
        content: CommandContentInput,
        idempotency_key: str,
        expires_in_seconds: int | None = None,
    ) -> object:
        """Have a device do something once. Any staff prints; gates and boards are for owners and managers."""
        return await resolvers.send_command(
            info.context, device, content.to_content(), expires_in_seconds, idempotency_key
        )

    @mutation(result("ResendDeviceCommandResult", DeviceCommand, errors.CommandActionNotAllowed, *_REFUSALS), M, A)
    async def resend_device_command(self, info: Info, command: ID, idempotency_key: str) -> object:
        """Send the same once more, as a command of its own, after the first is over."""
        return await resolvers.resend_command(info.context, command, idempotency_key)

    @mutation(result("CancelDeviceCommandResult", DeviceCommand, errors.CommandActionNotAllowed), M, A)
    async def cancel_device_command(self, info: Info, command: ID) -> object:
        """Take back what the device has not done yet."""
        return await resolvers.cancel_command(info.context, command)

    @mutation(result("AcknowledgeCommandResult", DeviceCommand, errors.CommandActionNotAllowed), D)
    async def acknowledge_command(
        self,
        info: Info,
        command: ID,
        outcome: CommandOutcome,
        failure: CommandFailure | None = None,
        detail: str | None = None,
    ) -> object:
        """Say what became of a command; the same again gets the same answer. `failure` goes with FAILED."""
        return await resolvers.acknowledge_command(info.context, command, outcome, failure, detail)


class DevicesSubscription:
    @subscription(DeviceCommandUpdate, D)
    def device_commands(self, info: Info, after: str | None = None) -> object:
        """What the calling device has to do. Without `after` it is told again of all that is still open."""
        return resolvers.device_commands(info.context, after)

    @subscription(StoreDevicesUpdate, M, A)
    def store_devices(self, info: Info, store: ID) -> object:
        """How the devices of a store are doing."""
        return resolvers.store_devices(info.context, store)
