"""Devices, commands and what commands carry, as records: read from SQL rows or from the payload of an event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

import orjson

from models.database import Record
from models.devices import (
    BoardKind,
    CommandFailure,
    CommandOutcome,
    CommandState,
    DeviceCapability,
    DeviceState,
    DeviceStation,
    TicketKind,
)
from models.ordering import FulfilmentMode
from services.devices.machine import OPEN


@dataclass(frozen=True, slots=True)
class TicketLine:
    """``total`` in minor units of ``currency``; both None where prices are nobody's business."""

    name: str
    options: list[str]
    quantity: int
    total: int | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class PrintTicket:
    """A ticket as structured content; the device lays it out. Facts of an order are those of the moment of sending."""

    kind: TicketKind
    title: str
    lines: list[TicketLine]
    number: str | None = None
    mode: FulfilmentMode | None = None
    table: str | None = None
    note: str = ""
    placed_at: datetime | None = None
    due_at: datetime | None = None
    total: int | None = None
    currency: str | None = None
    pickup_number: int | None = None


@dataclass(frozen=True, slots=True)
class OpenGate:
    """Let somebody through ``gate``, which closes again after ``seconds``."""

    gate: str
    seconds: int
    reason: str


@dataclass(frozen=True, slots=True)
class ShowBoard:
    """Show this from now on, until another such command."""

    board: BoardKind
    store_id: UUID


Payload: TypeAlias = PrintTicket | OpenGate | ShowBoard

CAPABILITY: Final[dict[type, DeviceCapability]] = {
    PrintTicket: DeviceCapability.PRINT,
    OpenGate: DeviceCapability.GATE,
    ShowBoard: DeviceCapability.BOARD,
}
"""What a device must be able to do to carry a payload out."""


@dataclass(frozen=True, slots=True)
class OrderTicket:
    """Wish for a ticket made of a paid order of the device's store."""

    order_id: UUID
    kind: TicketKind


@dataclass(frozen=True, slots=True)
class Note:
    """Wish for a ticket of free text."""

    title: str
    lines: Sequence[str]


Wish: TypeAlias = OrderTicket | Note | OpenGate | BoardKind
"""What somebody wants a device to do, before it is checked and made a payload of."""


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def payload_from_json(capability: DeviceCapability, data: dict[str, Any]) -> Payload:
    """Inverse of what orjson writes of a payload."""
    match capability:
        case DeviceCapability.PRINT:
            read: dict[str, Any] = {
                "kind": TicketKind(data["kind"]),
                "lines": [TicketLine(**line) for line in data["lines"]],
                "mode": None if data["mode"] is None else FulfilmentMode(data["mode"]),
                "placed_at": _instant(data["placed_at"]),
                "due_at": _instant(data["due_at"]),
            }
            return PrintTicket(**data | read)
        case DeviceCapability.GATE:
            return OpenGate(**data)
        case DeviceCapability.BOARD:
            return ShowBoard(BoardKind(data["board"]), UUID(data["store_id"]))


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """One command. The last four are what the device said became of it, and when: also of one that was over by then."""

    id: UUID
    device_id: UUID
    store_id: UUID
    capability: DeviceCapability
    payload: Payload
    order_id: UUID | None
    source: str | None
    state: CommandState
    created_at: datetime
    expires_at: datetime
    delivered_at: datetime | None = None
    closed_at: datetime | None = None
    outcome: CommandOutcome | None = None
    failure: CommandFailure | None = None
    detail: str | None = None
    reported_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether the device still has to act."""
        return self.state in OPEN

    def at(self, now: datetime) -> CommandRecord:
        """As it stands at ``now``: past its end it is EXPIRED, whether or not the job that records it has run."""
        if self.open and self.expires_at <= now:
            return replace(self, state=CommandState.EXPIRED, closed_at=self.expires_at)
        return self


COLUMNS: Final = tuple(f.name for f in fields(CommandRecord))
COMMAND_SELECT: Final = f"SELECT {', '.join(f'c.{name}' for name in COLUMNS)} FROM device_command c"


def command_from_row(row: Record) -> CommandRecord:
    """From a row of COMMAND_SELECT."""
    data: dict[str, Any] = {name: row[name] for name in COLUMNS}
    data["capability"] = DeviceCapability(data["capability"])
    data["payload"] = payload_from_json(data["capability"], orjson.loads(data["payload"]))
    data["state"] = CommandState(data["state"])
    data["outcome"] = None if data["outcome"] is None else CommandOutcome(data["outcome"])
    data["failure"] = None if data["failure"] is None else CommandFailure(data["failure"])
    return CommandRecord(**data)


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """One device with how it is doing.

    ``pending`` open commands, the oldest since ``waiting_since``; ``problem``: why its last answer was a failure.
    """

    id: UUID
    store_id: UUID
    city_id: UUID
    name: str
    station: DeviceStation
    capabilities: list[DeviceCapability]
    client_id: UUID | None
    paired_at: datetime | None
    disabled_at: datetime | None
    last_seen_at: datetime | None
    left_at: datetime | None
    pending: int
    waiting_since: datetime | None
    problem: CommandFailure | None
    online: bool

    @property
    def state(self) -> DeviceState:
        if self.disabled_at is not None:
            return DeviceState.DISABLED
        return DeviceState.UNPAIRED if self.client_id is None else DeviceState.ACTIVE


def device_from_row(row: Record, online: bool) -> DeviceRecord:
    """From a row of ``reading.DEVICE_SELECT``."""
    data = {f.name: row[f.name] for f in fields(DeviceRecord) if f.name != "online"}
    data["station"] = DeviceStation(data["station"])
    data["capabilities"] = [DeviceCapability(name) for name in orjson.loads(data["capabilities"])]
    data["problem"] = None if data["problem"] is None else CommandFailure(data["problem"])
    return DeviceRecord(**data, online=online)
