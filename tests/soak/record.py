"""What a subscriber was told, and its comparison with the event log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from subscriptions.feeds import Cursor

SHOWN = 12


@dataclass
class Record:
    """One subscription from its begin to its end, over all the connections that it needed.

    ``ended``: how the server ended it, which it never should.
    """

    name: str
    feed: str
    updates: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0
    closes: Counter[str] = field(default_factory=Counter[str])
    ended: str | None = None
    finished: bool = False

    @property
    def offset(self) -> int:
        """Of the newest update, -1 before the first."""
        return self._offset(self.updates[-1]) if self.updates else -1

    def _offset(self, update: dict[str, Any]) -> int:
        cursor = Cursor.decode(update["cursor"], self.feed)
        assert cursor is not None, update
        return cursor.offset


@dataclass
class Verdict:
    """Numbers of events. ``problems`` says where."""

    events: int = 0
    lost: int = 0
    repeated: int = 0
    reordered: int = 0
    wrong: int = 0
    resets: int = 0
    ended: int = 0
    snapshots: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.repeated or self.reordered or self.wrong or self.resets or self.ended)

    def add(self, other: Verdict) -> None:
        for name in ("events", "lost", "repeated", "reordered", "wrong", "resets", "ended", "snapshots"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.problems += other.problems


def judge(record: Record, log: Mapping[int, str], top: int) -> Verdict:
    """Compare with the log: event types by offset, up to ``top``.

    What a subscriber was given twice counts as repeated, though clients would drop it by its cursor: the server is
    not meant to need that. A subscription that is still open must have reached the top.
    """
    verdict = Verdict()

    def problem(what: str) -> None:
        verdict.problems.append(f"{record.name} on {record.feed}: {what}")

    position: int | None = None
    seen: set[int] = set()
    for update in record.updates:
        offset = record._offset(update)
        if update["kind"] == "SNAPSHOT":
            verdict.snapshots += 1
            # On a coalesced feed all updates are snapshots: what counts is that the newest state arrives, in order.
            if update["reset"] is not None:
                verdict.resets += 1
                problem(f"was reset at {offset}: {update['reset']['reason']}")
            elif position is not None and offset < position:
                verdict.reordered += 1
                problem(f"a snapshot of {offset} after {position}")
            position = offset
            continue
        verdict.events += 1
        if offset in seen:
            verdict.repeated += 1
            problem(f"{offset} again")
        elif position is None or offset <= position:
            verdict.reordered += 1
            problem(f"{offset} after {position}")
        elif offset > position + 1:
            verdict.lost += offset - position - 1
            problem(f"from {position} to {offset}")
        if log.get(offset) != update["type"]:
            verdict.wrong += 1
            problem(f"{offset} is {update['type']}, in the log {log.get(offset)}")
        seen.add(offset)
        position = offset if position is None else max(position, offset)
    if record.ended is not None:
        verdict.ended += 1
        problem(f"ended by the server: {record.ended}")
    if not record.finished and (position is None or position < top):
        verdict.lost += top - (position or 0)
        problem(f"stands at {position} of {top}; connections {record.connections}, closes {dict(record.closes)}")
    if position is not None and position > top:
        verdict.wrong += 1
        problem(f"is at {position}, ahead of the log's {top}")
    return verdict


__all__ = ["Record", "Verdict", "judge"]
