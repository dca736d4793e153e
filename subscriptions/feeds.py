"""The event log: append-only feeds with gapless offsets, written in the transaction of the change.

A feed is named ``kind:key``. Events of one transaction are appended in one call as its last statement; the head
rows they lock are held until commit, so offsets are in commit order and a cursor never skips. A signal after the
commit brings the event along, to save its readers the reading: losing it delays an event until the next signal or
head check, and loses nothing.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, cast
from uuid import UUID

import orjson

from models.database import Connection, Database


class Policy(StrEnum):
    """What a subscriber of the feed is owed."""

    LOSSLESS = "LOSSLESS"
    """Every event, in order."""
    COALESCED = "COALESCED"
    """The newest state after any change; intermediate ones may be skipped."""
    LATEST = "LATEST"
    """The newest value; it is not in the log."""


@dataclass(frozen=True, slots=True)
class FeedKind:
    """``logged`` feeds are in the event log; others are carried by signals alone.

    ``events``: every type of event that it carries, none for a feed that is not logged. Who may read a feed, and
    what of it, is declared beside it in :data:`services.feeds.FEEDS`.
    """

    name: str
    policy: Policy
    logged: bool
    events: frozenset[str] = frozenset()

    def of(self, key: UUID) -> str:
        return f"{self.name}:{key}"


_RIDDEN: Final = frozenset(
    {
        "delivery.offered", "delivery.declined", "delivery.offer_expired", "delivery.assigned", "delivery.at_store",
        "order.preparing", "order.ready", "order.picked_up", "order.delivered", "order.completed", "order.cancelled",
        "order.refund_started", "order.refunded",
    }
)  # fmt: skip
_PAID: Final = _RIDDEN | {"order.paid", "order.accepted", "order.rejected", "order.expired", "order.handed_over"}

ORDER: Final = FeedKind("order", Policy.LOSSLESS, True, _PAID | {"order.placed"})
"""One order; the offset is the order's version."""
STORE_ORDERS: Final = FeedKind("store", Policy.LOSSLESS, True, _PAID)
"""All orders of a store from payment on."""
RIDER_TASKS: Final = FeedKind("rider", Policy.LOSSLESS, True, _RIDDEN)
"""Offers to and deliveries of one rider."""
QUEUE: Final = FeedKind(
    "queue",
    Policy.COALESCED,
    True,
    frozenset(
        {
            "queue.opened", "queue.closed", "ticket.taken", "ticket.called", "ticket.seated", "ticket.skipped",
            "ticket.requeued", "ticket.moved", "ticket.cancelled", "ticket.expired",
        }
    ),
)  # fmt: skip
"""The queue of one store."""
RIDER_LOCATION: Final = FeedKind("location", Policy.LATEST, False)
"""Where the rider of an order is, keyed by order."""
CITY: Final = FeedKind("city", Policy.COALESCED, False)
"""Live figures and map of a city."""
ACCESS: Final = FeedKind("access", Policy.LATEST, False)
"""Grants or sessions of a person or client have changed, keyed by either. Read by the program only."""
DEVICE_COMMANDS: Final = FeedKind(
    "device",
    Policy.LOSSLESS,
    True,
    frozenset(
        {
            "command.queued", "command.acknowledged", "command.failed", "command.expired", "command.cancelled",
        }
    ),
)  # fmt: skip
"""Commands to one device."""
STORE_DEVICES: Final = FeedKind("devices", Policy.COALESCED, False)
"""How the devices of a store are doing, keyed by store."""

KINDS: Final = {
    kind.name: kind
    for kind in (
        ORDER, STORE_ORDERS, RIDER_TASKS, QUEUE, RIDER_LOCATION, CITY, ACCESS, DEVICE_COMMANDS, STORE_DEVICES,
    )
}  # fmt: skip


def kind_of(feed: str) -> FeedKind:
    """The kind of the feed of that name. Raises KeyError."""
    return KINDS[feed.partition(":")[0]]


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append. The payload is stored under ``feeds[0]``; the other feeds refer to it."""

    feeds: tuple[str, ...]
    type: str
    at: datetime
    payload: dict[str, Any]


@dataclass(slots=True)
class Event:
    """One logged event as read from ``feed``; nobody changes it. (A frozen one takes three times as long to make.)"""

    feed: str
    offset: int
    type: str
    at: datetime
    text: str
    """The payload as JSON."""
    _payload: dict[str, Any] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def payload(self) -> dict[str, Any]:
        """What happened; decoded when it is asked for, once."""
        payload = self._payload
        if payload is None:
            payload = self._payload = orjson.loads(self.text)
        return payload


@dataclass(slots=True)
class Carried:
    """An event as its signals bring it along, one for all its feeds: what ``log`` (:func:`tops`) has of it."""

    log: str
    type: str
    at: datetime
    text: str

    def of(self, feed: str, offset: int) -> Event:
        """The event as it is read from ``feed``."""
        return Event(feed, offset, self.type, self.at, self.text)


CARRIED: Final = 16_384
"""Characters of a payload that a signal carries; a longer one is read from the log."""


@dataclass(slots=True)
class Signal:
    """ "Something happened"; nobody changes it.

    For a logged feed it says the new top, and may carry the event there; for the others it may have a value.
    """

    feed: str
    offset: int | None = None
    value: dict[str, Any] | None = None
    event: Carried | None = None


_LOG: Final = "(SELECT epoch || '@' || extract(epoch FROM pg_postmaster_start_time()) FROM feed_epoch)"
"""The epoch, and which run of which server keeps it, as text."""


async def append(connection: Connection, events: Sequence[NewEvent]) -> list[Signal]:
    """Append ``events`` inside the caller's transaction; returns the signals to publish after its commit, in order.

    Must be the last statement but the commit: it locks feed heads that other transactions wait for.
    """
    body = orjson.dumps(
        [{"feeds": e.feeds, "type": e.type, "at": e.at, "payload": e.payload} for e in events],
        default=str,  # asyncpg's own UUID class
    ).decode()
    # What is signalled is the payload as the log will have it, so that nobody can tell from where an event was read.
    rows = await connection.fetch(
        f"""WITH appended AS MATERIALIZED (SELECT * FROM feed_append($1))
            SELECT a.event, a.feed_name, a.feed_offset, {_LOG},
                   CASE WHEN a.feed_name = given.event -> 'feeds' ->> 0 THEN (given.event -> 'payload')::text END
            FROM appended a JOIN jsonb_array_elements($1) WITH ORDINALITY AS given(event, place) ON place = a.event + 1
            ORDER BY a.event, a.feed_name <> given.event -> 'feeds' ->> 0""",
        body,
    )
    signals: list[Signal] = []
    carried: Carried | None = None
    for number, feed, offset, log, payload in cast("Sequence[tuple[int, str, int, str, str | None]]", rows):
        if payload is not None:
            event = events[number]
            short = len(payload) <= CARRIED
            carried = Carried(log, event.type, event.at.astimezone(UTC), payload) if short else None
        signals.append(Signal(feed, offset, None, carried))
    return signals


async def read(database: Database, feed: str, after: int, limit: int = 500) -> list[Event]:
    """Events of ``feed`` with offsets above ``after``, in order, at most ``limit``."""
    rows = await database.fetch(
        """SELECT e."offset", e.type, e.at, coalesce(e.payload, p.payload) AS payload
           FROM feed_event e LEFT JOIN feed_event p ON p.feed = e.ref_feed AND p."offset" = e.ref_offset
           WHERE e.feed = $1 AND e."offset" > $2 ORDER BY e."offset" LIMIT $3""",
        feed,
        after,
        limit,
    )
    return [Event(feed, *row) for row in rows]


@dataclass(frozen=True, slots=True)
class Page:
    """What the log said, in one statement, about one position of one feed: its own name, the top, what follows."""

    log: str
    top: int
    events: list[Event]

    @property
    def epoch(self) -> str:
        return epoch_of(self.log)

    def skips(self, after: int) -> bool:
        """Whether events between ``after`` and the end of this page are gone from the log."""
        if not self.events:
            return self.top > after
        return self.events[-1].offset != after + len(self.events)


async def read_pages(
    database: Database, positions: Sequence[tuple[str, int]], limit: int = 200
) -> dict[tuple[str, int], Page]:
    """For each (feed, offset): the events above the offset, in order, at most ``limit``; one statement for all."""
    rows = await database.fetch(
        f"""SELECT w.feed, w.after, {_LOG} AS log, coalesce(h.top, 0) AS top, e."offset", e.type, e.at, e.payload
           FROM unnest($1::text[], $2::bigint[]) AS w(feed, after)
           LEFT JOIN feed_head h ON h.feed = w.feed
           LEFT JOIN LATERAL (
               SELECT o."offset", o.type, o.at, coalesce(o.payload, p.payload) AS payload
               FROM feed_event o LEFT JOIN feed_event p ON p.feed = o.ref_feed AND p."offset" = o.ref_offset
               WHERE o.feed = w.feed AND o."offset" > w.after ORDER BY o."offset" LIMIT $3
           ) e ON true
           ORDER BY w.feed, w.after, e."offset"
        """,
        [feed for feed, _ in positions],
        [after for _, after in positions],
        limit,
    )
    pages: dict[tuple[str, int], Page] = {}
    for feed, after, log, top, offset, type, at, payload in rows:
        page = pages.get((feed, after))
        if page is None:
            page = pages[feed, after] = Page(log, top, [])
        if payload is not None:
            page.events.append(Event(feed, offset, type, at, payload))
    return pages


async def tops(database: Database, names: Sequence[str]) -> tuple[str, dict[str, int]]:
    """The log, and the offset of the newest event of each feed; a feed without events is absent.

    The log's name is its epoch, ``@``, and a mark of the server's run: another one after a restart, and on a server
    that has taken over. A signal from a log that is not the one that was last read proves nothing.
    """
    rows = await database.fetch(
        f"SELECT {_LOG} AS log, h.feed, h.top FROM feed_epoch LEFT JOIN feed_head h ON h.feed = ANY($1::text[])",
        list(names),
    )
    return rows[0]["log"], {row["feed"]: row["top"] for row in rows if row["feed"] is not None}


def epoch_of(log: str) -> str:
    """The epoch in the name of a log."""
    return log.partition("@")[0]


async def epoch(database: Database) -> str:
    """Name of this log's history; another one (a restored backup, a new database) makes all cursors invalid."""
    return await database.fetchval("SELECT epoch FROM feed_epoch")


async def begin_epoch(database: Database) -> str:
    """Make all cursors invalid, as after restoring an older state; the new epoch."""
    return await database.fetchval(
        "UPDATE feed_epoch SET epoch = substr(replace(gen_random_uuid()::text, '-', ''), 1, 12) RETURNING epoch"
    )


async def forget_before(database: Database, cutoff: datetime, *, batch: int = 5000, pause: float = 0.05) -> int:
    """Drop events older than ``cutoff``; the number dropped. Heads stay, so offsets go on.

    At most ``batch`` rows per transaction, with ``pause`` seconds between two. A feed that is read meanwhile seems
    truncated. References go before what they refer to, so that none is ever without it.
    """
    dropped = 0
    for references in (True, False):
        last: tuple[str, int] = ("", 0)
        while True:
            row = await database.fetchrow(
                """WITH old AS MATERIALIZED (
                       SELECT feed, "offset" FROM feed_event
                       WHERE (feed, "offset") > ($2, $3) AND at < $1 AND (ref_feed IS NOT NULL) = $4
                       ORDER BY feed, "offset" LIMIT $5
                   ), gone AS (
                       DELETE FROM feed_event e USING old WHERE e.feed = old.feed AND e."offset" = old."offset"
                   )
                   SELECT feed, "offset", count(*) OVER () AS total FROM old
                   ORDER BY feed DESC, "offset" DESC LIMIT 1""",
                cutoff,
                *last,
                references,
                batch,
            )
            if row is None:
                break
            dropped += row["total"]
            last = (row["feed"], row["offset"])
            if row["total"] < batch:
                break
            await asyncio.sleep(pause)
    return dropped


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a feed. Clients hold it as opaque text, here ``epoch.offset.tag``.

    The tag is a mark of the feed: a position in another one would skip events silently.
    """

    epoch: str
    offset: int

    def encode(self, feed: str) -> str:
        """The text of it in ``feed``."""
        return cursor_text(self.epoch, self.offset, tag_of(feed))

    @classmethod
    def decode(cls, text: str, feed: str) -> Cursor | None:
        """None when ``text`` is not a cursor of ours in ``feed``."""
        epoch, _, rest = text.partition(".")
        offset, _, tag = rest.partition(".")
        if not epoch or tag != tag_of(feed) or not _HEXADECIMAL.fullmatch(offset):
            return None
        return cls(epoch, int(offset, 16))


def cursor_text(epoch: str, offset: int, tag: str) -> str:
    """The text of a cursor, without making one; ``tag`` of :func:`tag_of`."""
    return f"{epoch}.{offset:x}.{tag}"


_HEXADECIMAL: Final = re.compile("[0-9a-f]{1,15}")


@lru_cache(maxsize=4096)
def tag_of(feed: str) -> str:
    """The mark of a feed in its cursors."""
    return f"{zlib.crc32(feed.encode()):08x}"
