"""A queue under random handling behaves like a list: numbers, positions, states, and what its feed says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auth.principals import Principal
from core.clock import ManualClock
from core.ids import uuid7
from models.queueing import QueueAction, QueueTicketState
from services import queueing
from services.errors import AlreadyQueued, QueueActionNotAllowed, QueueEmpty
from services.queueing import Ticket
from services.runtime import Runtime
from tests.queueing.test_line import replayed, stored
from tests.queueing.test_rules import STAFF
from tests.queueing.world import Shop, consumer, open_shop, take
from tests.support import make_runtime

W = QueueTicketState.WAITING
CODES = {1: "A", 3: "B"}


@pytest.fixture
async def runtime(module_database_url: str) -> AsyncIterator[Runtime]:
    async with make_runtime(module_database_url) as runtime:
        yield runtime


@dataclass
class Model:
    """The line of each class as a list of numbers, and the state of every number."""

    lines: dict[str, list[str]] = field(default_factory=lambda: {"A": [], "B": []})
    taken: dict[str, int] = field(default_factory=lambda: {"A": 0, "B": 0})
    states: dict[str, QueueTicketState] = field(default_factory=dict)
    owners: dict[str, Principal] = field(default_factory=dict)
    tickets: dict[str, Ticket] = field(default_factory=dict)

    def active_of(self, owner: Principal, but: str = "") -> bool:
        active = (W, QueueTicketState.CALLED)
        return any(o is owner and n != but and self.states[n] in active for n, o in self.owners.items())

    def move(self, number: str, action: QueueAction) -> QueueTicketState | None:
        """The new state, None when the action is not allowed."""
        to = STAFF.get(self.states[number], {}).get(action)
        if to is None:
            return None
        line = self.lines[number[0]]
        if self.states[number] == W:
            line.remove(number)
        if to == W:
            line.insert(3, number)
        self.states[number] = QueueTicketState(to)
        return self.states[number]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.sampled_from([1, 3]), st.integers(0, 5)),
        st.tuples(st.just("next"), st.sampled_from(["A", "B"]), st.just(0)),
        st.tuples(st.sampled_from(list(QueueAction)), st.integers(0, 40), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 20), st.just(0)),
    ),
    min_size=5,
    max_size=40,
)


# Guests 4 and 5 of the sequence stand for parties without a phone that staff hand numbers to.
@settings(max_examples=60)
@given(steps=STEPS)
async def test_a_queue_is_a_list(runtime: Runtime, steps: list[tuple[object, int | str, int]]) -> None:
    shop, model = await open_shop(runtime), Model()
    guests: list[Principal] = [*(consumer() for _ in range(4)), shop.clerk, shop.clerk]
    for what, value, guest in steps:
        if what == "take":
            await _take(runtime, shop, model, guests[guest], cast(int, value))
        elif what == "next":
            await _next(runtime, shop, model, cast(str, value))
        elif what == "wait":
            cast(ManualClock, runtime.clock).advance(timedelta(seconds=cast(int, value)))
        elif model.tickets:
            numbers = sorted(model.tickets)
            await _act(runtime, shop, model, numbers[cast(int, value) % len(numbers)], cast(QueueAction, what))
        await _compare(runtime, shop, model)
    assert await replayed(runtime, shop) == await stored(runtime, shop)


async def _take(runtime: Runtime, shop: Shop, model: Model, who: Principal, party: int) -> None:
    code = CODES[party]
    if who.store_ids == [] and model.active_of(who):
        with pytest.raises(AlreadyQueued):
            await take(runtime, who, shop, party)
        return
    ticket = await take(runtime, who, shop, party)
    model.taken[code] += 1
    assert ticket.number == f"{code}{model.taken[code]:03}"
    model.tickets[ticket.number], model.states[ticket.number] = ticket, W
    model.lines[code].append(ticket.number)
    if not who.store_ids:
        model.owners[ticket.number] = who


async def _next(runtime: Runtime, shop: Shop, model: Model, code: str) -> None:
    if not model.lines[code]:
        with pytest.raises(QueueEmpty):
            await queueing.call_next(runtime, shop.clerk, shop.id, shop.classes[code], str(uuid7()))
        return
    called = await queueing.call_next(runtime, shop.clerk, shop.id, shop.classes[code], str(uuid7()))
    assert called.number == model.lines[code][0]
    model.move(called.number, QueueAction.CALL)


async def _act(runtime: Runtime, shop: Shop, model: Model, number: str, action: QueueAction) -> None:
    ticket, owner = model.tickets[number], model.owners.get(number)
    brings_back = model.states[number] is QueueTicketState.SKIPPED and action in (QueueAction.CALL, QueueAction.REQUEUE)
    if brings_back and owner is not None and model.active_of(owner, but=number):
        with pytest.raises(AlreadyQueued):
            await queueing.act(runtime, shop.clerk, ticket.id, action)
        return
    to = model.move(number, action)
    if to is None:
        with pytest.raises(QueueActionNotAllowed):
            await queueing.act(runtime, shop.clerk, ticket.id, action)
    else:
        moved = await queueing.act(runtime, shop.clerk, ticket.id, action)
        assert (moved.state, moved.number) == (to, number)


async def _compare(runtime: Runtime, shop: Shop, model: Model) -> None:
    _, board = await queueing.board_snapshot(runtime, shop.device, shop.id)
    for line in board.classes[:2]:
        expected = model.lines[line.code]
        assert (line.waiting, [t.number for t in line.next]) == (len(expected), expected[:20])
        called = {n for n, s in model.states.items() if s is QueueTicketState.CALLED and n[0] == line.code}
        assert {t.number for t in line.calling} == called
        for place, number in enumerate(expected, start=1):
            ticket = await queueing.get_ticket(runtime, shop.clerk, model.tickets[number].id)
            assert (ticket.position, ticket.state) == (place, W)
