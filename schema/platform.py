"""Any node by its id, and the domain clock."""

from __future__ import annotations

from datetime import datetime
from functools import cache

import strawberry

from auth.principals import View
from resolvers import platform as resolvers
from resolvers.context import ID, Info
from schema import enums as _enums  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schema.base import ALL, Node, exposes, query, type_views


@exposes(resolvers.ClockReading)
@strawberry.type(description="The domain clock. Deadlines and promises are told in its time.")
class Clock:
    now: datetime
    speed: float = strawberry.field(description="Domain seconds per real second; 1 outside demos.")


@cache
def _known_to(view: View) -> frozenset[str]:
    return frozenset(name for name, views in type_views.items() if view in views)


class PlatformQuery:
    @query(Node | None, *ALL)
    async def node(self, info: Info, id: ID) -> object | None:
        """Anything with a global id that the caller may see."""
        return await resolvers.node(info.context, id, _known_to(info.context.principal.view))

    @query(Clock, *ALL)
    async def clock(self, info: Info) -> object:
        """The domain time now."""
        return await resolvers.clock(info.context)
