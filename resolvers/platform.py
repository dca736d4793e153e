"""Things that belong to no context: any node by its id, and the clock."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime

from core import ids
from resolvers.base import or_none
from resolvers.context import Context
from resolvers.nodes import NODES


@dataclass(frozen=True, slots=True)
class ClockReading:
    """``speed`` is domain seconds per real second."""

    now: datetime
    speed: float


async def clock(context: Context) -> ClockReading:
    return ClockReading(context.runtime.clock.now(), context.runtime.clock.speed)


async def node(context: Context, public_id: str, known: Container[str]) -> object | None:
    """The thing with ``public_id``, None when there is none, it is not the caller's, or not of a ``known`` type."""
    parsed = ids.parse(public_id)
    if parsed is None:
        return None
    type_name, key = parsed
    load = NODES.get(type_name)
    if load is None or type_name not in known:
        return None
    return await or_none(load(context, key))
