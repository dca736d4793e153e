"""What a subscription delivers, whatever the feed: a snapshot first, then changes, each with a cursor."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)
V = TypeVar("V")


class UpdateKind(StrEnum):
    SNAPSHOT = "SNAPSHOT"
    EVENT = "EVENT"


class ResetReason(StrEnum):
    """Why ``after`` could not be resumed from."""

    LOG_TRUNCATED = "LOG_TRUNCATED"
    EPOCH_CHANGED = "EPOCH_CHANGED"
    CURSOR_INVALID = "CURSOR_INVALID"


@dataclass(frozen=True, slots=True)
class FeedReset:
    reason: ResetReason


@dataclass(slots=True)
class Update(Generic[T_co]):
    """One delivery; nobody changes it. (A frozen one takes three times as long to make.)

    ``type`` is the event's name, None on a snapshot; ``reset`` only on a snapshot that replaces what the subscriber's
    cursor pointed at.
    """

    cursor: str
    kind: UpdateKind
    type: str | None
    at: datetime
    reset: FeedReset | None
    value: T_co

    def carrying(self, value: V) -> Update[V]:
        """The same delivery with another value."""
        return Update(self.cursor, self.kind, self.type, self.at, self.reset, value)
