"""The day's books: what happened to every order and every rider in simulated time, and what went wrong."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from replay.day import OrderPlan

if TYPE_CHECKING:
    from replay.feeds import LocationFeed, OrderFeed


class Outcome(StrEnum):
    """How an order ended."""

    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    """Nobody came to deliver it in time, and everything paid was given back."""
    FAILED = "failed"


@dataclass(slots=True)
class OrderRun:
    """One order as it was played; instants are simulated minutes, None for what has not happened."""

    plan: OrderPlan
    id: str | None = None
    total: int = 0
    state: str = "PLANNED"
    refunded: int = 0
    outcome: Outcome | None = None
    reason: str = ""
    cancelled_by: str = ""
    rider: str | None = None
    paid: float | None = None
    accepted: float | None = None
    assigned: float | None = None
    at_store: float | None = None
    ready: float | None = None
    picked_up: float | None = None
    delivered: float | None = None
    ready_told: bool = False
    rider_waits: bool = False
    feed: OrderFeed | None = None
    location: LocationFeed | None = None
    wallet_seconds: float = 0.0

    def fail(self, reason: str) -> None:
        """Note the first reason why the order cannot go on."""
        self.reason = self.reason or reason

    @property
    def click_to_door(self) -> float | None:
        return None if self.delivered is None else self.delivered - self.plan.placed

    @property
    def ready_to_pickup(self) -> float | None:
        return None if self.picked_up is None else self.picked_up - self.plan.ready


@dataclass(slots=True)
class RiderRun:
    """One rider's day: when on duty, and when busy, in simulated minutes."""

    name: str
    on: float
    off: float
    busy: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    offers: int = 0
    declined: int = 0
    missed: int = 0


@dataclass(slots=True)
class Tally:
    """Everything that is counted while the day is played."""

    orders: list[OrderRun] = field(default_factory=list[OrderRun])
    riders: list[RiderRun] = field(default_factory=list[RiderRun])
    failures: Counter[str] = field(default_factory=Counter[str])
    not_seen: Counter[str] = field(default_factory=Counter[str])
    fixes_accepted: int = 0
    fixes_ignored: int = 0
    offers_while_offline: int = 0
    setup_seconds: float = 0.0
    playing_seconds: float = 0.0
    checking_seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def fail(self, reason: str) -> None:
        self.failures[reason[:200]] += 1

    def unseen(self, what: str) -> None:
        """A subscription did not deliver in time what it owed."""
        self.not_seen[what] += 1

    @property
    def finished(self) -> int:
        return sum(1 for run in self.orders if run.outcome is not None)

    def count(self, outcome: Outcome) -> int:
        return sum(1 for run in self.orders if run.outcome is outcome)

    def by_state(self) -> Counter[str]:
        return Counter(run.state for run in self.orders)
