"""The audit log: who did what to whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from auth.principals import Principal, View
from core.clock import wall_now
from models.database import Record
from services.pages import of_each
from services.runtime import Runtime
from services.unit import Unit

OPERATOR: Final = "OPERATOR"
"""In place of a view: whoever has the command line of the installation."""
_NOBODY: Final = UUID(int=0)


async def note(
    unit: Unit,
    actor: Principal | None,
    action: str,
    target_id: UUID,
    facts: dict[str, Any],
    city_id: UUID | None = None,
) -> None:
    """Write an entry with the transaction. ``actor``: the principal who acts, None for the operator.

    ``city_id``: whose admins may read it. By default, that of a target that is a partner or a device; of anything else
    nobody's.
    """
    await unit.sql.execute(
        """INSERT INTO audit_entry (id, at, view, actor_id, action, target_id, facts, city_id)
           VALUES ($1, $2, $3, $4, $5, $6, $7, coalesce($8, (
               SELECT coalesce(c.city_id, s.city_id) FROM client c LEFT JOIN store s ON s.id = c.store_id
               WHERE c.id = $6)))""",
        unit.runtime.new_id(),
        wall_now(),
        OPERATOR if actor is None else actor.view,
        _NOBODY if actor is None else actor.subject,
        action,
        target_id,
        orjson.dumps(facts, default=str).decode(),
        city_id,
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """What somebody did, at an instant of wall time. ``view`` is None for the operator.

    ``target`` is a type's name and a key; None for what is not there any more.
    """

    id: UUID
    at: datetime
    view: View | None
    actor_id: UUID | None
    action: str
    target: tuple[str, UUID] | None
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries: all that fulfil everything that is given. ``since`` is inclusive, ``until`` is not."""

    target: tuple[str, UUID] | None = None
    actor_id: UUID | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


Position = tuple[datetime, UUID]
"""Of an entry in the log: its instant and its key."""

_PAGE: Final = """SELECT a.id, a.at, a.view, a.actor_id, a.action, a.target_id, a.facts::text AS facts,
    (SELECT c.kind FROM client c WHERE c.id = a.target_id) AS client_kind,
    (SELECT d.id FROM device d WHERE d.client_id = a.target_id) AS device_id
    FROM audit_entry a WHERE a.city_id = k.key"""
_OF_DEVICE: Final = "(SELECT d.client_id FROM device d WHERE d.id = {})"


def page_of(chosen: Filter, limit: int, before: Position | None) -> tuple[str, list[object]]:
    """The SELECT for :func:`services.pages.of_each` and its arguments. Only what is asked for is in it: each filter has
    an index in the order of the pages."""
    args: list[object] = []

    def place(value: object) -> str:
        args.append(value)
        return f"${len(args) + 1}"

    asked: list[str] = []
    if chosen.target is not None:
        kind, key = chosen.target
        asked.append(f"a.target_id = {_OF_DEVICE.format(place(key)) if kind == 'Device' else place(key)}")
    if chosen.actor_id is not None:
        asked.append(f"a.actor_id = {place(chosen.actor_id)}")
    if chosen.action is not None:
        asked.append(f"a.action = {place(chosen.action)}")
    if chosen.since is not None:
        asked.append(f"a.at >= {place(chosen.since)}")
    if chosen.until is not None:
        asked.append(f"a.at < {place(chosen.until)}")
    if before is not None:
        asked.append(f"(a.at, a.id) < ({place(before[0])}, {place(before[1])})")
    conditions = "".join(f" AND {each}" for each in asked)
    return f"{_PAGE}{conditions} ORDER BY a.at DESC, a.id DESC LIMIT {place(limit)}", args


async def of_cities(
    runtime: Runtime, city_ids: Sequence[UUID], chosen: Filter, limit: int, before: Position | None
) -> dict[UUID, list[Entry]]:
    """Entries that admins of each city may read, the newest first, without any check of who asks."""
    page, args = page_of(chosen, limit, before)
    found = await of_each(runtime, city_ids, "uuid", page, "page.at DESC, page.id DESC", *args)
    return {key: [_entry(row) for row in rows] for key, rows in found.items()}


def _entry(row: Record) -> Entry:
    by_operator = row["view"] == OPERATOR
    return Entry(
        row["id"],
        row["at"],
        None if by_operator else View(row["view"]),
        None if by_operator else row["actor_id"],
        row["action"],
        _target(row),
        orjson.loads(row["facts"]),
    )


_OF_OTHERS: Final = {"create_city": "City", "take_down_picture": "Picture"}
"""What an action is done to, where that is neither a partner or device nor a person."""


def _target(row: Record) -> tuple[str, UUID] | None:
    if row["device_id"] is not None:
        return "Device", row["device_id"]
    if row["client_kind"] == "PARTNER":
        return "Partner", row["target_id"]
    if row["client_kind"] is not None:  # of a device that has other credentials now
        return None
    return _OF_OTHERS.get(row["action"], "Person"), row["target_id"]
