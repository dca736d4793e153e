"""Terminals in shops: registered and paired, sent commands, heard about what became of them.

``machine`` what may happen to a command, ``records`` what devices and commands are, ``tickets`` what is printed,
``commands`` sending and acknowledging, ``registry`` pairing, ``reading`` queries and snapshots, ``presence``.
"""

from services.devices.commands import (
    JOBS,
    acknowledge,
    cancel,
    order_accepted,
    order_called_off,
    resend,
    send,
)
from services.devices.machine import NEEDS_MANAGER, Actor, available_actions
from services.devices.presence import connected, seen
from services.devices.reading import (
    by_ids,
    find,
    find_command,
    hand_over,
    history,
    of_stores,
    own,
    pending,
    require_staff,
    snapshot,
)
from services.devices.records import (
    CommandRecord,
    DeviceRecord,
    Note,
    OpenGate,
    OrderTicket,
    PrintTicket,
    ShowBoard,
    TicketLine,
    Wish,
)
from services.devices.registry import Pairing, assign, claim, disable, pair, register, rename

__all__ = [
    "JOBS",
    "NEEDS_MANAGER",
    "Actor",
    "CommandRecord",
    "DeviceRecord",
    "Note",
    "OpenGate",
    "OrderTicket",
    "Pairing",
    "PrintTicket",
    "ShowBoard",
    "TicketLine",
    "Wish",
    "acknowledge",
    "assign",
    "available_actions",
    "by_ids",
    "cancel",
    "claim",
    "connected",
    "disable",
    "find",
    "find_command",
    "hand_over",
    "history",
    "of_stores",
    "order_accepted",
    "order_called_off",
    "own",
    "pair",
    "pending",
    "register",
    "rename",
    "require_staff",
    "resend",
    "seen",
    "send",
    "snapshot",
]
