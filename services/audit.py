"""The audit log: who did what to whom."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import orjson

from auth.principals import Principal
from core.clock import wall_now
from services.unit import Unit

OPERATOR: Final = "OPERATOR"
"""In place of a view: whoever has the command line of the installation."""
_NOBODY: Final = UUID(int=0)


async def note(unit: Unit, actor: Principal | None, action: str, target_id: UUID, facts: dict[str, Any]) -> None:
    """Write an entry with the transaction. ``actor``: the principal who acts, None for the operator."""
    await unit.sql.execute(
        """INSERT INTO audit_entry (id, at, view, actor_id, action, target_id, facts)
           VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        unit.runtime.new_id(),
        wall_now(),
        OPERATOR if actor is None else actor.view,
        _NOBODY if actor is None else actor.subject,
        action,
        target_id,
        orjson.dumps(facts, default=str).decode(),
    )
