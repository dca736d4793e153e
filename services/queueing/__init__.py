"""Waiting for a table: one queue per store with classes by party size; take a number, be called, be seated."""

from services.queueing.line import JOBS, act, call_next, set_open, take_number
from services.queueing.reading import (
    board_snapshot,
    boards,
    get_class,
    get_ticket,
    ticket_snapshot,
    tickets_of_consumer,
)
from services.queueing.rules import Board, ClassLine, Ticket, available_actions

__all__ = [
    "JOBS",
    "Board",
    "ClassLine",
    "Ticket",
    "act",
    "available_actions",
    "board_snapshot",
    "boards",
    "call_next",
    "get_class",
    "get_ticket",
    "set_open",
    "take_number",
    "ticket_snapshot",
    "tickets_of_consumer",
]
