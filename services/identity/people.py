"""People, and what may be their phones and names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from auth.authenticate import PERSON_VIEWS, VIEW_ROLES
from auth.principals import View
from core.phones import normalise
from services.columns import ALL, Columns, Shape
from services.errors import InvalidInput
from services.runtime import Runtime
from services.unit import Unit

MAX_NAME: Final = 80


@dataclass(slots=True)
class PersonRecord:
    """What is shown of one row of ``person``."""

    id: UUID
    phone: str
    name: str | None


_PEOPLE: Final = Shape(PersonRecord, "p")


def checked_phone(phone: str, field: str = "phone") -> str:
    """``phone`` in E.164. Raises InvalidInput."""
    normal = normalise(phone)
    if normal is None:
        raise InvalidInput(field=field, reason="is not a phone number")
    return normal


def checked_name(name: str, field: str = "name") -> str:
    """``name`` without outer spaces. Raises InvalidInput."""
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidInput(field=field, reason=f"must have 1 to {MAX_NAME} printable characters")
    return name


def person_view(view: View) -> View:
    """``view`` if people sign in to it. Raises InvalidInput."""
    if view not in PERSON_VIEWS:
        raise InvalidInput(field="view", reason="is for machines; people sign in to the other ones")
    return view


async def ensure_person(unit: Unit, phone: str, name: str | None) -> UUID:
    """The person with that E.164 phone, new if there is none; a name is only set where there was none."""
    return await unit.sql.fetchval(
        """INSERT INTO person (id, phone, name, created_at) VALUES ($1, $2, $3, $4)
           ON CONFLICT (phone) DO UPDATE SET name = coalesce(person.name, excluded.name) RETURNING id""",
        unit.runtime.new_id(),
        phone,
        name,
        unit.now,
    )


async def has_role(unit: Unit, person_id: UUID, view: View) -> bool:
    """Whether the person may sign in to ``view``."""
    if view is View.CONSUMER:
        return True
    found = await unit.sql.fetchval(
        'SELECT 1 FROM "grant" WHERE person_id = $1 AND revoked_at IS NULL AND role = ANY($2::text[]) LIMIT 1',
        person_id,
        sorted(VIEW_ROLES[view]),
    )
    if found is None and view is View.MERCHANT:
        # Somebody who owns a merchant without a store yet signs in to open the first one.
        found = await unit.sql.fetchval("SELECT 1 FROM merchant WHERE owner_id = $1 LIMIT 1", person_id)
    return found is not None


async def people(runtime: Runtime, ids: Sequence[UUID], columns: Columns = ALL) -> dict[UUID, PersonRecord]:
    """People by key, without any check of who asks."""
    chosen = _PEOPLE.choose(columns.of(PersonRecord))
    rows = await runtime.database.fetch(f"SELECT {chosen.sql} FROM person p WHERE p.id = ANY($1::uuid[])", list(ids))
    return {person.id: person for person in map(chosen.record, rows)}
