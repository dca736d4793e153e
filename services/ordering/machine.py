"""What may happen to an order: one table, read by the rules, by ``availableActions`` and by the tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from auth.principals import Principal, View
from models.delivery import DeliveryState
from models.ordering import FulfilmentMode, OrderAction, OrderState
from services.errors import OrderActionNotAllowed
from services.ordering.records import OrderRecord

S, Act = OrderState, OrderAction


class Actor(StrEnum):
    CONSUMER = "CONSUMER"
    MERCHANT = "MERCHANT"
    RIDER = "RIDER"
    ADMIN = "ADMIN"
    SYSTEM = "SYSTEM"


ACTOR_OF_VIEW: Final = {
    View.CONSUMER: Actor.CONSUMER,
    View.MERCHANT: Actor.MERCHANT,
    View.RIDER: Actor.RIDER,
    View.ADMIN: Actor.ADMIN,
}

EVERY_MODE: Final = frozenset(FulfilmentMode)
DELIVERED_BY_RIDER: Final = frozenset({FulfilmentMode.DELIVERY})
FETCHED: Final = frozenset({FulfilmentMode.PICKUP, FulfilmentMode.DINE_IN})


def _nobody_fetches_it(order: OrderRecord, actor: Actor) -> bool:
    """A consumer may give up on finished food only while no rider has taken the job."""
    if actor is not Actor.CONSUMER:
        return True
    return order.delivery is not None and order.delivery.state in (DeliveryState.SEARCHING, DeliveryState.OFFERED)


@dataclass(frozen=True, slots=True)
class Transition:
    """``to`` the next state, who may do it, in which modes, and under which further condition."""

    to: OrderState
    actors: frozenset[Actor]
    modes: frozenset[FulfilmentMode] = EVERY_MODE
    guard: Callable[[OrderRecord, Actor], bool] | None = None


def _by(*actors: Actor) -> frozenset[Actor]:
    return frozenset(actors)


_staff: Final = _by(Actor.MERCHANT)
_platform: Final = _by(Actor.SYSTEM)
_refunders: Final = _by(Actor.MERCHANT, Actor.ADMIN)

TRANSITIONS: Final[dict[tuple[OrderState, OrderAction], Transition]] = {
    (S.PLACED, Act.PAY): Transition(S.PAID, _by(Actor.CONSUMER, Actor.SYSTEM)),
    (S.PLACED, Act.CANCEL): Transition(S.CANCELLED, _by(Actor.CONSUMER, Actor.ADMIN)),
    (S.PLACED, Act.EXPIRE): Transition(S.EXPIRED, _platform),
    (S.PAID, Act.ACCEPT): Transition(S.ACCEPTED, _staff),
    (S.PAID, Act.REJECT): Transition(S.REJECTED, _staff),
    (S.PAID, Act.CANCEL): Transition(S.CANCELLED, _by(Actor.CONSUMER, Actor.ADMIN)),
    (S.PAID, Act.EXPIRE): Transition(S.EXPIRED, _platform),
    (S.ACCEPTED, Act.START_PREPARING): Transition(S.PREPARING, _staff),
    (S.ACCEPTED, Act.MARK_READY): Transition(S.READY, _staff),
    (S.ACCEPTED, Act.CANCEL): Transition(S.CANCELLED, _refunders),
    (S.ACCEPTED, Act.REFUND): Transition(S.ACCEPTED, _refunders),
    (S.PREPARING, Act.MARK_READY): Transition(S.READY, _staff),
    (S.PREPARING, Act.CANCEL): Transition(S.CANCELLED, _refunders),
    (S.PREPARING, Act.REFUND): Transition(S.PREPARING, _refunders),
    (S.READY, Act.PICK_UP): Transition(S.PICKED_UP, _by(Actor.RIDER), DELIVERED_BY_RIDER),
    (S.READY, Act.HAND_OVER): Transition(S.DELIVERED, _staff, FETCHED),
    (S.READY, Act.CANCEL): Transition(
        S.CANCELLED, _by(Actor.CONSUMER, Actor.MERCHANT, Actor.ADMIN), guard=_nobody_fetches_it
    ),
    (S.READY, Act.REFUND): Transition(S.READY, _refunders),
    (S.PICKED_UP, Act.DELIVER): Transition(S.DELIVERED, _by(Actor.RIDER), DELIVERED_BY_RIDER),
    (S.PICKED_UP, Act.CANCEL): Transition(S.CANCELLED, _by(Actor.ADMIN)),
    (S.PICKED_UP, Act.REFUND): Transition(S.PICKED_UP, _refunders),
    (S.DELIVERED, Act.COMPLETE): Transition(S.COMPLETED, _by(Actor.CONSUMER, Actor.SYSTEM)),
    (S.DELIVERED, Act.REFUND): Transition(S.DELIVERED, _refunders),
    (S.COMPLETED, Act.REFUND): Transition(S.COMPLETED, _refunders),
}
"""(state, action) → what follows. A pair that is absent is not possible."""

CLOSED: Final = frozenset({S.REJECTED, S.CANCELLED, S.EXPIRED})
"""Final states of an order that did not happen: everything captured is refunded."""

ON_STORE_BOARD: Final = frozenset({S.PAID, S.ACCEPTED, S.PREPARING, S.READY, S.PICKED_UP})
"""States in which an order is on its store's board."""


def possible(order: OrderRecord, action: OrderAction, actor: Actor) -> Transition | None:
    """The transition ``actor`` may make now by ``action``, or None."""
    transition = TRANSITIONS.get((order.state, action))
    if transition is None or actor not in transition.actors or order.mode not in transition.modes:
        return None
    return transition if transition.guard is None or transition.guard(order, actor) else None


def available_actions(order: OrderRecord, actor: Actor) -> list[OrderAction]:
    """What ``actor`` may do to the order now, in the order of the enum."""
    return [action for action in OrderAction if possible(order, action, actor) is not None]


def require(order: OrderRecord, action: OrderAction, actor: Actor) -> Transition:
    """The transition, or OrderActionNotAllowed with what would be possible instead."""
    transition = possible(order, action, actor)
    if transition is None:
        raise OrderActionNotAllowed(
            order=order.id, state=order.state, action=action, available_actions=available_actions(order, actor)
        )
    return transition


ACTORS_LOOK_AT: Final = ("consumer_id", "paid_at", "store_id", "city_id")
"""What :func:`actor_of` looks at, besides the delivery."""


def actor_of(order: OrderRecord, principal: Principal) -> Actor | None:
    """As whom ``principal`` may look at and act on the order; None when it is none of the principal's business."""
    match principal.view:
        case View.CONSUMER:
            return Actor.CONSUMER if order.consumer_id == principal.subject else None
        case View.MERCHANT | View.DEVICE:
            seen = order.paid_at is not None and principal.works_at(order.store_id)
            return Actor.MERCHANT if seen else None
        case View.RIDER:
            rider_id = order.delivery.rider_id if order.delivery is not None else None
            return Actor.RIDER if rider_id is not None and rider_id == principal.rider_id else None
        case View.ADMIN:
            return Actor.ADMIN if principal.administers(order.city_id) else None
        case View.PARTNER:
            return None
