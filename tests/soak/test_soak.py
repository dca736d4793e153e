"""The loss harness in short. ``make soak`` runs it for longer."""

from __future__ import annotations

from random import SystemRandom

from tests.engines import Reaper, temporary_folder
from tests.soak.soak import Plan, run


async def test_nothing_is_lost_whatever_breaks(reaper: Reaper) -> None:
    seed = SystemRandom().randrange(1_000_000)
    report = await run(Plan(seconds=25, seed=seed), reaper, temporary_folder(reaper))
    print(report.text())
    assert report.good, report.text()
    assert report.verdict.events > 50, report.text()
