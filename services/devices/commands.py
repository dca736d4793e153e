"""Sending commands, and what becomes of them. Every change is one transaction with its event.

Lock order: what caused it (idempotency key, order), device rows, command rows, feed head at the end of the unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from auth.principals import Principal, View
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
from services import idempotency
from services.devices import presence
from services.devices.machine import NEEDS_MANAGER, OPEN_SQL, QUEUED_EVENT, Actor, possible
from services.devices.reading import find, find_command, require_manager
from services.devices.records import (
    CAPABILITY,
    COLUMNS,
    COMMAND_SELECT,
    CommandRecord,
    DeviceRecord,
    Note,
    OpenGate,
    OrderTicket,
    Payload,
    PrintTicket,
    ShowBoard,
    TicketLine,
    Wish,
    command_from_row,
)
from services.devices.tickets import ticket_of
from services.errors import (
    CapabilityMissing,
    CommandActionNotAllowed,
    DeviceBacklogged,
    DeviceNotActive,
    InvalidInput,
    NotFound,
)
from services.merchants.checks import text, within
from services.runtime import Runtime
from services.unit import Unit, transaction
from subscriptions.feeds import DEVICE_COMMANDS, STORE_DEVICES

MAX_PENDING: Final = 200
"""Open commands of one device beyond which people are told to look after it. Tickets of orders are queued anyway."""
MAX_LINES: Final = 100
MAX_DETAIL: Final = 200
MAX_GATE_SECONDS: Final = 60
MAX_LIFE: Final = timedelta(days=7)

_INSERT: Final = (
    f"INSERT INTO device_command ({', '.join(COLUMNS)}) "
    f"VALUES ({', '.join(f'${i}' for i in range(1, len(COLUMNS) + 1))}) ON CONFLICT (device_id, source) DO NOTHING"
)


def _life(runtime: Runtime, capability: DeviceCapability) -> timedelta:
    settings = runtime.settings
    return {
        DeviceCapability.PRINT: settings.device_print_ttl,
        DeviceCapability.GATE: settings.device_gate_ttl,
        DeviceCapability.BOARD: settings.device_board_ttl,
    }[capability]


# what people send


async def send(
    runtime: Runtime, principal: Principal, device_id: UUID, wish: Wish, expires_in: timedelta | None, key: str
) -> CommandRecord:
    """Queue a command for an active device.

    Any staff of the store prints; gates and boards are for owners and managers, and admins of the city do all. Raises
    NotFound, PermissionDenied, InvalidInput, DeviceNotActive, CapabilityMissing, DeviceBacklogged,
    IdempotencyConflict.
    """
    if expires_in is not None and not timedelta(seconds=1) <= expires_in <= MAX_LIFE:
        raise InvalidInput(field="expiresInSeconds", reason=f"must be 1 to {int(MAX_LIFE.total_seconds())}")
    async with transaction(runtime) as unit:
        request = [device_id, type(wish).__name__, wish, expires_in and expires_in.total_seconds()]
        answered = await idempotency.recall(unit, principal, key, "sendDeviceCommand", request)
        if answered is not None:
            return await _as_it_stands(unit, UUID(answered["command"]))
        device = await _lock_device(unit, principal, device_id)
        payload = await _payload(unit, device, wish)
        order_id = wish.order_id if isinstance(wish, OrderTicket) else None
        command = await _send(unit, principal, device, payload, order_id, expires_in)
        await idempotency.remember(unit, principal, key, {"command": command.id})
        return command


async def _payload(unit: Unit, device: DeviceRecord, wish: Wish) -> Payload:
    """What is sent to the device for ``wish``. Raises InvalidInput, NotFound."""
    match wish:
        case OrderTicket():
            if wish.kind not in (TicketKind.KITCHEN, TicketKind.RECEIPT):
                raise InvalidInput(field="content.printOrder.ticket", reason="must be KITCHEN or RECEIPT")
            ticket = await ticket_of(unit.sql, device.store_id, wish.order_id, wish.kind)
            if ticket is None:
                raise NotFound(resource="Order")
            return ticket
        case Note():
            if not 1 <= len(wish.lines) <= MAX_LINES:
                raise InvalidInput(field="content.printNote.lines", reason=f"must be 1 to {MAX_LINES}")
            lines = [text(f"content.printNote.lines.{n}", line, 120) for n, line in enumerate(wish.lines)]
            title = text("content.printNote.title", wish.title, 80)
            return PrintTicket(TicketKind.NOTE, title, [TicketLine(line, [], 1) for line in lines])
        case OpenGate():
            return OpenGate(
                text("content.openGate.gate", wish.gate, 40),
                within("content.openGate.seconds", wish.seconds, 1, MAX_GATE_SECONDS),
                text("content.openGate.reason", wish.reason, 200, shortest=0),
            )
        case BoardKind():
            return ShowBoard(wish, device.store_id)


async def resend(runtime: Runtime, principal: Principal, command_id: UUID, key: str) -> CommandRecord:
    """The same once more, as a command of its own, after one that is over. Raises as :func:`send`, and
    CommandActionNotAllowed while the device may still carry the first one out."""
    first, device = await find_command(runtime, principal, command_id)
    async with transaction(runtime) as unit:
        answered = await idempotency.recall(unit, principal, key, "resendDeviceCommand", [command_id])
        if answered is not None:
            return await _as_it_stands(unit, UUID(answered["command"]))
        device = await _lock_device(unit, principal, device.id)
        first = (await _as_it_stands(unit, command_id)).at(unit.now)
        _require(first, CommandAction.RESEND, Actor.SENDER)
        command = await _send(unit, principal, device, first.payload, first.order_id, None)
        await idempotency.remember(unit, principal, key, {"command": command.id})
        return command


async def _lock_device(unit: Unit, principal: Principal, device_id: UUID) -> DeviceRecord:
    """The device for its staff and admins; until the end of the transaction nobody disables it. Raises NotFound."""
    if principal.view is View.DEVICE:
        raise NotFound(resource="Device")
    await unit.sql.execute("SELECT FROM device WHERE id = $1 FOR SHARE", device_id)
    return await find(unit.runtime, principal, device_id, unit.sql)


async def _send(
    unit: Unit,
    principal: Principal,
    device: DeviceRecord,
    payload: Payload,
    order_id: UUID | None,
    expires_in: timedelta | None,
) -> CommandRecord:
    capability = CAPABILITY[type(payload)]
    if capability in NEEDS_MANAGER:
        require_manager(principal, device)
    if device.state is not DeviceState.ACTIVE:
        raise DeviceNotActive(device=device.id, device_state=device.state)
    if capability not in device.capabilities:
        raise CapabilityMissing(device=device.id, capability=capability)
    if device.pending >= MAX_PENDING:
        raise DeviceBacklogged(device=device.id, pending=device.pending)
    if isinstance(payload, ShowBoard):
        # A board that comes back shows the last thing it was told, not one after the other.
        await cancel_open(unit, "c.device_id = $1 AND c.capability = 'BOARD'", device.id)
    command = _new(unit, device.id, device.store_id, payload, order_id, None, expires_in)
    await _queue(unit, [command])
    return command


async def cancel(runtime: Runtime, principal: Principal, command_id: UUID) -> CommandRecord:
    """Take back what the device has not done yet; who may send it may do it. Repeating it changes nothing.

    Raises NotFound, PermissionDenied, CommandActionNotAllowed.
    """
    found, device = await find_command(runtime, principal, command_id)
    if principal.view is View.DEVICE:
        raise NotFound(resource="DeviceCommand")
    if found.capability in NEEDS_MANAGER:
        require_manager(principal, device)
    async with transaction(runtime) as unit:
        command = await _lock_command(unit, command_id)
        if command.state is CommandState.CANCELLED:
            return command
        return await _close(unit, command.at(unit.now), CommandAction.CANCEL, Actor.SENDER)


# what orders send


async def order_accepted(unit: Unit, store_id: UUID, order_id: UUID) -> None:
    """Queue the kitchen ticket on every printer of the kitchen, in the transaction that accepts the order."""
    printers = await _printers(unit, store_id, [DeviceStation.KITCHEN])
    await _print_order(unit, store_id, order_id, TicketKind.KITCHEN, printers)


async def order_called_off(unit: Unit, store_id: UUID, order_id: UUID) -> None:
    """Take back kitchen tickets that are not printed yet; where one is, say on paper that the order is off."""
    printers = await _printers(unit, store_id, list(DeviceStation))
    rows = await unit.sql.fetch(
        f"""{COMMAND_SELECT} WHERE c.order_id = $1 AND c.payload ->> 'kind' = '{TicketKind.KITCHEN}'
            ORDER BY c.id FOR UPDATE""",
        order_id,
    )
    tickets = [command_from_row(row) for row in rows]
    for ticket in tickets:
        if ticket.open:
            await _close(unit, ticket, CommandAction.CANCEL, Actor.SYSTEM)
    printed = {ticket.device_id for ticket in tickets if ticket.outcome is CommandOutcome.DONE}
    await _print_order(unit, store_id, order_id, TicketKind.CANCELLATION, [p for p in printers if p in printed])


async def _printers(unit: Unit, store_id: UUID, stations: Sequence[DeviceStation]) -> list[UUID]:
    """The store's active ones; until the end of the transaction nobody disables them."""
    rows = await unit.sql.fetch(
        """SELECT id FROM device WHERE store_id = $1 AND station = ANY($2::text[]) AND capabilities @> $3
           AND client_id IS NOT NULL AND disabled_at IS NULL ORDER BY id FOR SHARE""",
        store_id,
        list(stations),
        orjson.dumps([DeviceCapability.PRINT]).decode(),
    )
    return [row["id"] for row in rows]


async def _print_order(unit: Unit, store_id: UUID, order_id: UUID, kind: TicketKind, printers: Sequence[UUID]) -> None:
    if not printers:
        return
    ticket = await ticket_of(unit.sql, store_id, order_id, kind)
    assert ticket is not None
    source = f"order:{order_id}:{kind}"
    await _queue(unit, [_new(unit, printer, store_id, ticket, order_id, source) for printer in printers])


# the steps


def _new(
    unit: Unit,
    device_id: UUID,
    store_id: UUID,
    payload: Payload,
    order_id: UUID | None,
    source: str | None,
    expires_in: timedelta | None = None,
) -> CommandRecord:
    capability = CAPABILITY[type(payload)]
    return CommandRecord(
        id=unit.runtime.new_id(),
        device_id=device_id,
        store_id=store_id,
        capability=capability,
        payload=payload,
        order_id=order_id,
        source=source,
        state=CommandState.QUEUED,
        created_at=unit.now,
        expires_at=unit.now + (expires_in or _life(unit.runtime, capability)),
    )


async def _queue(unit: Unit, commands: Iterable[CommandRecord]) -> None:
    """Write new commands, with their deadlines; one whose source has sent to the device before is left out."""
    for command in commands:
        payload = orjson.dumps(command.payload, default=str).decode()
        values = [payload if name == "payload" else getattr(command, name) for name in COLUMNS]
        if await unit.sql.execute(_INSERT, *values):
            unit.enqueue("device_command_expire", {"command": command.id}, at=command.expires_at)
            _tell(unit, command, QUEUED_EVENT)


def _tell(unit: Unit, command: CommandRecord, event: str) -> None:
    unit.emit((DEVICE_COMMANDS.of(command.device_id),), event, {"command": command.id, "state": command.state})
    unit.signal(STORE_DEVICES.of(command.store_id))


async def _as_it_stands(unit: Unit, command_id: UUID) -> CommandRecord:
    row = await unit.sql.fetchrow(f"{COMMAND_SELECT} WHERE c.id = $1", command_id)
    if row is None:
        raise NotFound(resource="DeviceCommand")
    return command_from_row(row).at(unit.now)


async def _lock_command(unit: Unit, command_id: UUID) -> CommandRecord:
    row = await unit.sql.fetchrow(f"{COMMAND_SELECT} WHERE c.id = $1 FOR UPDATE", command_id)
    if row is None:
        raise NotFound(resource="DeviceCommand")
    return command_from_row(row)


def _require(command: CommandRecord, action: CommandAction, actor: Actor) -> tuple[CommandState, str | None]:
    transition = possible(command.state, action, actor)
    if transition is None:
        raise CommandActionNotAllowed(
            command=command.id, state=command.state, action=action, closed_at=command.closed_at
        )
    return transition.to, transition.event


async def _close(
    unit: Unit, command: CommandRecord, action: CommandAction, actor: Actor, **report: Any
) -> CommandRecord:
    """Make the locked command's last transition, with what the device reported. Raises CommandActionNotAllowed."""
    state, event = _require(command, action, actor)
    closed = replace(command, state=state, closed_at=unit.now, **report)
    await _save(unit, closed)
    if event is not None:
        _tell(unit, closed, event)
    return closed


async def _save(unit: Unit, command: CommandRecord) -> None:
    await unit.sql.execute(
        """UPDATE device_command SET state = $2, closed_at = $3, outcome = $4, failure = $5, detail = $6,
               reported_at = $7 WHERE id = $1""",
        command.id,
        command.state.value,
        command.closed_at,
        command.outcome,
        command.failure,
        command.detail,
        command.reported_at,
    )


async def cancel_open(unit: Unit, condition: str, key: UUID) -> None:
    """Cancel the open commands for which ``condition`` on ``c`` and $1 = ``key`` holds."""
    rows = await unit.sql.fetch(
        f"{COMMAND_SELECT} WHERE {condition} AND c.state IN {OPEN_SQL} ORDER BY c.id FOR UPDATE", key
    )
    for row in rows:
        await _close(unit, command_from_row(row), CommandAction.CANCEL, Actor.SYSTEM)


# what the device reports


async def acknowledge(
    runtime: Runtime,
    principal: Principal,
    command_id: UUID,
    outcome: CommandOutcome,
    failure: CommandFailure | None,
    detail: str | None,
) -> CommandRecord:
    """Take the device's word on what became of a command. The same word again gets the same answer.

    A word that comes too late, or another one than before, changes no state: CommandActionNotAllowed says what the
    command is. What the device did is kept in the first case too, for the merchant to see. Raises NotFound,
    InvalidInput.
    """
    if (failure is None) != (outcome is CommandOutcome.DONE):
        raise InvalidInput(field="failure", reason="is needed when the outcome is FAILED, and only then")
    if detail is not None:
        detail = text("detail", detail, MAX_DETAIL)
    action = CommandAction.ACKNOWLEDGE if outcome is CommandOutcome.DONE else CommandAction.FAIL
    async with transaction(runtime) as unit:
        if not await _is_own(unit, principal, command_id):
            raise NotFound(resource="DeviceCommand")
        command = await _lock_command(unit, command_id)
        report = {"outcome": outcome, "failure": failure, "detail": detail, "reported_at": unit.now}
        answer = await _take_report(unit, command, action, report)
    await presence.seen(runtime, command.device_id)
    # Only now: what is written above stays, whatever the answer.
    if answer.state is not (CommandState.ACKNOWLEDGED if outcome is CommandOutcome.DONE else CommandState.FAILED):
        _require(answer, action, Actor.DEVICE)
    return answer


async def _is_own(unit: Unit, principal: Principal, command_id: UUID) -> bool:
    return principal.view is View.DEVICE and bool(
        await unit.sql.fetchval(
            """SELECT true FROM device_command c JOIN device d ON d.id = c.device_id
               WHERE c.id = $1 AND d.client_id = $2 AND d.disabled_at IS NULL""",
            command_id,
            principal.subject,
        )
    )


async def _take_report(
    unit: Unit, command: CommandRecord, action: CommandAction, report: dict[str, Any]
) -> CommandRecord:
    if command.at(unit.now).open:
        return await _close(unit, command, action, Actor.DEVICE, **report)
    if command.open:
        command = await _close(unit, command, CommandAction.EXPIRE, Actor.SYSTEM)
    if command.outcome is None:
        command = replace(command, **report)
        await _save(unit, command)
        unit.signal(STORE_DEVICES.of(command.store_id))
        if action is CommandAction.ACKNOWLEDGE:
            await _printed_after_all(unit, command)
    return command


async def _printed_after_all(unit: Unit, command: CommandRecord) -> None:
    """Where the kitchen's ticket was printed of an order that was called off before the printer could tell."""
    payload, order_id = command.payload, command.order_id
    if not isinstance(payload, PrintTicket) or payload.kind is not TicketKind.KITCHEN or order_id is None:
        return
    # Whoever calls the order off holds the command's lock until that is to be seen here.
    if await unit.sql.fetchval('SELECT closed_at IS NOT NULL FROM "order" WHERE id = $1', order_id):
        await _print_order(unit, command.store_id, order_id, TicketKind.CANCELLATION, [command.device_id])


# deadlines


async def _expire(runtime: Runtime, payload: dict[str, Any]) -> None:
    """The command's end has come: the job says so by running."""
    async with transaction(runtime) as unit:
        command = await _lock_command(unit, UUID(payload["command"]))
        if command.open:
            await _close(unit, command, CommandAction.EXPIRE, Actor.SYSTEM)


JOBS = {"device_command_expire": _expire}
