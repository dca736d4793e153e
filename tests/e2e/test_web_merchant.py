"""The merchant's page sends what moves money and stock under one key until it has heard an answer."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import node

MERCHANT = Path(__file__).parents[2] / "web" / "js" / "merchant.js"
SCREEN = Path(__file__).with_name("web_merchant.mjs")


def sent(scenario: str) -> list[Any]:
    try:
        command = node.node_command()
    except node.NodeMissing as error:
        pytest.skip(str(error))
    told = subprocess.run(
        [*command, "--no-warnings", str(SCREEN), MERCHANT.as_uri(), scenario], check=True, stdout=subprocess.PIPE,
        env=node.environment(),
    )  # fmt: skip
    return json.loads(told.stdout)


def test_a_refund_without_an_answer_is_sent_again_as_it_was() -> None:
    first, second, third, fourth = sent("refund")
    assert first == second == third and (first["order"], first["amount"]) == ("ord_1", 4400)
    assert "Noodles×2" in first["reason"] and "Juice" not in first["reason"]
    assert fourth == first | {"key": fourth["key"]} and fourth["key"] != first["key"], "answered: another refund"


def test_a_count_without_an_answer_is_sent_again_as_it_was() -> None:
    counts = sent("stock")
    assert [count["stock"] for count in counts] == [5, 5, 5, 5, 0, None]
    keys = [count["key"] for count in counts]
    assert keys[0] == keys[1] == keys[2] and len(set(keys[2:])) == 4
    assert [count["soldOut"] for count in counts[2:]] == [False, False, True, False]


def test_money_is_given_back_with_the_second_tap() -> None:
    assert sent("twice") == [0, 1, 1]
