"""Portions of buckets that a process has taken in advance, so that the usual operation asks nobody.

What is in a lease was taken from the shared bucket before: spending it needs no call, and all processes together
never spend more than the bucket gave. There is one lease per process and caller, of at most ``1 / SHARE`` of the
bucket's size. Over a stretch of time a caller can therefore spend what was in the bucket, what came back meanwhile, and
what lay in the leases at its start. It may be refused while other processes hold leases of its, which these bring back
after LASTS seconds. A process that dies takes its leases with it: that much is missing until the bucket has filled up
again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.throttle import Rate

SHARE: Final = 20
"""A lease is at most this part of a bucket."""
LASTS: Final = 2.0
"""Seconds that a lease is spent from. After that what is left goes back."""


@dataclass(slots=True)
class _Lease:
    rate: Rate
    points: int
    until: float


class Leases:
    """The leases of this process, by the key of the bucket."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._held: dict[str, _Lease] = {}

    def __len__(self) -> int:
        return len(self._held)

    @staticmethod
    def most(rate: Rate) -> int:
        """Points of the largest lease."""
        return rate.max_available // SHARE

    def spend(self, key: str, points: int) -> bool:
        """Take points from the lease, if they are there."""
        lease = self._held.get(key)
        if lease is None or lease.points < points or lease.until <= self._now():
            return False
        lease.points -= points
        return True

    def open(self, key: str, rate: Rate, points: int) -> int:
        """Put what was taken in advance into a new lease, or into the one that is there; what does not fit."""
        lease = self._held.get(key)
        if lease is None:
            lease = self._held[key] = _Lease(rate, 0, self._now() + LASTS)
        return self._fill(lease, points)

    def give(self, key: str, points: int) -> int:
        """Put back what was not used; what does not fit, because the lease is full, over or not there."""
        lease = self._held.get(key)
        return points if lease is None or lease.until <= self._now() else self._fill(lease, points)

    def left(self, key: str) -> int:
        """What is in the lease."""
        lease = self._held.get(key)
        return 0 if lease is None else lease.points

    def end(self, key: str) -> int:
        """End the lease: what was left."""
        lease = self._held.pop(key, None)
        return 0 if lease is None else lease.points

    def end_old(self, *, everything: bool = False) -> list[tuple[str, Rate, int]]:
        """End the leases that are over: ``(key, rate, what was left)`` of each."""
        now = self._now()
        over = [(key, lease) for key, lease in self._held.items() if everything or lease.until <= now]
        return [(key, lease.rate, self.end(key)) for key, lease in over]

    def _fill(self, lease: _Lease, points: int) -> int:
        added = min(points, self.most(lease.rate) - lease.points)
        lease.points += added
        return points - added
