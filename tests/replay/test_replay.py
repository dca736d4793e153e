"""Whole days through the real program: every order ends well and no subscriber misses anything."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from rich.console import Console

from replay.command import Options, load, play
from replay.report import Report
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
INSTANCE = ROOT.parent / "shared" / "data" / "mdrp" / "0o50t100s1p100"


async def replayed(path: str, database_url: str, pace: float | None = None) -> Report:
    async with asyncio.timeout(10 * PATIENCE):
        return await play(
            Options(load(path), pace=pace, environment={"HUTONG_DATABASE_URL": database_url}), Console(quiet=True)
        )


def assert_good(report: Report) -> None:
    assert report.good, (report.problems, [e for v in report.feeds.values() for e in v.examples])
    assert report.outcomes["failed"] == 0
    assert report.outcomes["delivered"] + report.outcomes["cancelled"] == report.orders
    for kind in ("order", "store board", "rider tasks"):
        verdict = report.feeds[kind]
        assert (verdict.lost, verdict.duplicated, verdict.reordered) == (0, 0, 0)
        assert verdict.owed == verdict.received > 0
    assert report.feeds["store board"].read_again == report.feeds["store board"].owed


async def test_a_short_generated_day(database_url: str) -> None:
    report = await replayed("generated:7:20", database_url)
    assert_good(report)
    assert report.usage is not None and report.usage.server_rss > 0


async def test_a_short_paced_day(database_url: str) -> None:
    report = await replayed("generated:3:6", database_url, pace=6000.0)
    assert_good(report)


async def test_half_a_real_day(database_url: str) -> None:
    if not INSTANCE.is_dir():
        pytest.skip(f"the instance {INSTANCE.name} is not beside the repository")
    report = await replayed(str(INSTANCE), database_url)
    assert_good(report)
    assert report.outcomes["delivered"] >= 0.95 * report.orders
