"""A contract may break its clients only when the changelog says so."""

from __future__ import annotations

import pytest
from graphql import build_schema

from auth.principals import View
from tools.schema_changes import CHANGELOG, RELEASED, Change, changes, unexplained

OLD = """type Query { order(id: ID!): Order now: String }
type Order { id: ID! eta: String state: State } enum State { A B }"""


@pytest.mark.parametrize(
    ("new", "kind"),
    [
        (OLD.replace(" eta: String", ""), "FIELD_REMOVED"),
        (OLD.replace("eta: String", "eta: Int"), "FIELD_CHANGED_KIND"),
        (OLD.replace("id: ID!)", "id: ID!, city: ID!)"), "REQUIRED_ARG_ADDED"),
        (OLD.replace("A B", "A"), "VALUE_REMOVED_FROM_ENUM"),
    ],
)
def test_a_breaking_change_needs_an_entry_with_date_and_reason(new: str, kind: str) -> None:
    (change,) = [c for c in changes(build_schema(OLD), build_schema(new), View.CONSUMER) if c.breaking]
    assert change.kind == kind
    assert unexplained([change], "## Unreleased\n\n## 0.1\n") == [change]
    told = change.entry.replace("…", "nobody asked for it.")
    assert unexplained([change], f"## Unreleased\n\n{told}\n\n## 0.1\n") == []
    assert unexplained([change], f"## Unreleased\n\n## 0.1\n{told}\n") == [change], "an old entry allows nothing"
    assert unexplained([change], f"## Unreleased\n{told.replace('consumer', 'rider')}\n") == [change]
    assert unexplained([change], f"## Unreleased\n{told.replace('consumer', 'rider, consumer')}\n") == []
    assert unexplained([change], f"## Unreleased\n{told.replace('consumer', 'all')}\n") == []
    assert unexplained([change], f"## Unreleased\n{change.entry.partition(' Why')[0]}\n") == [change], "no reason"


def test_additions_break_nobody() -> None:
    grown = OLD.replace("now: String", "now: String later: String").replace("A B", "A B C")
    found = changes(build_schema(OLD), build_schema(grown), View.RIDER)
    assert [(c.kind, c.breaking) for c in found] == [("VALUE_ADDED_TO_ENUM", False)]
    assert unexplained(found, "## Unreleased\n") == []


def test_what_is_promised_is_there() -> None:
    """Without it the check would compare with nothing."""
    assert {path.stem.upper() for path in RELEASED.glob("*.graphql")} == set(View)
    assert isinstance(Change(View.RIDER, "K", "T", True).entry, str) and "## Unreleased" in CHANGELOG.read_text()
