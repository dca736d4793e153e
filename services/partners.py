"""Partners: integrators who call the API from their own servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from auth.principals import Principal, View
from models.database import Record
from services.errors import NotFound
from services.pages import of_each
from services.runtime import Runtime


@dataclass(frozen=True, slots=True)
class PartnerRecord:
    """One partner client, without its secrets."""

    id: UUID
    name: str
    client_id: str
    city_id: UUID
    created_at: datetime
    revoked_at: datetime | None


_COLUMNS: Final = ", ".join(PartnerRecord.__slots__)


def _partner(row: Record) -> PartnerRecord:
    return PartnerRecord(*[row[name] for name in PartnerRecord.__slots__])


async def get(runtime: Runtime, principal: Principal, partner_id: UUID) -> PartnerRecord:
    """A partner for itself and for the admins of its city. Raises NotFound."""
    row = await runtime.database.fetchrow(
        f"SELECT {_COLUMNS} FROM client WHERE id = $1 AND kind = 'PARTNER' AND city_id IS NOT NULL", partner_id
    )
    own = principal.view is View.PARTNER and principal.subject == partner_id
    if row is None or not (own or principal.administers(row["city_id"])):
        raise NotFound(resource="Partner")
    return _partner(row)


async def of_cities(
    runtime: Runtime, city_ids: Sequence[UUID], limit: int, after: UUID | None
) -> dict[UUID, list[PartnerRecord]]:
    """Partners of each city by key, at most ``limit`` with keys above ``after``, without any check of who asks."""
    page = f"""SELECT {_COLUMNS} FROM client WHERE kind = 'PARTNER' AND city_id = k.key
        AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3"""
    found = await of_each(runtime, city_ids, "uuid", page, "page.id", after, limit)
    return {key: [_partner(row) for row in rows] for key, rows in found.items()}
