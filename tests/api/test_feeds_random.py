"""Random days: what is told adds up to what is there (invariant 11), and nobody is told what is not theirs (12).

Everybody acts in any order while subscriptions of all kinds come and go, those included that must be refused. What
one may see is judged here by the rows of the event log and the grants of the moment, not by the program's own rules.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.city import City
from tests.api.days import Day

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["order"] * 9 + ["rider"] * 2 + ["queue"] * 2 + ["device"] * 3 + ["watch"] * 4 + ["rights"]),
        st.integers(0, 2**32),
    ),
    min_size=30,
    max_size=60,
)


async def spend(city: City, steps: list[tuple[str, int]]) -> Counter[str]:
    async with AsyncExitStack() as stack:
        day = Day(city, stack)
        await day.open()
        for name in ("owner", "clerk", "admin"):
            await day.watch(day[name], "board")
        for name in ("rider", "second"):
            await day.watch(day[name], "tasks")
        for name, thing in (("printer", "commands"), ("owner", "devices"), ("clerk", "devices"), ("admin", "city")):
            await day.watch(day[name], thing)
        try:
            for what, seed in steps:
                day.rng.seed(seed)
                await getattr(day, f"{what}_step")()
            await day.check()
        finally:
            await day.close()
        return day.done


@settings(max_examples=5, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
async def test_any_day_adds_up(city: City, steps: list[tuple[str, int]]) -> None:
    await spend(city, steps)


async def test_such_days_are_full(city: City) -> None:
    """The steps above do happen: most of what can be done is done in one long day."""
    rng = random.Random(7)
    names = ["order"] * 9 + ["rider"] * 2 + ["queue"] * 2 + ["device"] * 2 + ["watch"] * 2 + ["rights"]
    done = await spend(city, [(rng.choice(names), rng.randrange(2**32)) for _ in range(360)])
    wanted = {"take offer", "arrive", "pick up", "complete", "refund", "cancel", "seatTicket"}
    wanted |= {"send", "acknowledge", "fail", "cancel command", "resend"}
    assert wanted <= set(done), done


@pytest.mark.fuzz
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
async def test_many_days_add_up(city: City, steps: list[tuple[str, int]]) -> None:
    await spend(city, steps)


@pytest.fixture(autouse=True)
async def quiet(city: City) -> AsyncIterator[None]:
    await city.execute("UPDATE rider SET online = false")
    yield
