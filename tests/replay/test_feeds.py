"""The checking subscribers find every loss, repetition and disorder, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from replay.feeds import CityFeed, Drops, LocationFeed, OrderFeed, RiderFeed, StoreFeed, Verdict, compare

TRUTH = [(1, "order.placed"), (2, "order.paid"), (3, "order.accepted"), (4, "order.ready")]


def order_update(version: int, type: str | None = None, **more: Any) -> dict[str, Any]:
    kind = "SNAPSHOT" if type is None else "EVENT"
    return {"cursor": f"e.{version}", "kind": kind, "type": type, "reset": None, "order": {"version": version}, **more}


def judged(updates: list[dict[str, Any]]) -> Verdict:
    feed, verdict = OrderFeed("ord_1"), Verdict()
    for update in updates:
        feed.deliver(update)
    feed.judge(TRUTH, verdict)
    return verdict


ALL = [
    order_update(1),
    order_update(2, "order.paid"),
    order_update(3, "order.accepted"),
    order_update(4, "order.ready"),
]


def test_everything_once_and_in_order_is_good() -> None:
    verdict = judged(ALL)
    assert verdict.good and (verdict.owed, verdict.received) == (3, 3)


def test_a_late_snapshot_owes_only_what_follows_it() -> None:
    assert judged([order_update(3), ALL[3]]).good


@pytest.mark.parametrize(
    ("updates", "lost", "duplicated", "reordered", "wrong"),
    [
        ([ALL[0], ALL[1], ALL[3]], 1, 0, 0, 0),
        (ALL[:3], 1, 0, 0, 0),
        ([*ALL, ALL[3]], 0, 1, 0, 0),
        ([*ALL[:3], ALL[2], ALL[3]], 0, 1, 0, 0),
        ([ALL[0], ALL[2], ALL[1], ALL[3]], 0, 0, 1, 0),
        ([*ALL, order_update(5, "order.invented")], 0, 0, 0, 1),
        ([*ALL[:3], order_update(4, "order.cancelled")], 1, 0, 0, 1),
    ],
)
def test_faults_are_counted(
    updates: list[dict[str, Any]], lost: int, duplicated: int, reordered: int, wrong: int
) -> None:
    verdict = judged(updates)
    assert (verdict.lost, verdict.duplicated, verdict.reordered, verdict.wrong) == (lost, duplicated, reordered, wrong)
    assert not verdict.good and verdict.examples


def test_a_reset_is_not_good_even_when_nothing_is_missing() -> None:
    verdict = judged([*ALL[:2], order_update(2, reset={"reason": "CURSOR_INVALID"}), *ALL[2:]])
    assert verdict.resets == 1 and not verdict.good


def store_update(number: int, order: str, version: int, type: str) -> dict[str, Any]:
    orders = [{"id": order, "version": version}]
    return {"cursor": f"e.{number}", "kind": "EVENT", "type": type, "reset": None, "orders": orders}


def test_a_store_is_owed_every_version_from_payment_on() -> None:
    feed, verdict = StoreFeed("sto_1"), Verdict()
    feed.deliver({"cursor": "e.0", "kind": "SNAPSHOT", "type": None, "reset": None, "orders": []})
    for number, (version, type) in enumerate(TRUTH[1:], start=1):
        feed.deliver(store_update(number, "a", version, type))
    unpaid = [(1, "order.placed"), (2, "order.expired")]
    feed.judge({"a": TRUTH, "b": unpaid}, verdict)
    assert verdict.good and verdict.owed == 3
    feed.judge({"b": unpaid}, verdict := Verdict())
    assert verdict.wrong == 3  # orders nobody knows of


TASK_TYPES = ["delivery.offered", "delivery.assigned", "order.ready", "order.picked_up", "order.delivered"]
TASK_TRUTH = [(i, type) for i, type in enumerate(["order.placed", "order.paid", *TASK_TYPES], start=1)]


def rider_feed(types: list[str], cursors: list[int] | None = None) -> RiderFeed:
    feed = RiderFeed("rid_1")
    for number, type in zip(cursors or range(1, len(types) + 1), types, strict=True):
        tasks = [{"id": "d", "order": {"id": "a", "version": 99}}]
        feed.deliver(
            {"cursor": f"e.{number}", "kind": "EVENT", "type": type, "reset": None, "tasks": tasks, "gone": []}
        )
    return feed


@pytest.mark.parametrize(
    ("types", "cursors", "holder", "faults"),
    [
        (TASK_TYPES, None, "rid_1", (0, 0, 0, 0)),
        (TASK_TYPES[:2], None, "rid_2", (0, 0, 0, 0)),  # taken away: an unbroken run is all that is owed
        (TASK_TYPES[:4], None, "rid_1", (1, 0, 0, 0)),
        ([TASK_TYPES[0], TASK_TYPES[2]], None, "rid_2", (1, 0, 0, 1)),
        ([*TASK_TYPES[:2], *TASK_TYPES[1:]], [1, 2, 2, 3, 4, 5], "rid_1", (0, 1, 0, 0)),
        ([TASK_TYPES[0], TASK_TYPES[2], TASK_TYPES[1], *TASK_TYPES[3:]], None, "rid_1", (0, 0, 1, 0)),
    ],
)
def test_a_rider_is_owed_an_unbroken_run_of_the_order(
    types: list[str], cursors: list[int] | None, holder: str, faults: tuple[int, int, int, int]
) -> None:
    verdict = Verdict()
    rider_feed(types, cursors).judge({"a": TASK_TRUTH}, {"a": holder}, verdict)
    assert (verdict.lost, verdict.duplicated, verdict.reordered, verdict.wrong) == faults


def test_a_rider_who_saw_nothing_of_an_own_order_lost_all_of_it() -> None:
    verdict = Verdict()
    RiderFeed("rid_1").judge({"a": TASK_TRUTH}, {"a": "rid_1"}, verdict)
    assert verdict.lost == len(TASK_TYPES)


def test_a_second_reading_shows_what_the_first_missed() -> None:
    first, second, verdict = rider_feed(TASK_TYPES[:2]), rider_feed(TASK_TYPES), Verdict()
    first.judge_against(second.events, verdict)
    assert verdict.lost == 3


def test_positions_may_not_go_back_in_time() -> None:
    feed, verdict = LocationFeed("ord_1"), Verdict()
    for instant in ("10:00", "10:05", "10:05", "10:04"):
        feed.deliver({"cursor": "x", "riderLocation": {"recordedAt": instant}})
    feed.judge(verdict)
    assert verdict.reordered == 1 and not verdict.good


def test_the_last_figures_must_be_what_the_query_says() -> None:
    def overview(delivered: int) -> dict[str, Any]:
        return {"at": "", "ordersByState": [{"state": "DELIVERED", "count": delivered}, {"state": "PAID", "count": 0}]}

    feed = CityFeed("cit_1")
    feed.deliver({"cursor": "c", "at": "10:00", "overview": overview(3)})
    feed.judge(overview(3), good := Verdict())
    feed.judge(overview(4), bad := Verdict())
    assert good.good and bad.wrong == 1


def test_drops_are_seeded_and_limited() -> None:
    def moments(seed: int) -> list[int]:
        drops = Drops(seed, 0.1, most=5)
        return [i for i in range(500) if drops.now()]

    assert moments(1) == moments(1) != moments(2)
    assert len(moments(1)) == 5
    assert not any(Drops(1, 0).now() for _ in range(100))


def test_compare_counts_what_it_compared() -> None:
    compare(verdict := Verdict(), "x", [1, 2, 3], [1, 2, 3])
    assert (verdict.owed, verdict.received, verdict.examples) == (3, 3, [])
