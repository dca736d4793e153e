"""What a caller takes: the header ``Accept`` as RFC 9110, section 12.5.1, says.

Of several ranges that a media type is in, the most specific one tells its quality. What the RFC leaves open: entries
that are no media range are passed over, a weight that is none counts as 1, and of ranges that say the same the first
counts. Parameters other than ``charset`` narrow nothing down, but a range without them is asked first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from gateway.requests import remembered

_QUOTED: Final = r'"(?:[^"\\]|\\.)*(?:"|\\?$)'  # one that is not closed goes on to the end
_ENTRY: Final = re.compile(rf'(?:[^,"]|{_QUOTED})+', re.DOTALL)
_PART: Final = re.compile(rf'(?:[^;"]|{_QUOTED})+', re.DOTALL)
_TOKEN: Final = r"[a-z0-9!#$%&'*+.^_`|~-]+"
_RANGE: Final = re.compile(rf"\s*(\*/\*|{_TOKEN}/{_TOKEN})\s*(?:;|$)")
_WEIGHT: Final = re.compile(r"\d+(?:\.\d*)?|\.\d+", re.ASCII)
_UTF8: Final = ("utf-8", "utf8")


@dataclass(frozen=True, slots=True)
class Range:
    """One entry. ``name`` is in lower case; ``charset`` is None where none is named; ``plain``: no other parameters."""

    name: str
    quality: float
    charset: str | None = None
    plain: bool = True

    def specificity(self, media_type: str) -> tuple[bool, bool, bool, bool] | None:
        """How closely it describes ``media_type``, in UTF-8; None where it does not."""
        if self.charset is not None and self.charset not in _UTF8:
            return None
        exact = self.name == media_type
        of_type = self.name == f"{media_type.partition('/')[0]}/*"
        if not exact and not of_type and self.name != "*/*":
            return None
        return exact, of_type, self.plain, self.charset is not None


@dataclass(frozen=True, slots=True)
class Accept:
    """The ranges of a request in their order, and the one the caller likes best, the first of equals."""

    ranges: tuple[Range, ...]
    favourite: str | None

    def names(self, media_type: str) -> bool:
        """Whether the caller takes ``media_type`` and says so by name."""
        named = tuple(each for each in self.ranges if each.name == media_type)
        return Accept(named, None).best([media_type]) is not None

    def best(self, offers: Iterable[str]) -> str | None:
        """The one of ``offers`` that the caller likes best; of equals, what it named first, then what is offered
        first. None where it takes none of them."""
        liked: tuple[float, int] | None = None
        chosen: str | None = None
        for offer in offers:
            found = [(s, -place) for place, each in enumerate(self.ranges) if (s := each.specificity(offer))]
            if not found:
                continue
            _, before = max(found)
            rank = self.ranges[-before].quality, before
            if rank[0] > 0 and (liked is None or rank > liked):
                liked, chosen = rank, offer
        return chosen


@remembered
def read(header: str) -> Accept:
    """What the value of the header says, or of several with commas between them."""
    ranges = tuple(entry for text in _ENTRY.findall(header.lower()) if (entry := _range(text)) is not None)
    wanted = [each for each in ranges if each.quality > 0]
    return Accept(ranges, max(wanted, key=attrgetter("quality")).name if wanted else None)


def _range(text: str) -> Range | None:
    found = _RANGE.match(text)
    if found is None or (found[1].startswith("*/") and found[1] != "*/*"):
        return None
    quality, charset, plain = 1.0, None, True
    for parameter in _PART.findall(text, found.end()):
        key, _, value = (part.strip() for part in parameter.partition("="))
        if key == "q":
            quality = min(float(value), 1.0) if _WEIGHT.fullmatch(value) else 1.0
        elif key == "charset":
            charset = value.strip('"')
        elif key:
            plain = False
    return Range(found[1], quality, charset, plain)
