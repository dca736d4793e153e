"""The loss harness in short. ``make soak`` runs it for longer."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.engines import Reaper, temporary_folder
from tests.soak.soak import Plan, run


async def test_nothing_is_lost_whatever_breaks(reaper: Reaper) -> None:
    # The same troubles every time; `make soak` finds new ones.
    plan = Plan(seconds=18, seed=271_828)
    report = await run(plan, reaper, temporary_folder(reaper))
    print(report.text())
    if not report.good:
        kept = Path("reports") / f"soak-{plan.seed}"
        kept.mkdir(parents=True, exist_ok=True)
        for log in report.folder.glob("*.*"):
            shutil.copy(log, kept)
        report.folder = kept
    assert report.good, report.text()
    assert report.verdict.events > 50, report.text()
