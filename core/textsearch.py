"""Substring search in names of any script, with or without spaces between words.

Text is folded letter by letter, so that a piece of a text folds to a piece of the folded text: compatibility forms
(full-width letters, ligatures) and case are evened out, accents and punctuation dropped. The result is a list of
*terms*: runs of Chinese and Japanese characters, or of other letters and digits. A query finds a text when each of
its terms lies within one of the text's terms.

*Grams* are all pieces of a term of up to two (Chinese, Japanese) or three characters. The grams of a query are a
subset of the grams of every text that it finds, which an inverted index on arrays answers.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_IDEOGRAPHIC: Final = (
    (0x3005, 0x3007),
    (0x3040, 0x312F),
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0x1F000, 0x1FAFF),  # a pictograph is as good as a word
    (0x20000, 0x3FFFF),
)
_VOICING_MARKS: Final = ("\u3099", "\u309a")


@dataclass(frozen=True, slots=True)
class Index:
    """What is stored for a thing that can be found: its folded texts, one per line, and their grams, sorted."""

    text: str
    grams: list[str]


@dataclass(frozen=True, slots=True)
class Query:
    """``terms`` that must all occur, and the ``grams`` that anything found has. Without terms nothing is found."""

    terms: list[str]
    grams: list[str]


def index(texts: Iterable[str]) -> Index:
    """The index entry of a thing with the names ``texts``."""
    folded = list(dict.fromkeys(" ".join(terms(text)) for text in texts))
    grams: set[str] = set()
    for line in folded:
        for term in line.split():
            longest = _longest_gram(term)
            for size in range(1, longest + 1):
                grams.update(term[i : i + size] for i in range(len(term) - size + 1))
    return Index("\n".join(line for line in folded if line), sorted(grams))


def query(text: str) -> Query:
    """What to look for when a person types ``text``."""
    wanted = list(dict.fromkeys(terms(text)))
    grams: set[str] = set()
    for term in wanted:
        size = min(_longest_gram(term), len(term))
        grams.update(term[i : i + size] for i in range(len(term) - size + 1))
    return Query(wanted, sorted(grams))


def terms(text: str) -> list[str]:
    """The folded terms of ``text`` in order. They consist of letters, digits and pictographs only."""
    found: list[str] = []
    kind = ""
    for char in text:
        for folded, folded_kind in _fold(char):
            if folded_kind == "space":
                kind = ""
            elif folded_kind == kind:
                found[-1] += folded
            else:
                found.append(folded)
                kind = folded_kind
    return found


@lru_cache(maxsize=8192)
def _fold(char: str) -> tuple[tuple[str, str], ...]:
    """The folded characters that stand for ``char``, each with its kind: space, ideograph or letter."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())
    return tuple((c, kind) for c in folded if (kind := _kind(c)))


def _kind(char: str) -> str:
    category = unicodedata.category(char)
    if char.isspace() or category[0] == "Z":
        return "space"
    if _is_ideograph(char):
        return "ideograph"
    if category[0] in "LN" or category == "Mc":
        return "letter"
    return ""


def _is_ideograph(char: str) -> bool:
    code = ord(char)
    return char not in _VOICING_MARKS and any(low <= code <= high for low, high in _IDEOGRAPHIC)


def _longest_gram(term: str) -> int:
    return 2 if _is_ideograph(term[0]) else 3
