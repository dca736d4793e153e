"""What all actors of a day share: the API, the clock, the books, and how to begin doing something."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from replay.api import Api, CallFailed, Refused
from replay.day import Day
from replay.feeds import Drops
from replay.operations import Operation
from replay.sightings import Sightings
from replay.sockets import Socket, Traffic
from replay.tally import OrderRun, Tally
from replay.timeline import Activity, Timeline
from replay.town import Town

OWED_WITHIN: Final = 15.0
"""Real seconds within which a subscription must have delivered what it owes."""


@dataclass(slots=True)
class Stage:
    """One playing of one day. ``run`` names it in idempotency keys."""

    api: Api
    day: Day
    town: Town
    timeline: Timeline
    drops: Drops
    run: str
    tally: Tally = field(default_factory=Tally)
    traffic: Traffic = field(default_factory=Traffic)
    sightings: Sightings = field(default_factory=Sightings)
    random: Random = field(default_factory=Random)
    by_note: dict[str, OrderRun] = field(default_factory=dict[str, OrderRun])
    by_id: dict[str, OrderRun] = field(default_factory=dict[str, OrderRun])
    sockets: set[Socket] = field(default_factory=set[Socket])
    location_checks: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    @property
    def shortest_job(self) -> float:
        """Minutes from taking a job to the earliest possible end of it."""
        parameters = self.day.parameters
        return parameters.pickup_service + parameters.dropoff_service / 2

    def open_socket(self, session: Any) -> Socket:
        """A new connection of a user, closed with the day at the latest."""
        socket = Socket(self.api, session, self.traffic)
        self.sockets.add(socket)
        return socket

    async def close_socket(self, socket: Socket) -> None:
        self.sockets.discard(socket)
        await socket.close()

    def begin(
        self,
        activity: Activity,
        doing: Callable[[Activity], Awaitable[None]],
        run: OrderRun | None = None,
    ) -> asyncio.Task[None]:
        """Let somebody do something. An error ends it, is counted, and is noted as the reason at the order."""

        async def guarded() -> None:
            with activity:
                try:
                    await doing(activity)
                except (CallFailed, Refused) as error:
                    self.trouble(str(error), run)
                except asyncio.CancelledError:
                    self.trouble(f"{activity.name.split(' ')[0]} was stuck", run)
                    raise

        task = asyncio.create_task(guarded(), name=activity.name)
        activity.task = task
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def trouble(self, reason: str, run: OrderRun | None = None) -> None:
        self.tally.fail(reason)
        if run is not None:
            run.fail(reason)

    async def owed(self, key: Hashable, at: float, what: str, run: OrderRun | None = None) -> bool:
        """Wait until a subscription has delivered ``key``; what does not come is counted as lost."""
        if await self.sightings.expect(key, at, OWED_WITHIN):
            return True
        self.tally.unseen(what)
        if run is not None:
            run.fail(f"not seen: {what}")
        return False

    async def try_call(self, operation: Operation, session: Any, **variables: object) -> Any:
        """The answer, or the Refused error itself."""
        try:
            return await self.api.call(operation, session, urgent=True, **variables)
        except Refused as refused:
            return refused
