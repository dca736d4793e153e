"""The staff of a store: watches the board, cooks what is paid."""

from __future__ import annotations

from typing import Any, Final

from replay import operations
from replay.feeds import StoreFeed
from replay.stage import Stage
from replay.tally import OrderRun
from replay.timeline import FOREVER, Activity
from replay.town import Shop

ENDED: Final = frozenset({"CANCELLED", "REJECTED", "EXPIRED"})


class Merchant:
    """One store's staff at its board."""

    def __init__(self, stage: Stage, shop: Shop) -> None:
        self._stage = stage
        self._shop = shop
        self._socket = stage.open_socket(shop.session)
        self.feed = StoreFeed(shop.store, self._look)
        self._cooking: dict[str, Activity] = {}
        self._leftover: dict[str, str] = {}

    async def open(self) -> None:
        """Start watching the board."""
        await self.feed.start(self._socket, self._stage.drops)
        if not await self.feed.started(15.0):
            self._stage.tally.fail(f"storeBoard did not start: {self.feed.over or 'no snapshot'}")

        for order, state in list(self._leftover.items()):
            await self._call_off(order, state)

    async def _call_off(self, order: str, state: str) -> None:
        """Give up an order that an earlier, interrupted day left on the board."""
        stage = self._stage
        operation = operations.REJECT_ORDER if state == "PAID" else operations.CANCEL_ORDER
        session = stage.town.admin if state == "PICKED_UP" else self._shop.session
        key = f"{stage.run}:{order}:leftover"
        answer = await stage.try_call(operation, session, order=order, reason="left over", idempotencyKey=key)
        if isinstance(answer, Exception):
            stage.trouble(str(answer))

    @property
    def socket(self) -> Any:
        return self._socket

    def _look(self, update: dict[str, Any]) -> None:
        for order in update["orders"]:
            state = order["state"]
            if update["kind"] == "SNAPSHOT" and self._left_over(order):
                self._leftover[order["id"]] = state
                continue
            if state == "PAID" and order["id"] not in self._cooking:
                self._take(order)
            elif state in ENDED and order["id"] in self._cooking:
                self._cooking[order["id"]].wake()

    def _left_over(self, order: dict[str, Any]) -> bool:
        """Whether an order that was on the board before is of an earlier day."""
        return order["note"] not in self._stage.by_note

    def _run_of(self, order: dict[str, Any]) -> OrderRun | None:
        """What the day says about an order: found by its note."""
        return self._stage.by_note.get(order["note"])

    def _take(self, order: dict[str, Any]) -> None:
        """A paid order is on the board."""
        run = self._run_of(order)
        if run is None or (run.id is not None and run.id != order["id"]):
            return
        at = run.plan.placed
        activity = self._stage.timeline.begin(f"kitchen {run.plan.name}", at)
        self._cooking[order["id"]] = activity
        self._stage.sightings.saw(("board", order["id"]))
        self._stage.begin(activity, lambda activity: self._cook(activity, order["id"], run), run)

    async def _cook(self, activity: Activity, order: str, run: OrderRun) -> None:
        stage, api, session = self._stage, self._stage.api, self._shop.session
        await activity.until(run.plan.placed, strict=True)
        prep = max(0, round(run.plan.ready - run.plan.placed))
        answer = await api.call(operations.ACCEPT_ORDER, session, urgent=True, order=order, prepMinutes=prep)
        run.accepted = activity.at
        # Whoever gets the job now needs this long at least; until the rider has seen the offer we vouch for it.
        activity.nothing_strict_before(activity.at + stage.shortest_job)
        await api.call(operations.START_PREPARING, session, order=order)
        delivery = answer["delivery"]
        if delivery is not None and delivery["state"] == "OFFERED" and delivery["offer"] is not None:
            rider = delivery["offer"]["rider"]["id"]
            await stage.owed(("offer", rider, delivery["id"]), activity.at, "an offer by its rider", run)
        handover = stage.day.parameters.pickup_service / 2 + stage.day.parameters.dropoff_service / 2
        activity.nothing_strict_before(run.plan.ready + handover)
        if not await activity.until(run.plan.ready):
            return  # called off
        run.ready_told = True
        answer = await stage.try_call(operations.MARK_READY, session, order=order)
        if isinstance(answer, Exception):
            if run.state not in ENDED:
                stage.trouble(str(answer), run)
            return
        run.ready = run.plan.ready
        if run.rider_waits:
            await stage.owed(("ready", order), run.plan.ready, "a ready order by its rider", run)
        activity.nothing_strict_before(FOREVER)
