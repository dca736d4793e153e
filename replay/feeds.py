"""Subscribers that check what they are sent.

A lossless feed owes every event exactly once and in order. Each subscriber writes down what arrived; at the end of
the day that is compared with the truth: the orders' own event lists, and a second reading of the whole feed from the
first cursor. A coalesced or latest feed owes monotonic updates whose last one is what a query says.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

from replay import operations
from replay.operations import Operation
from replay.sockets import Socket

Handler = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class Verdict:
    """What is wrong with the feeds of one kind; ``owed`` and ``received`` count updates after the snapshot."""

    feeds: int = 0
    owed: int = 0
    received: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    wrong: int = 0
    resumed: int = 0
    resets: int = 0
    read_again: int = 0
    examples: list[str] = field(default_factory=list[str])

    @property
    def good(self) -> bool:
        return not (self.lost or self.duplicated or self.reordered or self.wrong or self.resets)

    def complain(self, text: str) -> None:
        if len(self.examples) < 10:
            self.examples.append(text)


def compare(verdict: Verdict, name: str, owed: list[Any], received: list[Any]) -> None:
    """Count in ``verdict`` how ``received`` differs from ``owed``, a list without repetitions."""
    verdict.owed += len(owed)
    verdict.received += len(received)
    if owed == received:
        return
    rank = {entry: i for i, entry in enumerate(owed)}
    counts = Counter(received)
    lost = [entry for entry in owed if entry not in counts]
    strange = [entry for entry in counts if entry not in rank]
    repeated = sum(count - 1 for count in counts.values())
    firsts = [rank[entry] for entry in dict.fromkeys(received) if entry in rank]
    disorder = sum(1 for before, after in pairwise(firsts) if after < before)
    verdict.lost += len(lost)
    verdict.wrong += len(strange)
    verdict.duplicated += repeated
    verdict.reordered += disorder
    verdict.complain(f"{name}: lost {lost[:5]}, unknown {strange[:5]}, {repeated} repeated, {disorder} out of order")


class Drops:
    """Chooses the seeded moments at which a subscriber loses its connection.

    :param share: chance at every update.
    :param most: no more than this many.
    """

    def __init__(self, seed: int, share: float, most: int | None = None) -> None:
        self._random = Random(f"drops:{seed}")
        self._share = share
        self._most = most

    def now(self) -> bool:
        if self._share <= 0 or self._most == 0 or self._random.random() >= self._share:
            return False
        if self._most is not None:
            self._most -= 1
        return True


class Feed:
    """A subscription that records. ``on_update`` gets every update, snapshots included."""

    kind = ""
    operation: Operation

    def __init__(self, name: str, subject: dict[str, object], on_update: Handler | None = None) -> None:
        self.name = name
        self.subject = subject
        self.on_update = on_update
        self.on_end: Callable[[], None] | None = None
        self.cursor: str | None = None
        self.resumed = 0
        self.resets = 0
        self.over: str | None = None
        self._key = ""
        self._socket: Socket | None = None
        self._drops: Drops | None = None
        self._first: asyncio.Future[None] | None = None

    async def start(self, socket: Socket, drops: Drops | None = None) -> None:
        """Subscribe on the user's socket."""
        self._socket, self._drops = socket, drops
        self._first = asyncio.get_running_loop().create_future()
        self._key = await socket.subscribe(self)

    async def started(self, within: float) -> bool:
        """Wait for the first update; False when there was none in time."""
        assert self._first is not None
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(self._first)
        except TimeoutError:
            return False
        return self.over is None

    async def stop(self) -> None:
        """Unsubscribe."""
        if self._socket is not None:
            await self._socket.unsubscribe(self._key)

    def variables(self) -> dict[str, object]:
        if self.cursor is not None:
            self.resumed += 1
        return {**self.subject, "after": self.cursor}

    def deliver(self, value: dict[str, Any]) -> None:
        self.cursor = value["cursor"]
        if value.get("reset") is not None:
            self.resets += 1
        self.record(value)
        if self._first is not None and not self._first.done():
            self._first.set_result(None)
        if self.on_update is not None:
            self.on_update(value)
        if self._drops is not None and self._socket is not None and self._drops.now():
            self._socket.drop()

    def ended(self, reason: str | None) -> None:
        self.over = reason or "complete"
        if self._first is not None and not self._first.done():
            self._first.set_result(None)
        if self.on_end is not None:
            self.on_end()

    def record(self, value: dict[str, Any]) -> None:
        """Write down one update."""
        raise NotImplementedError

    def summary(self, verdict: Verdict) -> None:
        """Count what every kind has."""
        verdict.feeds += 1
        verdict.resumed += self.resumed
        verdict.resets += self.resets
        if self.over is not None and self.over != "complete":
            verdict.complain(f"{self.name}: ended: {self.over}")


class OrderFeed(Feed):
    """One order, watched by its consumer: versions must follow the snapshot's without a gap."""

    kind = "order"
    operation = operations.ORDER_UPDATES

    def __init__(self, order: str, on_update: Handler | None = None) -> None:
        super().__init__(f"order {order}", {"order": order}, on_update)
        self.snapshot: int | None = None
        self.events: list[tuple[int, str]] = []

    def record(self, value: dict[str, Any]) -> None:
        version = value["order"]["version"]
        if value["kind"] == "SNAPSHOT":
            if self.snapshot is None or value["reset"] is not None:
                self.snapshot = version
        else:
            self.events.append((version, value["type"]))

    def judge(self, truth: list[tuple[int, str]], verdict: Verdict) -> None:
        """``truth``: versions and types of all the order's events."""
        self.summary(verdict)
        since = self.snapshot or 0
        if self.snapshot is None:
            verdict.complain(f"{self.name}: no snapshot")
        compare(verdict, self.name, [entry for entry in truth if entry[0] > since], self.events)


@dataclass(slots=True)
class Arrived:
    """One event of a feed that shows several orders."""

    cursor: str
    entries: list[tuple[str, int, str]]  # order, version, type


class ManyOrdersFeed(Feed):
    """A feed whose events are about several orders."""

    def __init__(self, name: str, subject: dict[str, object], on_update: Handler | None = None) -> None:
        super().__init__(name, subject, on_update)
        self.first_cursor: str | None = None
        self.standing: dict[str, int] = {}
        self.events: list[Arrived] = []
        self.latest: dict[str, int] = {}

    def orders_of(self, value: dict[str, Any]) -> Iterable[dict[str, Any]]:
        """The orders that one update is about."""
        raise NotImplementedError

    def copy(self) -> ManyOrdersFeed:
        """Another subscriber of the same feed."""
        raise NotImplementedError

    def record(self, value: dict[str, Any]) -> None:
        if value["kind"] == "SNAPSHOT":
            if self.first_cursor is None:
                self.first_cursor = value["cursor"]
                self.standing = {order["id"]: order["version"] for order in self.orders_of(value)}
            return
        entries = [(order["id"], order["version"], value["type"]) for order in self.orders_of(value)]
        self.events.append(Arrived(value["cursor"], entries))
        for order, version, _ in entries:
            self.latest[order] = version

    def by_order(self) -> dict[str, list[tuple[int, str]]]:
        """What arrived of each order."""
        found: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for event in self.events:
            for order, version, type in event.entries:
                found[order].append((version, type))
        return found

    def judge_against(self, again: list[Arrived], verdict: Verdict) -> None:
        """Compare with a second reading of the feed from the first cursor."""
        second = Verdict()
        compare(
            second,
            f"{self.name} read again",
            [(event.cursor, *event.entries) for event in again],
            [(event.cursor, *event.entries) for event in self.events],
        )
        # The same event may be missing in both comparisons: it is one loss.
        verdict.lost = max(verdict.lost, second.lost)
        verdict.duplicated = max(verdict.duplicated, second.duplicated)
        verdict.reordered += second.reordered
        verdict.wrong += second.wrong
        verdict.read_again += second.owed
        for example in second.examples:
            verdict.complain(example)


class StoreFeed(ManyOrdersFeed):
    """The board of one store, watched by its staff: every version of its orders from payment on."""

    kind = "store board"
    operation = operations.STORE_BOARD

    def __init__(self, store: str, on_update: Handler | None = None) -> None:
        super().__init__(f"store {store}", {"store": store}, on_update)
        self.store = store

    def copy(self) -> StoreFeed:
        return StoreFeed(self.store)

    def orders_of(self, value: dict[str, Any]) -> Iterable[dict[str, Any]]:
        return value["orders"]

    def judge(self, truth: dict[str, list[tuple[int, str]]], verdict: Verdict) -> None:
        """``truth``: for each order of the store all its events; those before the payment are not owed."""
        self.summary(verdict)
        arrived = self.by_order()
        for order, events in truth.items():
            paid = next((version for version, type in events if type == "order.paid"), None)
            since = self.standing.get(order, paid - 1 if paid is not None else None)
            owed = [] if since is None else [entry for entry in events if entry[0] > since]
            compare(verdict, f"{self.name} {order}", owed, arrived.pop(order, []))
        for order, events in arrived.items():
            compare(verdict, f"{self.name} {order}, unknown", [], events)


class RiderFeed(ManyOrdersFeed):
    """The offers to and deliveries of one rider: every version of an order while it is the rider's."""

    kind = "rider tasks"
    operation = operations.RIDER_TASKS

    def __init__(self, rider: str, on_update: Handler | None = None) -> None:
        super().__init__(f"rider {rider}", {}, on_update)
        self.rider = rider
        self._orders: dict[str, str] = {}
        """Delivery → order: of a task that is gone no more than its id is told."""

    def copy(self) -> RiderFeed:
        again = RiderFeed(self.rider)
        again._orders = self._orders
        return again

    def orders_of(self, value: dict[str, Any]) -> Iterable[dict[str, Any]]:
        self._orders |= {task["id"]: task["order"]["id"] for task in value["tasks"]}
        gone = [{"id": self._orders.get(id, id), "version": 0} for id in value["gone"]]
        return [task["order"] for task in value["tasks"]] + gone

    def record(self, value: dict[str, Any]) -> None:
        super().record(value)
        if value["kind"] == "EVENT":
            # A task shows its order as it is now, which may be later than the event: events are told by their types.
            event = self.events[-1]
            event.entries = [(order, 0, type) for order, _, type in event.entries]

    def judge(self, truth: dict[str, list[tuple[int, str]]], carried: dict[str, str | None], verdict: Verdict) -> None:
        """``truth``: all events of every order; ``carried``: the rider who ended up with each order.

        Of an order that stayed with this rider everything from the last offer on is owed, of another one an unbroken
        run, until it was taken away.
        """
        self.summary(verdict)
        arrived: defaultdict[str, list[str]] = defaultdict(list)
        known: set[str] = set()
        for event in self.events:
            if event.cursor in known:
                verdict.duplicated += 1
                verdict.complain(f"{self.name}: {event.cursor} came twice")
                continue
            known.add(event.cursor)
            for order, _, type in event.entries:
                arrived[order].append(type)
        mine = {order for order, rider in carried.items() if rider == self.rider} - self.standing.keys()
        for order in mine | arrived.keys():
            types = [type for _, type in truth.get(order, [])]
            got = arrived[order]
            owed = _since(types, "delivery.offered") if order in mine else _run_of(types, got)
            compare(verdict, f"{self.name} {order}", numbered(owed), numbered(got))


def numbered(types: list[str]) -> list[tuple[str, int]]:
    """The types, told apart by how often they came before."""
    seen: Counter[str] = Counter()
    entries: list[tuple[str, int]] = []
    for type in types:
        seen[type] += 1
        entries.append((type, seen[type]))
    return entries


def _since(types: list[str], first: str) -> list[str]:
    """From the last ``first`` on."""
    return types[len(types) - 1 - types[::-1].index(first) :] if first in types else types


def _run_of(types: list[str], got: list[str]) -> list[str]:
    """The unbroken run of ``types`` as long as ``got`` that is most like it."""
    starts = range(max(1, len(types) - len(got) + 1))
    runs = [types[start : start + len(got)] for start in starts]
    return max(runs, key=lambda run: sum(a == b for a, b in zip(run, got, strict=False)))


class LocationFeed(Feed):
    """Where the rider of one order is: the newest position wins, and none may be older than the one before."""

    kind = "rider location"
    operation = operations.RIDER_LOCATION

    def __init__(self, order: str) -> None:
        super().__init__(f"location for {order}", {"order": order})
        self.instants: list[str] = []
        self.checked_last: tuple[str | None, str | None] | None = None

    def variables(self) -> dict[str, object]:
        if self.cursor is not None:
            self.resumed += 1
        return dict(self.subject)

    def ended(self, reason: str | None) -> None:
        # The end of the delivery is the end of the right to know where its rider is.
        super().ended(None if reason is not None and reason.startswith("ACCESS_ENDED") else reason)

    def record(self, value: dict[str, Any]) -> None:
        self.instants.append(value["riderLocation"]["recordedAt"])

    def judge(self, verdict: Verdict) -> None:
        self.summary(verdict)
        verdict.received += len(self.instants)
        verdict.owed += len(self.instants)
        back = sum(1 for a, b in pairwise(self.instants) if b < a)
        if back:
            verdict.reordered += back
            verdict.complain(f"{self.name}: {back} steps back in time")
        if self.checked_last is not None and self.checked_last[0] != self.checked_last[1]:
            verdict.wrong += 1
            verdict.complain(f"{self.name}: the query said {self.checked_last[1]}, the feed {self.checked_last[0]}")


class CityFeed(Feed):
    """The live figures of a city: never back in time, and in the end what a query says."""

    kind = "city"
    operation = operations.CITY_UPDATES

    def __init__(self, city: str, on_update: Handler | None = None) -> None:
        super().__init__(f"city {city}", {"city": city}, on_update)
        self.received = 0
        self.back = 0
        self.last: dict[str, Any] | None = None
        self._at = ""

    def variables(self) -> dict[str, object]:
        if self.cursor is not None:
            self.resumed += 1
        return dict(self.subject)

    def record(self, value: dict[str, Any]) -> None:
        self.received += 1
        self.back += value["at"] < self._at
        self._at = value["at"]
        self.last = value["overview"]

    def shows(self, overview: dict[str, Any]) -> bool:
        """Whether the last update says what ``overview`` says, but for its instant."""
        return self.last is not None and _figures(self.last) == _figures(overview)

    def judge(self, overview: dict[str, Any], verdict: Verdict) -> None:
        self.summary(verdict)
        verdict.received += self.received
        verdict.owed += self.received
        verdict.reordered += self.back
        if not self.shows(overview):
            verdict.wrong += 1
            verdict.complain(f"{self.name}: ends with {self.last}, the query says {overview}")


def _figures(overview: dict[str, Any]) -> dict[str, Any]:
    figures = {name: value for name, value in overview.items() if name not in ("at", "ordersByState")}
    figures["ordersByState"] = {row["state"]: row["count"] for row in overview["ordersByState"] if row["count"]}
    return figures


async def read_again(feed: ManyOrdersFeed, socket: Socket, within: float, grace: float = 0.25) -> list[Arrived] | None:
    """Everything of the feed after its first cursor, read anew; None when it does not come in time."""
    again = feed.copy()
    again.cursor = again.first_cursor = feed.first_cursor
    last = feed.events[-1].cursor if feed.events else None
    done = asyncio.Event()

    def look(value: dict[str, Any]) -> None:
        if value["cursor"] == last:
            done.set()

    again.on_update = look
    again.on_end = done.set
    await again.start(socket)
    try:
        if last is not None:
            async with asyncio.timeout(within):
                await done.wait()
        await asyncio.sleep(grace)  # what was lost at the very end would come now
    except TimeoutError:
        return None
    finally:
        await again.stop()
    return again.events
