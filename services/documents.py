"""Registered documents: what partners may call, and what everybody may call by its id.

A document is never changed: another text has another id. It may be deprecated from an instant on, of which its callers
are told, and retired, after which it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from auth.principals import Principal, View
from core.clock import wall_now
from models.database import Connection, Record
from services import audit, idempotency
from services.errors import InvalidInput, NotFound
from services.runtime import CheckedDocument, Runtime
from services.unit import transaction

MAX_MANIFEST: Final = 500_000
"""Characters of a manifest that is registered through the API."""


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A registered document. ``client_id`` is the partner whose namespace it is in; instants are of the wall clock."""

    id: UUID
    view: View
    client_id: UUID | None
    document_id: str
    alias: str | None
    name: str
    body: str
    cost: int
    registered_at: datetime
    deprecated_from: datetime | None
    retired_at: datetime | None
    last_used_at: datetime | None
    uses: int


@dataclass(frozen=True, slots=True)
class Registration:
    """``added`` are new, ``known`` were registered before."""

    added: int
    known: int


_COLUMNS: Final = ", ".join(DocumentRecord.__slots__)


def document_from_row(row: Record) -> DocumentRecord:
    values: dict[str, Any] = {name: row[name] for name in DocumentRecord.__slots__}
    values["view"] = View(row["view"])
    return DocumentRecord(**values)


async def register(
    runtime: Runtime, principal: Principal, client_id: UUID, manifest: str, idempotency_key: str
) -> Registration:
    """Register the documents of a manifest for a partner of a city that the caller administers.

    Raises NotFound, InvalidInput, ManifestRejected, IdempotencyConflict.
    """
    if len(manifest) > MAX_MANIFEST:
        raise InvalidInput(field="manifest", reason=f"must have at most {MAX_MANIFEST} characters")
    await _administered(runtime, principal, client_id)
    documents = runtime.documents.check(View.PARTNER, manifest)
    async with transaction(runtime) as unit:
        request = {"client": client_id, "manifest": manifest}
        known = await idempotency.recall(unit, principal, idempotency_key, "registerDocuments", request)
        if known is not None:
            return Registration(**known)
        added = await write(unit.sql, View.PARTNER, client_id, documents)
        done = Registration(added, len(documents) - added)
        await audit.note(unit, principal, "register_documents", client_id, {"added": done.added, "known": done.known})
        await idempotency.remember(unit, principal, idempotency_key, {"added": done.added, "known": done.known})
    return done


async def write(
    connection: Connection, view: View, client_id: UUID | None, documents: Sequence[CheckedDocument]
) -> int:
    """Add documents to the table, and bring retired ones back; the number that is new."""
    added = 0
    for document in documents:
        added += await connection.execute(
            """INSERT INTO persisted_document
                   (id, view, client_id, document_id, alias, name, body, cost, registered_at, changed_at, uses)
               VALUES (gen_random_uuid(), $1, $2, $3, $4, $5, $6, $7, $8, $8, 0)
               ON CONFLICT (view, document_id, coalesce(client_id, '00000000-0000-0000-0000-000000000000'))
               DO UPDATE SET retired_at = NULL, deprecated_from = NULL, changed_at = excluded.changed_at
               WHERE persisted_document.retired_at IS NOT NULL""",
            view.value, client_id, document.id, document.alias, document.name[:80], document.body, document.cost,
            wall_now(),
        )  # fmt: skip
    return added


async def deprecate(
    runtime: Runtime, principal: Principal, key: UUID, from_: datetime, retire_at: datetime | None
) -> DocumentRecord:
    """Tell the document's callers that it goes: from an instant on, and when it will be refused. Raises NotFound,
    InvalidInput."""
    if retire_at is not None and retire_at <= from_:
        raise InvalidInput(field="retireAt", reason="must be after from")
    changes = "deprecated_from = $2, retired_at = $3"
    return await _change(runtime, principal, "deprecate_document", key, changes, from_, retire_at)


async def retire(runtime: Runtime, principal: Principal, key: UUID) -> DocumentRecord:
    """Refuse the document from now on. Raises NotFound."""
    return await _change(runtime, principal, "retire_document", key, "retired_at = least(retired_at, $2)", wall_now())


async def _change(
    runtime: Runtime, principal: Principal, action: str, key: UUID, changes: str, *values: Any
) -> DocumentRecord:
    await get(runtime, principal, key)
    async with transaction(runtime) as unit:
        row = await unit.sql.fetchrow(
            f"UPDATE persisted_document SET {changes}, changed_at = now() WHERE id = $1 RETURNING {_COLUMNS}",
            key,
            *values,
        )
        if row is None:
            raise NotFound(resource="PersistedDocument")
        document = document_from_row(row)
        facts = {"document": document.id, "name": document.name, "retire_at": document.retired_at}
        await audit.note(unit, principal, action, row["client_id"], facts)
    return document


async def get(runtime: Runtime, principal: Principal, key: UUID) -> DocumentRecord:
    """A partner's document for an admin of the partner's city, or for the partner. Raises NotFound."""
    row = await runtime.database.fetchrow(f"SELECT {_COLUMNS} FROM persisted_document WHERE id = $1", key)
    if row is None or row["client_id"] is None:
        raise NotFound(resource="PersistedDocument")
    document = document_from_row(row)
    if principal.subject != document.client_id:
        await _administered(runtime, principal, row["client_id"])
    return document


async def of_client(
    runtime: Runtime, principal: Principal, client_id: UUID, limit: int, after: UUID | None
) -> list[DocumentRecord]:
    """The documents of a partner by key, at most ``limit`` with keys above ``after``. Raises NotFound."""
    await _administered(runtime, principal, client_id)
    rows = await runtime.database.fetch(
        f"""SELECT {_COLUMNS} FROM persisted_document
            WHERE client_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3""",
        client_id,
        after,
        limit,
    )
    return [document_from_row(row) for row in rows]


async def _administered(runtime: Runtime, principal: Principal, client_id: UUID) -> None:
    city_id = await runtime.database.fetchval(
        "SELECT city_id FROM client WHERE id = $1 AND kind = 'PARTNER' AND revoked_at IS NULL", client_id
    )
    if city_id is None or not principal.administers(city_id):
        raise NotFound(resource="Partner")
