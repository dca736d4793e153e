"""Whatever stands in a message to people is said in Chinese too, down to the reasons that services give."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from core.words import PHRASES, WORDS, in_chinese
from services import errors
from services.delivery.fixes import PROBLEMS
from services.delivery.tasks import DeliveryAction
from services.errors import InvalidInput, OrderActionNotAllowed

ROOT = Path(__file__).parents[1]
CHINESE = re.compile("[\u4e00-\u9fff]")
REFUSED = ("InvalidInput", "PermissionDenied", "LocationRejected", "SessionInvalid")
FOR_PROGRAMMERS = ("ManifestRejected",)
"""Its reasons are those of graphql-core."""


def template(value: ast.expr | None) -> str | None:
    """The phrase that an expression writes, with ``{}`` for what it puts in."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    if isinstance(value, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in value.values)
    return None


def reasons_in(source: str) -> Iterator[str]:
    """Reasons given to refusals, by themselves, by a local ``wrong(…)`` or ``reason = …``, or by ``impossible``."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        found: list[ast.expr | None] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in REFUSED:
                found = [given.value for given in node.keywords if given.arg == "reason"]
            elif node.func.id == "wrong":
                found = list(node.args)
        elif isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["reason"]:
            found = [node.value]
        elif isinstance(node, ast.FunctionDef) and node.name == "impossible":
            found = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Return)]
        yield from (phrase for phrase in map(template, found) if phrase is not None)


def reasons() -> set[str]:
    files = [file for room in ("services", "resolvers") for file in (ROOT / room).rglob("*.py")]
    return {phrase for file in files for phrase in reasons_in(file.read_text())} | set(PROBLEMS.values())


def test_every_reason_has_its_chinese() -> None:
    found = reasons()
    assert len(found) > 80
    unsaid = [phrase for phrase in sorted(found) if not CHINESE.search(str(in_chinese(phrase.replace("{}", "7"))))]
    assert unsaid == []


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_phrase_tells_what_it_is_about_in_chinese_too(phrase: str) -> None:
    assert phrase.count("{}") == PHRASES[phrase].count("{}")
    told = [f"<{i}>" for i in range(phrase.count("{}"))]
    assert in_chinese(phrase.format(*told)) == PHRASES[phrase].format(*told)


def words_in_messages() -> Iterator[str]:
    yield from DeliveryAction
    for error in errors.CATALOGUE:
        hints = get_type_hints(error)
        for fact in dataclasses.fields(error):  # type: ignore[arg-type]
            kind: Any = hints[fact.name]
            if f"{{{fact.name}}}" in error.messages["zh-CN"] and isinstance(kind, type) and issubclass(kind, Enum):
                yield from (member.name for member in kind)
    for room in ("services", "resolvers"):
        for file in (ROOT / room).rglob("*.py"):
            yield from re.findall(r'resource="(\w+)"', file.read_text())


def test_every_word_has_its_chinese() -> None:
    assert sorted({word for word in words_in_messages() if word not in WORDS}) == []


def test_how_it_reads() -> None:
    assert InvalidInput(field="phone", reason="is not a phone number").message("zh-CN") == (
        "phone 无效：不是有效的电话号码。"
    )
    assert InvalidInput(field="lines.0.options", reason="辣度: choose 1 to 2, not 0").message("zh-CN") == (
        "lines.0.options 无效：辣度：须选 1 至 2 项，现选 0 项。"
    )
    assert errors.PermissionDenied(reason="this phone has no merchant role").message("zh-CN") == (
        "没有权限：该手机号没有商家身份。"
    )
    assert errors.NotFound(resource="Order").message("zh-CN") == "找不到该订单。"
    late = OrderActionNotAllowed(
        order=None, state=errors.commerce.OrderState.PLACED, action=errors.commerce.OrderAction.COMPLETE,
        available_actions=[],
    )  # type: ignore[arg-type]  # fmt: skip
    assert late.message("zh-CN") == "订单状态为“待支付”，不能“确认完成”。"
    assert late.message("en") == "COMPLETE is not possible while the order is PLACED."


def test_what_people_wrote_stays_as_it_is() -> None:
    assert errors.ItemUnavailable(item=None, name="Order").message("zh-CN") == "Order 已下架。"  # type: ignore[arg-type]
