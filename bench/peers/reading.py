"""How the peers of the HTTP bench read from PostgreSQL: the product's own Tortoise models, keys of a list at once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from starlette.applications import Starlette
from tortoise import Tortoise

from models import merchants, ordering

MODELS = ["models.ordering", "models.merchants"]


async def load_stores(keys: list[UUID]) -> list[merchants.Store]:
    found = await merchants.Store.in_bulk(keys, "id")
    return [found[key] for key in keys]


async def load_lines(keys: list[UUID]) -> list[list[ordering.OrderLine]]:
    found: dict[UUID, list[ordering.OrderLine]] = {key: [] for key in keys}
    for line in await ordering.OrderLine.filter(order_id__in=keys).order_by("position"):
        found[line.order_id].append(line)
    return [found[key] for key in keys]


def lifespan(database: str) -> Callable[[Starlette], Any]:
    """Opens Tortoise on ``database``."""

    @asynccontextmanager
    async def opened(_app: Starlette) -> Any:
        await Tortoise.init(
            {
                "connections": {"default": f"{database}?minsize=2&maxsize=12"},
                "apps": {
                    "models": {"models": ["models.ordering", "models.merchants"], "default_connection": "default"}
                },
                "use_tz": True,
                "timezone": "UTC",
            },
            _enable_global_fallback=True,
        )
        yield
        await Tortoise.close_connections()

    return opened
