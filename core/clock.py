"""The one source of domain time.

Business rules never call ``datetime.now``: they ask the clock they were given, so that a replay can run a day
in minutes and a test can stand still. Security lifetimes (tokens, one-time codes) use wall time instead, see
:func:`wall_now`: a city that runs sixty times faster must not log its people out sixty times sooner.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol


def wall_now() -> datetime:
    """Real time in UTC, for security lifetimes and logs only."""
    return datetime.now(UTC)


class Clock(Protocol):
    """Domain time. ``speed`` is domain seconds per real second."""

    @property
    def speed(self) -> float: ...

    def now(self) -> datetime:
        """Domain time, timezone-aware, in UTC."""
        ...

    def real_delay(self, until: datetime) -> timedelta:
        """How long in real time until the domain instant ``until``; zero when it has passed."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """Domain time is real time."""

    speed: float = 1.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def real_delay(self, until: datetime) -> timedelta:
        return max(until - self.now(), timedelta(0))


@dataclass(frozen=True, slots=True)
class ScaledClock:
    """Domain time that starts at ``origin`` and runs ``speed`` times as fast as real time.

    ``real_origin`` is the real instant (seconds since the Unix epoch) at which domain time was ``origin``;
    every process of one installation must be given the same pair.
    """

    origin: datetime
    speed: float
    real_origin: float = field(default_factory=time.time)

    def now(self) -> datetime:
        return self.origin + timedelta(seconds=(time.time() - self.real_origin) * self.speed)

    def real_delay(self, until: datetime) -> timedelta:
        return max((until - self.now()) / self.speed, timedelta(0))


@dataclass(slots=True)
class ManualClock:
    """Stands still until a test moves it."""

    at: datetime
    speed: float = 1.0

    def now(self) -> datetime:
        return self.at

    def advance(self, by: timedelta) -> None:
        self.at += by

    def real_delay(self, until: datetime) -> timedelta:
        return max(until - self.at, timedelta(0))
