"""``python -m cli feed-docs``: writes the table of feeds in docs/realtime.md from the declarations.

Subscriptions of the schema that are not declared as feeds end the command with an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from graphql import GraphQLSchema
from rich.console import Console

from schema.build import field_views, full_schema
from services.feeds import FEEDS, Feed
from subscriptions.feeds import Policy

PAGE: Final = Path("docs/realtime.md")
BEGIN: Final = "<!-- feeds: written by `python -m cli feed-docs` -->"
END: Final = "<!-- /feeds -->"

POLICIES: Final = {
    Policy.LOSSLESS: "lossless: every event, in order",
    Policy.COALESCED: "coalesced: the newest state after any change",
    Policy.LATEST: "newest value only",
}

complaints = Console(stderr=True)


def feed_docs(check: Annotated[bool, typer.Option(help="Compare only; fail when they differ.")] = False) -> None:
    """Write the table of feeds in docs/realtime.md."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    text = f"{before}{BEGIN}\n\n{table()}\n{END}{after}"
    if not check:
        PAGE.write_text(text)
        typer.echo(f"wrote {PAGE}")
    elif text != page:
        complaints.print(f"[red]{PAGE} is not what the declarations say[/]; run `python -m cli feed-docs`")
        raise typer.Exit(1)
    else:
        typer.echo(f"{PAGE} is up to date.")


def table() -> str:
    """The feeds by subscription, then the events of the logged ones. Raises ValueError for an undeclared one."""
    schema = full_schema()
    assert schema.subscription_type is not None
    undeclared = schema.subscription_type.fields.keys() ^ {feed.name for feed in FEEDS}
    if undeclared:
        raise ValueError(f"not the same in the schema and in services/feeds.py: {', '.join(sorted(undeclared))}")
    lines = [
        "| Subscription | Polled by | Views | Of one | Policy | Readers |",
        "|---|---|---|---|---|---|",
        *(_row(schema, feed) for feed in FEEDS),
        "",
        "| Events of one | Types |",
        "|---|---|",
    ]
    for kind in dict.fromkeys(feed.kind for feed in FEEDS if feed.kind.logged):
        names = ", ".join(f"`{event}`" for event in sorted(kind.events))
        lines.append(f"| {kind.name} | {names} |")
    return "\n".join(lines) + "\n"


def _row(schema: GraphQLSchema, feed: Feed[Any]) -> str:
    assert schema.subscription_type is not None
    views = field_views(schema.subscription_type.fields[feed.name]) or frozenset()
    poll = f"`{feed.poll}`" if feed.poll else "not logged: no resuming"
    seen = ", ".join(sorted(view.lower() for view in views))
    return f"| `{feed.name}` | {poll} | {seen} | {feed.key} | {POLICIES[feed.kind.policy]} | {feed.readers} |"
