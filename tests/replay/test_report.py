"""The report of a day whose course is known."""

from __future__ import annotations

from array import array
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from replay.day import Courier, Day, OrderPlan, Restaurant
from replay.feeds import Verdict
from replay.generator import PARAMETERS
from replay.page import page
from replay.report import Report, Spread, histogram, percentile, show, summarise, utilisation, write
from replay.server import Usage
from replay.sockets import Traffic
from replay.tally import OrderRun, Outcome, RiderRun, Tally

ORDERS = tuple(OrderPlan(f"o{i}", 0, 0, 60.0 * i, "r1", 60.0 * i + 10) for i in range(1, 5))
DAY = Day("<canned>", (Restaurant("r1", 0, 0),), (Courier("c1", 0, 0, 0, 300),), ORDERS, PARAMETERS)


def canned(*, failed: bool = False, lost: int = 0) -> Report:
    tally = Tally(playing_seconds=2.0, setup_seconds=1.0)
    for plan, door in zip(ORDERS, (20, 30, 50, None), strict=True):
        run = OrderRun(plan, outcome=Outcome.CANCELLED, reason="no rider in time")
        if door is not None:
            run = OrderRun(plan, outcome=Outcome.DELIVERED, rider="c1", delivered=plan.placed + door)
            run.picked_up = plan.ready + 2
        tally.orders.append(run)
    if failed:
        tally.orders[0].outcome = Outcome.FAILED
    tally.riders = [RiderRun("c1", 0, 300, busy=[(60, 90), (80, 110), (200, 230)])]
    verdicts = {"order": Verdict(feeds=4, owed=10, received=10 - lost, lost=lost), "city": Verdict(feeds=1)}
    latencies = {"PlaceOrder": array("d", [0.001, 0.002, 0.003]), "Unused": array("d")}
    return summarise(
        DAY, tally, verdicts, latencies, Traffic(opened=7), calls=100, pauses=0, messages=300, speed="max", seed=1,
        url="http://x", usage=Usage(1.5, 0.5, 0.25, 100 * 2**20),
    )  # fmt: skip


def test_the_figures_are_those_of_the_day() -> None:
    report = canned()
    assert report.outcomes == {"delivered": 3, "cancelled": 1, "failed": 0}
    assert report.undelivered_share == 0.25
    assert (report.click_to_door.mean, report.click_to_door.p50) == (pytest.approx(100 / 3), 30)
    assert report.over_target_share == pytest.approx(1 / 3)
    assert report.ready_to_pickup.mean == 2
    assert report.orders_per_second == 2
    assert report.api_calls_per_second == 50 and report.events_per_second == 150
    assert [(o.name, o.count, o.p50) for o in report.operations] == [("PlaceOrder", 3, 2.0)]
    assert report.orders_per_hour == [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 0)]
    assert report.click_to_door_histogram[0] == (20, 1) and sum(n for _, n in report.click_to_door_histogram) == 3
    # 3 jobs pay 30, the guarantee of 5 hours 75.
    assert report.cost_per_order == 25
    assert report.rider_utilisation == pytest.approx(80 / 300)
    assert report.reasons == {"no rider in time": 1}
    assert report.good


def test_whatever_went_wrong_is_a_problem() -> None:
    assert not canned(failed=True).good
    report = canned(lost=2)
    assert not report.good and "2 lost" in report.problems[0]


def test_overlapping_jobs_do_not_count_twice() -> None:
    assert utilisation([RiderRun("c", 0, 100, busy=[(0, 50), (40, 60)])]) == 0.6
    assert utilisation([]) == 0


def test_percentiles_interpolate_and_nothing_has_no_spread() -> None:
    assert percentile([1, 2, 3, 4], 50) == 2.5
    assert percentile([7], 99) == 7
    assert Spread.of([]).mean is None
    assert histogram([], 5) == []
    assert histogram([1, 12], 5) == [(0, 1), (5, 0), (10, 1)]


def test_the_files_are_complete_and_self_contained(tmp_path: Path) -> None:
    data, document = write(canned(lost=1), tmp_path / "deep" / "folder")
    figures = orjson.loads(data.read_bytes())
    assert figures["good"] is False and figures["outcomes"]["delivered"] == 3
    assert figures["feeds"]["order"]["lost"] == 1
    text = document.read_text()
    assert "&lt;canned&gt;" in text and "<canned>" not in text
    assert "http://" not in text and "https://" not in text and "<script" not in text
    assert text.count("<svg") == 5

    class Balance(HTMLParser):
        depth = 0

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.depth += tag != "meta"

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            self.depth -= 1

    balance = Balance()
    balance.feed(text)
    assert balance.depth == 0


def test_an_empty_day_can_be_shown_too() -> None:
    report = summarise(
        DAY, Tally(orders=[OrderRun(plan) for plan in ORDERS]), {}, {}, Traffic(), calls=0, pauses=0, messages=0,
        speed="60", seed=1, url="",
    )  # fmt: skip
    assert "Nothing was delivered" in page(report)
    show(report, Console(file=StringIO()))


def test_the_terminal_shows_the_verdict() -> None:
    out = StringIO()
    show(canned(lost=1), Console(file=out, width=140))
    assert "Not good." in out.getvalue() and "PlaceOrder" in out.getvalue()
