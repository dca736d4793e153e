"""How each type with a global id is loaded, with the caller's row scope applied."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Final, TypeAlias, cast
from uuid import UUID

from resolvers import (
    catalog,
    delivery,
    devices,
    files,
    identity,
    insight,
    merchants,
    ordering,
    partners,
    queueing,
    webhooks,
)
from resolvers.context import Context

Load: TypeAlias = Callable[[Context, UUID], Awaitable[object | None]]


def _merged(*modules: ModuleType) -> dict[str, Load]:
    nodes: dict[str, Load] = {}
    for module in modules:
        own = cast(dict[str, Load], getattr(module, "NODES", {}))
        twice = nodes.keys() & own.keys()
        if twice:
            raise ValueError(f"{module.__name__} loads again: {', '.join(sorted(twice))}")
        nodes |= own
    return nodes


NODES: Final = _merged(
    identity, merchants, catalog, ordering, delivery, queueing, devices, files, partners, webhooks, insight
)
