"""Changes of the contracts since the last release, and the changelog that must tell of the breaking ones.

``schema/released/`` holds the contracts as clients were last promised them. A change that can break a client is
allowed when ``schema/CHANGELOG.md`` says so under "Unreleased", with the date and the reason::

    - 2026-11-24 consumer: Field Order.eta was removed. Why: `promise` has told it since March.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, cast

import graphql
from graphql import GraphQLSchema, build_schema

from auth.principals import View
from gateway.contracts import Contract

RELEASED: Final = Path("schema/released")
CHANGELOG: Final = Path("schema/CHANGELOG.md")
UNRELEASED: Final = "## Unreleased"
_ENTRY: Final = re.compile(
    r"- (?P<date>\d{4}-\d\d-\d\d) (?P<views>[a-z]+(?:, ?[a-z]+)*): (?P<text>.+) Why: (?P<reason>.+)"
)

_find: Final[Any] = cast(Any, graphql).find_schema_changes
_Breaking: Final[Any] = cast(Any, graphql).BreakingChange
_Dangerous: Final[Any] = cast(Any, graphql).DangerousChange


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one contract; ``text`` is graphql-core's description."""

    view: View
    kind: str
    text: str
    breaking: bool

    @property
    def entry(self) -> str:
        """The changelog entry that allows it, but for the reason."""
        return f"- {date.today().isoformat()} {self.view.lower()}: {self.text} Why: …"


def changes(old: GraphQLSchema, new: GraphQLSchema, view: View) -> list[Change]:
    """What has changed from ``old`` to ``new`` that clients may notice."""
    found: list[Change] = []
    for change in _find(old, new):
        breaking = isinstance(change, _Breaking)
        if breaking or isinstance(change, _Dangerous):
            found.append(Change(view, change.type.name, change.description, breaking))
    return found


def all_changes(contracts: Mapping[View, Contract], folder: Path = RELEASED) -> list[Change]:
    """The changes of every contract since the release in ``folder``."""
    found: list[Change] = []
    for view, contract in contracts.items():
        path = folder / f"{view.lower()}.graphql"
        if path.exists():
            found += changes(build_schema(path.read_text()), build_schema(contract.sdl()), view)
    return found


def unexplained(found: list[Change], changelog: str) -> list[Change]:
    """The breaking changes that the changelog's unreleased part does not tell of."""
    part = changelog.partition(UNRELEASED)[2].partition("\n## ")[0]
    told: set[tuple[str, str]] = set()
    for line in part.splitlines():
        match = _ENTRY.fullmatch(line.strip())
        if match is not None:
            views = [view.strip() for view in match["views"].split(",")]
            told |= {(view, match["text"]) for view in views}
    return [
        change
        for change in found
        if change.breaking and not {(change.view.lower(), change.text), ("all", change.text)} & told
    ]


def release(contracts: Mapping[View, Contract], version: str) -> None:
    """Promise clients the contracts as they are now: the changelog's unreleased part becomes ``version``."""
    RELEASED.mkdir(exist_ok=True)
    for view, contract in contracts.items():
        (RELEASED / f"{view.lower()}.graphql").write_text(contract.sdl())
    head, _, rest = CHANGELOG.read_text().partition(UNRELEASED)
    CHANGELOG.write_text(f"{head}{UNRELEASED}\n\n## {version}, {date.today().isoformat()}{rest}")
