"""What may happen to a command: one table, read by the rules, by ``availableActions`` and by the tests."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from models.devices import CommandAction, CommandState, DeviceCapability

S, Act = CommandState, CommandAction


class Actor(StrEnum):
    DEVICE = "DEVICE"
    SENDER = "SENDER"
    """Staff of the store or an admin of its city."""
    SYSTEM = "SYSTEM"


@dataclass(frozen=True, slots=True)
class Transition:
    """``event`` is what the device's feed tells; None when nothing that the device shows has changed."""

    to: CommandState
    actors: frozenset[Actor]
    event: str | None


def _by(*actors: Actor) -> frozenset[Actor]:
    return frozenset(actors)


OPEN: Final = (S.QUEUED, S.DELIVERED)
"""States in which the device still has to act."""
OPEN_SQL: Final = "('QUEUED', 'DELIVERED')"

TRANSITIONS: Final[dict[tuple[CommandState, CommandAction], Transition]] = {
    (S.QUEUED, Act.DELIVER): Transition(S.DELIVERED, _by(Actor.SYSTEM), None),
    # Handing over is noted apart from it: a device may answer before we have written that it was asked.
    (S.QUEUED, Act.ACKNOWLEDGE): Transition(S.ACKNOWLEDGED, _by(Actor.DEVICE), "command.acknowledged"),
    (S.DELIVERED, Act.ACKNOWLEDGE): Transition(S.ACKNOWLEDGED, _by(Actor.DEVICE), "command.acknowledged"),
    (S.QUEUED, Act.FAIL): Transition(S.FAILED, _by(Actor.DEVICE), "command.failed"),
    (S.DELIVERED, Act.FAIL): Transition(S.FAILED, _by(Actor.DEVICE), "command.failed"),
    (S.QUEUED, Act.EXPIRE): Transition(S.EXPIRED, _by(Actor.SYSTEM), "command.expired"),
    (S.DELIVERED, Act.EXPIRE): Transition(S.EXPIRED, _by(Actor.SYSTEM), "command.expired"),
    (S.QUEUED, Act.CANCEL): Transition(S.CANCELLED, _by(Actor.SENDER, Actor.SYSTEM), "command.cancelled"),
    (S.DELIVERED, Act.CANCEL): Transition(S.CANCELLED, _by(Actor.SENDER, Actor.SYSTEM), "command.cancelled"),
    # Sending the same again makes a new command and leaves this one as it is.
    (S.ACKNOWLEDGED, Act.RESEND): Transition(S.ACKNOWLEDGED, _by(Actor.SENDER), None),
    (S.FAILED, Act.RESEND): Transition(S.FAILED, _by(Actor.SENDER), None),
    (S.EXPIRED, Act.RESEND): Transition(S.EXPIRED, _by(Actor.SENDER), None),
    (S.CANCELLED, Act.RESEND): Transition(S.CANCELLED, _by(Actor.SENDER), None),
}
"""(state, action) → what follows. A pair that is absent is not possible."""

QUEUED_EVENT: Final = "command.queued"

NEEDS_MANAGER: Final = frozenset({DeviceCapability.GATE, DeviceCapability.BOARD})
"""Commands that a store's owner or manager sends; any of its staff prints."""


def possible(state: CommandState, action: CommandAction, actor: Actor) -> Transition | None:
    """The transition that ``actor`` may make now by ``action``, or None."""
    transition = TRANSITIONS.get((state, action))
    return transition if transition is not None and actor in transition.actors else None


def available_actions(state: CommandState, actor: Actor) -> list[CommandAction]:
    """What ``actor`` may do to a command in ``state``, in the order of the enum."""
    return [action for action in CommandAction if possible(state, action, actor) is not None]
