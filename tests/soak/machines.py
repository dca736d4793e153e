"""A gate that obeys its commands, and riders' phones that say where they are, through whatever breaks."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import asyncpg

from core import ids
from examples.device import Device, Faults, Journal, pair
from replay import operations
from replay.api import CallFailed, Refused, Session
from replay.town import RiderPerson
from tests.soak.business import Business
from tests.soak.record import Record
from tests.soak.subscribers import SocketSubscriber

_REGISTER = operations._mutation(
    "registerDevice", "input: RegisterDeviceInput!", "DevicePairing", "pairing: code device { id }"
)
_SEND = operations._mutation(
    "sendDeviceCommand",
    "device: ID!, content: CommandContentInput!, expiresInSeconds: Int, idempotencyKey: String!",
    "DeviceCommand",
    "id state",
)


class Door:
    """A gate at a store. Its device loses connections and repeats itself of its own accord too."""

    def __init__(self, business: Business, random: Random, staff: Session, store: str) -> None:
        self._business = business
        self._random = random
        self._staff = staff
        self._store = store
        self._id = ""
        self._device: Device | None = None
        self._running: asyncio.Task[None] | None = None
        self.sent: list[str] = []
        """Ids of the commands whose sending was acknowledged."""

    async def open(self, direct: str, through: str, folder: Path) -> None:
        """Pair it at ``direct``; it works at the address ``through``, which breaks."""
        asked = {"store": self._store, "name": "Gate", "station": "ENTRANCE", "capabilities": ["GATE"]}
        made = await self._business.do(_REGISTER, self._staff, input=asked)
        self._id = made["device"]["id"]
        credentials = await pair(direct, made["pairing"])
        faults = Faults(drop=0.1, twice=0.1, dice=Random(self._random.random()))
        self._device = Device(through, credentials, Journal(folder / "gate.jsonl"), lambda text: None, faults)
        self._running = asyncio.create_task(self._device.run())

    async def work(self, pace: float) -> None:
        """Let people in, one after the other, until the business stops."""
        while not self._business.stopping:
            number = len(self.sent)
            with contextlib.suppress(Refused, TimeoutError):  # so many may wait; the next one has the same key
                command = await self._business.do(
                    _SEND,
                    self._staff,
                    device=self._id,
                    content={"openGate": {"gate": "north", "seconds": 3}},
                    expiresInSeconds=86_400,
                    idempotencyKey=f"soak gate {number}",
                )
                self.sent.append(command["id"])
            await asyncio.sleep(self._random.uniform(0, 2 * pace))

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def settled(self, database: asyncpg.Connection[Any], within: float) -> list[str]:
        """Wait until the server knows of everything; what is wrong then."""
        assert self._device is not None and self._running is not None
        keys = [ids.decode("DeviceCommand", id) for id in self.sent]
        waiting = "SELECT count(*) FROM device_command WHERE id = ANY($1::uuid[]) AND state <> 'ACKNOWLEDGED'"
        ends = time.monotonic() + within
        while await database.fetchval(waiting, keys) and time.monotonic() < ends:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        problems = [f"the gate gave up: {self._running.exception()!r}"] if self._running.done() else []
        obeyed = Counter(self._device.done)
        problems += [f"{id} was obeyed {obeyed[id]} times" for id in self.sent if obeyed[id] != 1]
        problems += [f"{id} was obeyed and never sent" for id in obeyed if id not in self.sent]
        told = await database.fetch(
            """SELECT payload ->> 'command' AS id, count(*) AS n FROM feed_event
               WHERE type = 'command.acknowledged' AND payload IS NOT NULL GROUP BY 1"""
        )
        acknowledged = {row["id"]: row["n"] for row in told}
        problems += [
            f"{id} was acknowledged {acknowledged.get(str(key), 0)} times in the log"
            for id, key in zip(self.sent, keys, strict=True)
            if acknowledged.get(str(key), 0) != 1
        ]
        return problems


class PositionSubscriber(SocketSubscriber):
    """Follows where the rider of an order is. ``problems``: an older position after a newer one of the same rider."""

    def __init__(self, url: str, session: Session, order: str) -> None:
        self.shown = 0
        self.problems: list[str] = []
        self._newest: str | None = None
        super().__init__(Record(f"map {order}", ""), url, session, operations.RIDER_LOCATION, {"order": order})

    async def _take(self, ws: aiohttp.ClientWebSocketResponse, message: dict[str, Any]) -> None:
        match message["type"]:
            case "connection_ack":
                # Nothing to resume: it begins with where the rider is.
                payload = {"query": self._operation.text, "variables": self._variables}
                await ws.send_json({"id": "1", "type": "subscribe", "payload": payload})
            case "next" if "errors" not in message["payload"]:
                self._see(message["payload"]["data"]["riderLocation"])
            case "error" | "complete":
                self.record.ended = "the delivery is over"
            case "ping":
                await ws.send_json({"type": "pong"})
            case _:
                pass

    def _see(self, update: dict[str, Any]) -> None:
        at = update["riderLocation"]["recordedAt"]
        # A snapshot begins anew: another rider, or another process that has not been told of the newest yet.
        if update["kind"] != "SNAPSHOT" and self._newest is not None and at < self._newest:
            self.problems.append(f"{self.record.name}: {at} after {self._newest}")
        self._newest = at
        self.shown += 1


class Phones:
    """The riders' phones, and consumers who look at the map."""

    def __init__(self, business: Business, random: Random, url: str) -> None:
        self._business = business
        self._random = random
        self._url = url
        self._maps: list[PositionSubscriber] = []
        self.reports = 0

    def follow(self, order: str, buyer: Session) -> None:
        """``buyer`` looks at the map."""
        self._maps.append(PositionSubscriber(self._url, buyer, order))

    async def work(self, rider: RiderPerson, pace: float) -> None:
        """Report where the rider is: in batches, in any order, some of it again, until the business stops."""
        earlier: list[dict[str, Any]] = []
        while not self._business.stopping:
            now = datetime.now(UTC)
            fixes = [
                {
                    "latitude": 39.9 + self._random.uniform(0, 0.01),
                    "longitude": 116.4 + self._random.uniform(0, 0.01),
                    "recordedAt": (now - timedelta(milliseconds=self._random.randrange(2000))).isoformat(),
                }
                for _ in range(self._random.randint(1, 4))
            ]
            batch = [*fixes, *self._random.sample(earlier, min(len(earlier), 2))]
            self._random.shuffle(batch)
            earlier = [*earlier[-10:], *fixes]
            with contextlib.suppress(CallFailed, Refused, TimeoutError):
                await self._business.once(operations.REPORT_LOCATION, rider.session, fixes=batch)
                self.reports += 1
            await asyncio.sleep(self._random.uniform(0, pace))

    @property
    def problems(self) -> list[str]:
        return [problem for each in self._maps for problem in each.problems]

    @property
    def shown(self) -> int:
        return sum(each.shown for each in self._maps)

    async def close(self) -> None:
        await asyncio.gather(*(each.close() for each in self._maps))
