"""Business errors: facts that a caller can act on.

Services raise them; a transaction that raises one writes nothing. Each class has a GraphQL type of the same name
(``schema/errors.py``) whose fields are the error's facts. ``code`` never changes and is never translated.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import ClassVar, Final

from core.words import in_chinese

LOCALES = ("en", "zh-CN")
_OURS: Final = ("action", "mode", "reason", "resource")
"""Facts that are words of the program as well as all enums are; others are what people wrote."""


class BusinessError(Exception):
    """Base of all errors that are told to the caller as typed data.

    Subclasses are declared as keyword-only facts plus one message template per locale; the templates are
    formatted with the facts.
    """

    messages: ClassVar[dict[str, str]]
    code: ClassVar[str]

    def __init_subclass__(cls) -> None:
        if "code" not in cls.__dict__:
            cls.code = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).upper()

    def message(self, locale: str = "en") -> str:
        """The text for a person, in ``locale`` or else in English."""
        if locale not in self.messages:
            locale = "en"
        facts = vars(self)
        if locale == "zh-CN":
            ours = {name: in_chinese(fact) for name, fact in facts.items() if name in _OURS or isinstance(fact, Enum)}
            facts = {**facts, **ours}
        return self.messages[locale].format_map(facts)

    def __str__(self) -> str:
        return f"{self.code}: {self.message()}"
