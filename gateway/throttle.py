"""How much a caller may ask for: a leaky bucket of cost points per caller, shared by all processes through Redis.

A bucket holds up to ``max_available`` points and is filled up by ``restore_rate`` points a second. An operation takes
what it may cost before it is executed and gets back what it did not cost; it is refused when that is not there. Events
of subscriptions are paid for after they were delivered, so that a bucket may be overdrawn by them, never by more than
its size. The caller is the person in a view, or the partner or device; who is not signed in is told by the address.

With Redis each process takes points in advance (:mod:`gateway.leases`), so that most operations need no call.

Without Redis, and while Redis is away, buckets are those of this process: then each process gives the whole rate, and
goes on from what it last heard of the others. Nobody gets an error because of Redis.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

from auth.principals import Principal, PrincipalKind
from clients.redis import AWAY, connect
from core import logs
from core.settings import Settings
from gateway import metrics
from gateway.leases import Leases
from gateway.limits import too_large
from gateway.refusals import THROTTLED, Refused, refuse

log = logs.get(__name__)

MAX_BUCKETS: Final = 100_000
"""Callers that one process remembers, those who asked last."""
FLUSHED_EVERY: Final = 1.0
"""Seconds between two settlements of delivered events, and of refunds with Redis."""
_TIMEOUT: Final = 0.25
"""Seconds that an answer of Redis may take: every request waits for it."""
_LEFT_ALONE: Final = 1.0
"""Seconds for which Redis is not asked again after it failed."""
_AT_ONCE: Final = 50
"""Calls of Redis, each on a connection of its own; others wait for their turn."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Points: at most so many at once, and so many more a second."""

    max_available: int
    restore_rate: int


DEFAULT_RATES: Final = {
    PrincipalKind.ANONYMOUS: Rate(40_000, 4_000),
    PrincipalKind.CONSUMER: Rate(20_000, 1_000),
    PrincipalKind.MERCHANT: Rate(40_000, 2_000),
    PrincipalKind.RIDER: Rate(20_000, 1_000),
    PrincipalKind.ADMIN: Rate(60_000, 3_000),
    PrincipalKind.PARTNER: Rate(40_000, 2_000),
    PrincipalKind.DEVICE: Rate(20_000, 1_000),
}


class Charge:
    """What one operation has taken from its caller's bucket, and what is left in that."""

    __slots__ = ("actual", "available", "key", "rate", "requested")

    def __init__(self, key: str, rate: Rate, requested: int, available: float) -> None:
        self.key = key
        self.rate = rate
        self.requested = requested
        self.actual = requested
        self.available = available

    def told(self) -> dict[str, Any]:
        """``extensions.cost`` of the answer."""
        return {
            "requested": self.requested,
            "actual": self.actual,
            "throttle": {
                "max": self.rate.max_available,
                "available": math.floor(self.available),
                "restoreRate": self.rate.restore_rate,
            },
        }


class Meter:
    """Adds up what the events of one caller cost, until the throttle takes it from the bucket."""

    __slots__ = ("_note", "key", "points", "rate")

    def __init__(self, key: str, rate: Rate, note: Callable[[Meter], None]) -> None:
        self.key = key
        self.rate = rate
        self.points = 0
        self._note = note

    def add(self, points: int) -> None:
        """An event was delivered, which cost something."""
        if not self.points:
            self._note(self)
        self.points += points


class Buckets(Protocol):
    """Where the levels of the buckets are."""

    def spend(self, key: str, points: int) -> bool:
        """Take points that this process has already taken in advance, if there are as many."""
        ...

    async def take(self, key: str, rate: Rate, points: int) -> tuple[bool, float] | None:
        """``(whether they were there, what is there now)``; None when nobody knows."""
        ...

    def give(self, key: str, rate: Rate, points: int) -> None:
        """Put points back; with a negative number take them, whether they are there or not."""
        ...

    async def flush(self) -> bool:
        """Settle what was put back; whether there is more to be settled later."""
        ...

    async def close(self) -> None: ...


class LocalBuckets:
    """Buckets of this process. One that was forgotten is full."""

    def __init__(self, now: Callable[[], float] = time.monotonic, most: int = MAX_BUCKETS) -> None:
        self._now = now
        self._most = most
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: str, rate: Rate, points: int) -> tuple[bool, float]:
        """``(whether they were there, what is there now)``."""
        available = self._level(key, rate)
        enough = points <= available
        if enough:
            available -= points
        self.put(key, available)
        return enough, available

    def give(self, key: str, rate: Rate, points: int) -> float:
        """See :meth:`Buckets.give`; what is there now."""
        available = _within(rate, self._level(key, rate) + points)
        self.put(key, available)
        return available

    def put(self, key: str, available: float) -> None:
        """Set the level."""
        self._levels[key] = (available, self._now())
        self._levels.move_to_end(key)
        if len(self._levels) > self._most:
            self._levels.popitem(last=False)

    def _level(self, key: str, rate: Rate) -> float:
        known = self._levels.get(key)
        if known is None:
            return float(rate.max_available)
        available, at = known
        return min(float(rate.max_available), available + (self._now() - at) * rate.restore_rate)


def _within(rate: Rate, available: float) -> float:
    return max(-float(rate.max_available), min(float(rate.max_available), available))


# A bucket is a hash: what was there (a), and when, by the clock of Redis (t). What it gets back comes with it. At most
# an eighth of what is left is leased, so that a bucket that is nearly empty is shared exactly.
_BUCKET: Final = """
local now = redis.call('TIME')
local t = now[1] + now[2] / 1000000
local max, rate, cost, back = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local wanted = tonumber(ARGV[5])
local known = redis.call('HMGET', KEYS[1], 'a', 't')
local a = max
if known[1] then
    a = math.min(max, tonumber(known[1]) + math.max(0, t - tonumber(known[2])) * rate)
end
a = math.max(-max, math.min(max, a + back))
local enough, lease = 0, 0
if cost <= a then
    a = a - cost
    enough = 1
    lease = math.min(wanted, math.floor(a / 8))
    a = a - lease
end
redis.call('HSET', KEYS[1], 'a', string.format('%.17g', a), 't', string.format('%.17g', t))
redis.call('EXPIRE', KEYS[1], math.ceil((max - a) / rate) + 1)
return {enough, string.format('%.17g', a), lease}
"""


class RedisBuckets:
    """:class:`Buckets` in Redis. What is given back travels with the next taking, or with :meth:`flush`."""

    def __init__(self, url: str, leases: Leases | None = None) -> None:
        self._redis = connect(url, _TIMEOUT)
        self._script: Any = self._redis.register_script(_BUCKET)
        self._leases = Leases(time.monotonic) if leases is None else leases
        self._leasing: set[str] = set()
        """Buckets of which a lease is being asked for."""
        self._owed: dict[str, tuple[Rate, int]] = {}
        self._asked_again_at = 0.0
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def spend(self, key: str, points: int) -> bool:
        return self._leases.spend(key, points)

    async def take(self, key: str, rate: Rate, points: int) -> tuple[bool, float] | None:
        if self._is_away:
            self._leases.end(key)
            return None
        _, back = self._owed.pop(key, (rate, 0))
        back += self._leases.end(key)
        most = self._leases.most(rate)
        # What was on its way when Redis failed is not tried again: it may have arrived.
        if points > most or key in self._leasing:
            return await self._ask(self._run, key, rate, points, back, 0)
        self._leasing.add(key)
        try:
            return await self._ask(self._run, key, rate, points, back, most)
        finally:
            self._leasing.discard(key)

    def give(self, key: str, rate: Rate, points: int) -> None:
        self._owe(key, rate, self._leases.give(key, points) if points > 0 else points)

    async def flush(self) -> bool:
        """Bring what is owed, and what is left of leases that are over; whether there are others."""
        await self._bring(self._leases.end_old())
        return len(self._leases) > 0

    async def close(self) -> None:
        await self._bring(self._leases.end_old(everything=True))
        with suppress(*AWAY):
            await self._redis.aclose()

    async def _bring(self, left: list[tuple[str, Rate, int]]) -> None:
        for key, rate, points in left:
            self._owe(key, rate, points)
        owed, self._owed = self._owed, {}
        if owed:
            await self._ask(self._settle, owed)

    async def _run(self, key: str, rate: Rate, points: int, back: int, wanted: int) -> tuple[bool, float]:
        enough, available, leased = await self._call(key, rate, points, back, wanted)
        if leased:
            self._owe(key, rate, self._leases.open(key, rate, leased))
        return enough, available + self._leases.left(key)

    async def _call(self, key: str, rate: Rate, points: int, back: int, wanted: int) -> tuple[bool, float, int]:
        enough, available, leased = await self._script(
            keys=[f"hutong:cost:{key}"], args=[rate.max_available, rate.restore_rate, points, back, wanted]
        )
        return enough == 1, float(available), leased

    def _owe(self, key: str, rate: Rate, points: int) -> None:
        if points:
            self._owed[key] = (rate, self._owed.get(key, (rate, 0))[1] + points)

    async def _settle(self, owed: dict[str, tuple[Rate, int]]) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key, (rate, points) in owed.items():
                await self._script(
                    keys=[f"hutong:cost:{key}"],
                    args=[rate.max_available, rate.restore_rate, 0, points, 0],
                    client=pipeline,
                )
            await pipeline.execute()

    @property
    def _is_away(self) -> bool:
        return time.monotonic() < self._asked_again_at

    async def _ask(self, question: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """What the call gives, or None: Redis is away."""
        async with self._turns:
            if self._is_away:
                return None
            try:
                return await question(*args)
            except AWAY as error:
                log.warning("throttle.unavailable", error=repr(error))
                self._asked_again_at = time.monotonic() + _LEFT_ALONE
                return None


class Throttle:
    """The buckets of all callers."""

    def __init__(self, settings: Settings, local: LocalBuckets | None = None) -> None:
        self._rates = rates_of(settings)
        self._local = LocalBuckets() if local is None else local
        self._shared: Buckets | None = None
        self._metered: list[Meter] = []
        self._flushing: asyncio.Task[None] | None = None

    def share(self, buckets: Buckets) -> None:
        """Keep the levels there, and in this process only while they are not to be had."""
        self._shared = buckets

    async def take(self, principal: Principal, address: str, points: int, *, exact: bool = False) -> Charge:
        """Take what an operation may cost. Raises Refused: it is more than there ever is, or than there is now.

        ``exact``: ask how much there is, also if that is not necessary.
        """
        rate = self._rates[principal.kind]
        key = key_of(principal, address)
        if points > rate.max_available:
            raise too_large("COST_LIMIT_EXCEEDED", "points of cost", rate.max_available, points)
        if self._shared is not None and not exact and self._shared.spend(key, points):
            # Here the level is what the shared bucket had last, together with the lease.
            return Charge(key, rate, points, self._local.give(key, rate, -points))
        found: tuple[bool, float] | None = None
        if self._shared is not None:
            found = await self._shared.take(key, rate, points)
            self._flush_soon()
        if found is None:
            found = self._local.take(key, rate, points)
        else:
            self._local.put(key, found[1])
        enough, available = found
        if not enough:
            raise _throttled(rate, points, available)
        return Charge(key, rate, points, available)

    def settle(self, charge: Charge, actual: int) -> None:
        """Give back what the operation did not cost, or take what it cost beyond its estimate."""
        charge.actual = actual
        back = charge.requested - actual
        if back:
            self._give(charge.key, charge.rate, back)
            charge.available = _within(charge.rate, charge.available + back)

    def meter(self, principal: Principal, address: str) -> Meter:
        """Where to count what the caller's events cost."""
        return Meter(key_of(principal, address), self._rates[principal.kind], self._note)

    def _give(self, key: str, rate: Rate, points: int) -> None:
        self._local.give(key, rate, points)
        if self._shared is not None:
            self._shared.give(key, rate, points)
            self._flush_soon()

    def _note(self, meter: Meter) -> None:
        self._metered.append(meter)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_later())

    async def _flush_later(self) -> None:
        await asyncio.sleep(FLUSHED_EVERY)
        self._flushing = None
        if await self.flush():
            self._flush_soon()

    async def flush(self) -> bool:
        """Take what delivered events cost, and bring Redis up to date; whether there is more to be brought later."""
        metered, self._metered = self._metered, []
        for meter in metered:
            points, meter.points = meter.points, 0
            metrics.EVENT_POINTS.inc(points)
            self._local.give(meter.key, meter.rate, -points)
            if self._shared is not None:
                self._shared.give(meter.key, meter.rate, -points)
        return self._shared is not None and await self._shared.flush()

    async def close(self) -> None:
        """Flush a last time."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        await self.flush()
        if self._shared is not None:
            await self._shared.close()


def rates_of(settings: Settings) -> dict[PrincipalKind, Rate]:
    """The rate of each kind of caller."""
    return {
        kind: Rate(
            settings.cost_available.get(kind.value, rate.max_available),
            settings.cost_restore_rate.get(kind.value, rate.restore_rate),
        )
        for kind, rate in DEFAULT_RATES.items()
    }


def key_of(principal: Principal, address: str) -> str:
    """Name of the caller's bucket."""
    if principal.subject is None:
        return f"{principal.view}:{_network(address)}"
    return f"{principal.view}:{principal.subject.int:032x}"


@lru_cache(maxsize=10_000)
def _network(address: str) -> str:
    """The address; of IPv6 the network of 64 bits, of which one caller has all addresses."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return str(parsed)


def _throttled(rate: Rate, points: int, available: float) -> Refused:
    wait = max(1, math.ceil((points - available) / rate.restore_rate))
    return refuse(
        THROTTLED,
        f"Too much at once: this costs {points} points, {math.floor(available)} are available. Try again in {wait} s.",
        429,
        cost=points,
        available=math.floor(available),
        max=rate.max_available,
        restoreRate=rate.restore_rate,
        retryAfter=wait,
    )
