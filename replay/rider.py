"""A rider: on duty for a shift, takes what is offered, rides, waits, carries."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from core.geo import Point
from replay import operations
from replay.api import Refused
from replay.consumer import inspect_location
from replay.day import Courier
from replay.feeds import RiderFeed
from replay.stage import Stage
from replay.tally import OrderRun, RiderRun
from replay.timeline import FOREVER, Activity
from replay.town import RiderPerson

BATCH_MINUTES: Final = 8
"""A phone collects positions for this long before it reports them."""
MOST_FAREWELLS: Final = 30
"""How often a rider asks to go offline while ever new offers come in."""
GONE: Final = frozenset({"CANCELLED", "SEARCHING", "DELIVERED"})

Place = tuple[float, float]


@dataclass(slots=True)
class Job:
    """A delivery this rider is offered or carries out, as the rider's subscription tells it."""

    delivery: str
    order: str
    pickup: Place
    dropoff: Place
    run: OrderRun | None
    order_state: str = ""
    gone: bool = False
    accepted: bool = False
    since: float = 0.0
    activity: Activity | None = None


class Rider:
    def __init__(self, stage: Stage, person: RiderPerson, plan: Courier) -> None:
        self._stage = stage
        self._session = person.session
        self._me = person.rider
        self._socket = stage.open_socket(person.session)
        self.feed = RiderFeed(person.rider, self._look)
        self.run = RiderRun(plan.name, plan.on, plan.off)
        stage.tally.riders.append(self.run)
        self._at: Place = (plan.x, plan.y)
        self._free_at = plan.on
        self._jobs: dict[str, Job] = {}
        self.online = False
        self._leaving = False
        self._offline_since: float | None = None
        self._shift_over = False
        self._last_fix = 0.0

    @property
    def socket(self) -> Any:
        return self._socket

    @property
    def busy(self) -> bool:
        return any(not job.gone for job in self._jobs.values())

    async def open(self) -> None:
        """Start watching for offers."""
        await self.feed.start(self._socket, self._stage.drops)
        if not await self.feed.started(15.0):
            self._stage.tally.fail(f"riderTasks did not start: {self.feed.over or 'no snapshot'}")

    # the shift

    async def work(self, activity: Activity) -> None:
        """Go online for the shift, and offline when it is over and nothing is left to carry."""
        stage = self._stage
        await activity.until(self.run.on, strict=True)
        here = stage.town.plane.point(*self._at)
        answer = await stage.api.call(operations.GO_ONLINE, self._session, urgent=True, location=_point(here))
        self.online = True
        # The server noted its own time just before it answered; fixes must be newer.
        self._last_fix = stage.api.domain_time() + 0.02
        await self._expect_task(answer["currentTask"], activity.at)
        await activity.until(self.run.off, strict=True)
        self._shift_over = True
        await self._leave()

    async def _leave(self) -> None:
        """Go offline unless something is being carried. Offers that come meanwhile are left to others."""
        if self._leaving or not self.online or any(job.accepted and not job.gone for job in self._jobs.values()):
            return
        self._leaving = True
        try:
            answer: Any = None
            for _ in range(MOST_FAREWELLS):
                answer = await self._stage.try_call(operations.GO_OFFLINE, self._session)
                if not isinstance(answer, Refused):
                    self.online = False
                    self._offline_since = time.monotonic()
                    return
                if answer.code != "RIDER_BUSY":
                    break
            self._stage.trouble(f"could not go offline: {answer}")
        finally:
            self._leaving = False

    async def _expect_task(self, task: dict[str, Any] | None, at: float) -> None:
        if task is not None and task["state"] == "OFFERED":
            await self._stage.owed(("offer", self._me, task["id"]), at, "an offer by its rider")

    # what the subscription tells

    def _look(self, update: dict[str, Any]) -> None:
        for id in update["gone"]:
            job = self._jobs.get(id)
            if job is not None and not job.gone:
                self._lost(job)
        for task in update["tasks"]:
            holder = task["rider"] or (task["offer"] and task["offer"]["rider"])
            mine = holder is not None and holder["id"] == self._me
            job = self._jobs.get(task["id"])
            if job is None or job.gone:
                if mine and task["state"] == "OFFERED":
                    self._offered(task)
                continue
            job.order_state = task["order"]["state"]
            if job.order_state == "READY":
                self._ready(job)
            if task["state"] == "DELIVERED":
                job.gone = True
            elif not mine or task["state"] in GONE:
                self._lost(job)

    def _lost(self, job: Job) -> None:
        """The task is somebody else's or nobody's now."""
        job.gone = True
        if job.activity is not None:
            job.activity.wake()

    def _offered(self, task: dict[str, Any]) -> None:
        stage = self._stage
        at = stage.sightings.saw(("offer", self._me, task["id"]))
        self.run.offers += 1
        # An offer made before the server took us offline may still be on its way.
        if self._offline_since is not None and time.monotonic() - self._offline_since > 2:
            stage.tally.offers_while_offline += 1
        plane, pickup, dropoff = stage.town.plane, task["pickup"], task["dropoff"]
        job = self._jobs[task["id"]] = Job(
            task["id"],
            task["order"]["id"],
            plane.metres(Point(pickup["latitude"], pickup["longitude"])),
            plane.metres(Point(dropoff["latitude"], dropoff["longitude"])),
            stage.by_id.get(task["order"]["id"]),
            task["order"]["state"],
        )
        activity = stage.timeline.begin(f"rider {self.run.name} {job.delivery}", at)
        activity.nothing_strict_before(activity.at + stage.shortest_job)
        job.activity = activity
        stage.begin(activity, lambda activity: self._answer(activity, job), job.run)

    def _ready(self, job: Job) -> None:
        stage, run = self._stage, job.run
        stage.sightings.saw(("ready", job.order))
        if job.activity is not None or (run is not None and not run.rider_waits):
            return
        if run is None:
            at = stage.timeline.now
        else:
            at = max(run.at_store or 0.0, run.plan.ready)
            run.rider_waits = False
        activity = stage.timeline.begin(f"rider {self.run.name} {job.delivery}", at)
        job.activity = activity
        stage.begin(activity, lambda activity: self._bring(activity, job, at), run)

    # a job

    async def _answer(self, activity: Activity, job: Job) -> None:
        stage = self._stage
        if self._shift_over or not self.online:
            await self._decline(activity, job)
            return
        job.accepted = True
        answer = await stage.try_call(operations.ACCEPT_OFFER, self._session, delivery=job.delivery)
        if isinstance(answer, Refused):
            self.run.missed += 1
            job.gone = True
            if answer.code not in ("OFFER_EXPIRED", "NOT_FOUND"):
                stage.trouble(str(answer))
            return
        job.since = activity.at
        if job.run is not None:
            job.run.assigned = activity.at
            job.run.rider = self.run.name
        await self._to_store(activity, job)

    async def _decline(self, activity: Activity, job: Job) -> None:
        stage = self._stage
        job.gone = True
        if self.online:
            # Going offline declines what is offered, and nothing else can be offered in between.
            self.run.declined += 1
            await self._leave()
            return
        answer = await stage.try_call(operations.DECLINE_OFFER, self._session, delivery=job.delivery)
        if isinstance(answer, Refused):
            return  # gone already: going offline declines as well
        self.run.declined += 1
        if answer["state"] == "OFFERED" and answer["offer"] is not None:
            rider = answer["offer"]["rider"]["id"]
            await stage.owed(("offer", rider, job.delivery), activity.at, "an offer by its rider", job.run)

    async def _to_store(self, activity: Activity, job: Job) -> None:
        stage, parameters = self._stage, self._stage.day.parameters
        day, depart = stage.day, max(activity.at, self._free_at)
        at_store = depart + day.travel_minutes(*self._at, *job.pickup) + parameters.pickup_service / 2
        ride = day.travel_minutes(*job.pickup, *job.dropoff)
        activity.nothing_strict_before(at_store + (parameters.pickup_service + parameters.dropoff_service) / 2 + ride)
        arrival = await self._ride(activity, job, depart, job.pickup)
        if job.gone:
            return self._give_up(activity, job)
        await activity.until(arrival + parameters.pickup_service / 2)
        if job.gone:
            return self._give_up(activity, job)
        await stage.api.call(operations.ARRIVE_AT_STORE, self._session, delivery=job.delivery)
        run = job.run
        if run is None:
            # Of somebody who is not of the day: whoever looks on at the demo city.
            if job.order_state == "READY":
                await self._bring(activity, job, activity.at)
            else:
                job.activity = None
            return None
        run.at_store = activity.at
        if job.order_state != "READY":
            if not run.ready_told:
                # The kitchen's promise covers us now; its "ready" begins the second half.
                run.rider_waits = True
                job.activity = None
                return None
            if not await stage.owed(("ready", job.order), activity.at, "a ready order by its rider", run):
                return None
        await self._bring(activity, job, max(activity.at, run.plan.ready))
        return None

    async def _bring(self, activity: Activity, job: Job, pickup: float) -> None:
        stage, parameters, run = self._stage, self._stage.day.parameters, job.run
        leave = pickup + parameters.pickup_service / 2
        ride = stage.day.travel_minutes(*job.pickup, *job.dropoff)
        drop = leave + ride + parameters.dropoff_service / 2
        activity.nothing_strict_before(drop)
        await activity.until(pickup)
        if job.gone:
            return self._give_up(activity, job)
        await stage.api.call(operations.PICK_UP, self._session, delivery=job.delivery)
        if run is not None:
            run.picked_up = pickup
        await self._ride(activity, job, leave, job.dropoff)
        if run is not None and stage.location_checks > 0 and run.location is not None:
            stage.location_checks -= 1
            await inspect_location(stage, run)
        await activity.until(drop, strict=True)
        if job.gone:
            return self._give_up(activity, job)
        self._free_at = drop + parameters.dropoff_service / 2
        answer = await stage.api.call(operations.COMPLETE, self._session, urgent=True, delivery=job.delivery)
        job.gone = True
        self.run.busy.append((job.since, self._free_at))
        if run is not None:
            run.delivered = drop
        rider = answer["rider"]
        await self._expect_task(None if rider is None else rider["currentTask"], drop)
        # Time must not pass before the consumer knows, who would otherwise give up on food that is there.
        if run is not None:
            await stage.owed(("delivered", job.order), drop, "a delivery by its consumer", run)
        if self._shift_over:
            await self._leave()
        return None

    def _give_up(self, activity: Activity, job: Job) -> None:
        """The order was called off while we were on it."""
        self._free_at = max(self._free_at, activity.at)
        self.run.busy.append((job.since, activity.at))
        activity.nothing_strict_before(FOREVER)

    # riding

    async def _ride(self, activity: Activity, job: Job, depart: float, to: Place) -> float:
        """Ride from where we are to ``to``, reporting positions on the way; the minute of arrival."""
        start, minutes = self._at, self._stage.day.travel_minutes(*self._at, *to)
        done = 0
        while done < minutes:
            following = min(minutes, done + BATCH_MINUTES)
            reached = await activity.until(depart + following)
            steps = [_between(start, to, step / minutes) for step in range(int(done) + 1, int(following) + 1)]
            self._at = steps[-1]
            await self._report(steps)
            done = following
            if not reached and job.gone:
                break
        if minutes == 0:
            await activity.until(depart)
            self._at = to
        return depart + minutes

    async def _report(self, places: list[Place]) -> None:
        stage = self._stage
        last, count = self._last_fix, len(places)
        now = max(stage.api.domain_time(), last + count * 0.001)
        fixes: list[dict[str, Any]] = []
        for i, place in enumerate(places, start=1):
            at = stage.town.plane.point(*place)
            instant = datetime.fromtimestamp(last + (now - last) * i / count, UTC).isoformat()
            fixes.append({"latitude": at.latitude, "longitude": at.longitude, "crs": "GCJ02", "recordedAt": instant})
        self._last_fix = now
        answer = await stage.api.call(operations.REPORT_LOCATION, self._session, fixes=fixes)
        stage.tally.fixes_accepted += answer["accepted"]
        stage.tally.fixes_ignored += answer["ignored"]


def _between(a: Place, b: Place, share: float) -> Place:
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share)


def _point(point: Point) -> dict[str, Any]:
    return {"latitude": point.latitude, "longitude": point.longitude, "crs": "GCJ02"}
