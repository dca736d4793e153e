"""Every business error speaks both languages, with the same facts, and is told of in the documentation."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from string import Formatter

import pytest

from core.errors import LOCALES, BusinessError
from gateway import errors as presented
from gateway import refusals
from gateway.refusals import IN_CHINESE, refuse, told
from services import errors

DOCUMENTED = (Path(__file__).parents[1] / "docs" / "errors.md").read_text()
CHINESE = re.compile("[\u4e00-\u9fff]")


def placeholders(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}


def test_there_is_a_catalogue_and_no_code_twice() -> None:
    assert len(errors.CATALOGUE) > 40
    assert len({error.code for error in errors.CATALOGUE}) == len(errors.CATALOGUE)


@pytest.mark.parametrize("error", errors.CATALOGUE, ids=lambda error: error.__name__)
def test_messages_in_both_languages_with_the_same_facts(error: type[BusinessError]) -> None:
    facts = {fact.name for fact in dataclasses.fields(error)}  # type: ignore[arg-type]
    assert error.messages.keys() == set(LOCALES)
    assert placeholders(error.messages["en"]) == placeholders(error.messages["zh-CN"]) <= facts
    assert CHINESE.search(error.messages["zh-CN"]) and not CHINESE.search(error.messages["en"])
    said = error(**{name: f"<{name}>" for name in facts})
    for locale in LOCALES:
        message = said.message(locale)
        assert "{" not in message
        assert all(f"<{name}>" in message for name in placeholders(error.messages[locale]))
    assert said.message("de") == said.message("en")


@pytest.mark.parametrize("error", errors.CATALOGUE, ids=lambda error: error.__name__)
def test_every_code_is_documented(error: type[BusinessError]) -> None:
    assert re.fullmatch("[A-Z][A-Z0-9_]+", error.code)
    assert f"`{error.code}`" in DOCUMENTED


def test_codes_of_refusals_are_documented() -> None:
    """Also those of one word, which the page's look through the code passes over."""
    codes = {code for name, code in vars(refusals).items() if name.isupper() and isinstance(code, str)}
    assert len(codes) > 10 and not {code for code in codes if f"`{code}`" not in DOCUMENTED}


def test_refusals_that_people_meet_are_told_in_chinese() -> None:
    for code, text in IN_CHINESE.items():
        refused = refuse(code, "English", reason="X")
        assert CHINESE.search(text) and f"`{code}`" in DOCUMENTED
        assert told(refused.errors, "en") == refused.errors
        assert told(refused.errors, "zh-CN") == [{"message": text, "extensions": {"code": code, "reason": "X"}}]
    assert told(refuse("BAD_REQUEST", "English").errors, "zh-CN")[0]["message"] == "English"


@pytest.mark.parametrize("messages", [presented._SIGN_IN, presented._UNAVAILABLE, presented._INTERNAL])
def test_what_is_no_business_error_speaks_both_languages_too(messages: dict[str, str]) -> None:
    assert messages.keys() == set(LOCALES)
    assert CHINESE.search(messages["zh-CN"]) and not CHINESE.search(messages["en"])
