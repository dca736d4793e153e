"""The judge of the loss harness finds what it is there for."""

from __future__ import annotations

from typing import Any

import pytest

from subscriptions.feeds import Cursor
from tests.soak.record import Record, judge

FEED = "order:1"
LOG = {offset: f"type.{offset}" for offset in range(1, 11)}


def event(offset: int, type: str | None = None) -> dict[str, Any]:
    cursor = Cursor("e", offset).encode(FEED)
    return {"cursor": cursor, "kind": "EVENT", "type": type or LOG[offset], "reset": None}


def snapshot(offset: int, reset: str | None = None) -> dict[str, Any]:
    cursor = Cursor("e", offset).encode(FEED)
    return {"cursor": cursor, "kind": "SNAPSHOT", "type": None, "reset": reset and {"reason": reset}}


def verdict(*updates: dict[str, Any], finished: bool = False, ended: str | None = None) -> dict[str, int]:
    found = judge(Record("somebody", FEED, list(updates), finished=finished, ended=ended), LOG, 10)
    faults = ("lost", "repeated", "reordered", "wrong", "resets", "ended")
    return {name: getattr(found, name) for name in faults if getattr(found, name)}


def test_everything_in_order_is_good() -> None:
    assert verdict(snapshot(4), *map(event, range(5, 11))) == {}
    assert verdict(snapshot(2), snapshot(4), *map(event, range(5, 11))) == {}
    assert verdict(snapshot(4), event(5), finished=True) == {}, "who left early need not have the rest"
    assert verdict(snapshot(3), snapshot(7), snapshot(10)) == {}, "as on a coalesced feed"


@pytest.mark.parametrize(
    ("updates", "faults"),
    [
        ([snapshot(4), event(5), event(8), event(9), event(10)], {"lost": 2}),
        ([snapshot(4), *map(event, range(5, 10))], {"lost": 1}),
        ([], {"lost": 10}),
        ([snapshot(8), event(9), event(9), event(10)], {"repeated": 1}),
        ([snapshot(8), event(10), event(9)], {"lost": 1, "reordered": 1}),
        ([snapshot(9), event(8), event(10)], {"reordered": 1}),
        ([snapshot(9), snapshot(7), *map(event, range(8, 11))], {"reordered": 1}),
        ([event(1), *map(event, range(2, 11))], {"reordered": 1}),
        ([snapshot(8), event(9, "type.7"), event(10)], {"wrong": 1}),
        ([snapshot(8), event(9), snapshot(10, "LOG_TRUNCATED")], {"resets": 1}),
        ([snapshot(10), event(11, "made up")], {"wrong": 2}),
    ],
)
def test_every_fault_is_found(updates: list[dict[str, Any]], faults: dict[str, int]) -> None:
    assert verdict(*updates) == faults


def test_a_subscription_that_the_server_ended() -> None:
    assert verdict(snapshot(10), ended="complete") == {"ended": 1}
