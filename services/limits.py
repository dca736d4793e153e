"""How often something may be done, counted in the database, so that it holds for all processes and after a restart.

A count begins with the first use and starts over when its period has passed. What is counted (phones, addresses,
installations) is kept as a keyed hash only.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from core.clock import wall_now
from models.database import Connection, Database
from services.runtime import Runtime

T = TypeVar("T")

DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``most`` uses of ``id`` in ``period``, in wall time. ``scope`` says what for."""

    scope: str
    id: str
    most: int
    period: timedelta = DAY


def seconds_until(end: datetime) -> int:
    """Whole seconds of wall time until a limit that is exhausted starts over; at least one."""
    return max(1, math.ceil((end - wall_now()).total_seconds()))


def limit(runtime: Runtime, name: str, scope: str, subject: str, most: int) -> Limit:
    """``most`` uses of ``name`` in a day by one ``subject``, which is a ``scope``: a phone, for example."""
    digest = hmac.digest(runtime.keys.derive("limits"), f"{scope}\n{subject}".encode(), "sha256").hex()
    return Limit(scope, f"{name}:{digest}", most)


def network(address: str) -> str | None:
    """What one subscriber has of the internet: an IPv4 address or an IPv6 /64. None for addresses of private networks.

    Those are of proxies that HUTONG_TRUSTED_PROXIES does not name: all callers would share their count.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    if not ip.is_global:
        return None
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))


async def take(sql: Connection, limits: Sequence[Limit]) -> tuple[Limit, datetime] | None:
    """Use each limit once, in this transaction. The first that is exhausted and when it starts over, or None.

    Callers that take several take them in the same order, or they wait for each other for ever.
    """
    now = wall_now()
    for one in limits:
        taken = await sql.fetchval(
            """INSERT INTO rate_limit AS l (id, count, ends_at) VALUES ($1, 1, $3)
               ON CONFLICT (id) DO UPDATE SET
                   count = CASE WHEN l.ends_at <= $2 THEN 1 ELSE l.count + 1 END,
                   ends_at = CASE WHEN l.ends_at <= $2 THEN excluded.ends_at ELSE l.ends_at END
               WHERE l.ends_at <= $2 OR l.count < $4 RETURNING 1""",
            one.id,
            now,
            now + one.period,
            one.most,
        )
        if taken is None:
            return one, await sql.fetchval("SELECT ends_at FROM rate_limit WHERE id = $1", one.id)
    return None


async def give_back(database: Database, limits: Sequence[Limit]) -> None:
    """Undo one use of each: it turned out not to count."""
    await database.execute(
        "UPDATE rate_limit SET count = count - 1 WHERE id = ANY($1::text[]) AND count > 0", [one.id for one in limits]
    )


@dataclass(eq=False)
class Exhausted(Exception):
    """``limit`` allows nothing more until ``ends_at``, in wall time."""

    limit: Limit
    ends_at: datetime


async def guarded(
    database: Database, limits: Sequence[Limit], ask: Callable[[], Awaitable[T]], counts: type[Exception]
) -> T:
    """What ``ask`` gives. Where it raises ``counts``, that is one use of each limit. Raises Exhausted.

    Counted before and given back after, so that what is tried at the same moment counts too.
    """
    if not limits:
        return await ask()
    async with database.transaction() as sql:
        exhausted = await take(sql, limits)
        if exhausted is not None:
            raise Exhausted(*exhausted)
    try:
        given = await ask()
    except counts:
        raise
    except BaseException:
        await give_back(database, limits)
        raise
    await give_back(database, limits)
    return given
