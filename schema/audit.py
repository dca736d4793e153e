"""The audit log in the graph."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from auth.principals import View
from resolvers import audit as resolvers
from schema import enums as _enums  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schema.base import A, computed, exposes, sized
from services.audit import Entry

if TYPE_CHECKING:
    from schema.identity import Person


@exposes(resolvers.Fact, views={A}, weight=0)
@strawberry.type(description="A circumstance of what was done; keys of things are their global ids.")
class AuditFact:
    name: str
    value: str


@exposes(Entry, views={A})
@strawberry.type(description="Who did what to whom.")
class AuditEntry:
    at: datetime = strawberry.field(description="Of wall time.")
    view: View | None = strawberry.field(
        description="Where it was done; null for the operator at the installation's command line."
    )
    actor: Annotated[Person, strawberry.lazy("schema.identity")] | None = computed(
        resolvers.actor_of, description="Who did it, where that is a person."
    )
    action: str = strawberry.field(description="For example `share_store`.")
    target: strawberry.ID | None = computed(
        resolvers.target_of, description="Global id of what it was done to, while that is known."
    )
    facts: list[AuditFact] = sized(3, computed(resolvers.facts_of))
