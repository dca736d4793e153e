"""Registered documents of this process: what may be called by its id, by whom, and how often it was.

A document is registered for a view, or in the namespace of one partner. The table is the truth; every process follows
it and tells it what was used. Documents that come with the program are registered for each view that has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from auth.principals import View
from core import logs
from core.clock import wall_now
from gateway.contracts import Contract
from gateway.documents import Document, Documents
from gateway.manifests import ManifestOperation
from gateway.refusals import Refused
from models.database import Database, Record

log = logs.get(__name__)

_OVERLAP: Final = timedelta(seconds=30)
"""Rows are read again that changed this long before the last reading: clocks differ, and transactions take time."""


@dataclass(slots=True, eq=False)
class Registered:
    """One registered document, ready to be executed."""

    view: View
    client_id: UUID | None
    name: str
    document: Document
    cost: int = 0
    key: UUID | None = None
    """Of its row; None for those that come with the program."""
    deprecated_from: datetime | None = None
    retired_at: datetime | None = None
    uses: int = 0
    """Since they were last written down."""


class Operations:
    """The registered documents of every view and partner."""

    def __init__(self) -> None:
        self._known: dict[tuple[View, UUID | None, str], Registered] = {}
        self._by_key: dict[UUID, list[tuple[View, UUID | None, str]]] = {}
        self._read_up_to = datetime.min.replace(tzinfo=wall_now().tzinfo)

    def find(self, view: View, client_id: UUID | None, id: str) -> Registered | None:
        """The document under ``id`` or alias that a caller of ``view`` may call; a partner's own goes first."""
        found = self._known.get((view, client_id, id)) if client_id is not None else None
        return found or self._known.get((view, None, id))

    def all(self) -> Iterator[Registered]:
        """Each registered document once."""
        yield from dict.fromkeys(self._known.values())

    def add(self, view: View, contract: Contract, text: str, client_id: UUID | None = None) -> Registered:
        """Register a document that comes from neither a manifest nor the database. Raises Refused."""
        document = Documents(introspection=False).prepare(contract, text)
        name = next(iter(document.operations)) or ""
        registered = Registered(view, client_id, name, document, document.cost)
        self._add(registered)
        return registered

    def offer(self, operation: ManifestOperation, contracts: dict[View, Contract], documents: Documents) -> list[View]:
        """Register an operation of a trusted manifest for each view whose contract has all of it; those views."""
        taken: list[View] = []
        for view, contract in contracts.items():
            try:
                document = documents.prepare(contract, operation.body)
            except Refused:
                continue
            self._add(Registered(view, None, operation.name, document, document.cost), operation.alias)
            taken.append(view)
        return taken

    async def follow(self, database: Database, contracts: dict[View, Contract], documents: Documents) -> None:
        """Take over what has changed in the database, and write down what was used."""
        await self.write_uses(database)
        since = self._read_up_to - _OVERLAP if self._by_key else self._read_up_to
        rows = await database.fetch("SELECT * FROM persisted_document WHERE changed_at >= $1", since)
        for row in rows:
            self._read_up_to = max(self._read_up_to, row["changed_at"])
            self._take(row, contracts, documents)

    def _take(self, row: Record, contracts: dict[View, Contract], documents: Documents) -> None:
        view, key = View(row["view"]), UUID(str(row["id"]))
        places = self._by_key.get(key)
        if places is None:
            try:
                document = documents.prepare(contracts[view], row["body"])
            except Refused as refused:
                log.error("document.unusable", view=view, name=row["name"], id=row["document_id"], reason=str(refused))
                return
            client_id = None if row["client_id"] is None else UUID(str(row["client_id"]))
            registered = Registered(view, client_id, row["name"], document, row["cost"], key)
            places = self._by_key[key] = self._add(registered, row["alias"])
        for place in places:
            known = self._known[place]
            known.deprecated_from, known.retired_at = row["deprecated_from"], row["retired_at"]

    def _add(self, registered: Registered, alias: str | None = None) -> list[tuple[View, UUID | None, str]]:
        names = [registered.document.id, *([alias] if alias else [])]
        places = [(registered.view, registered.client_id, name) for name in names]
        self._known.update(dict.fromkeys(places, registered))
        return places

    async def write_uses(self, database: Database) -> None:
        """Add this process's counts to the table."""
        used = [one for one in self.all() if one.uses and one.key is not None]
        if not used:
            return
        counts = [one.uses for one in used]
        for one in used:
            one.uses = 0
        try:
            await database.fetch(
                """UPDATE persisted_document d SET uses = d.uses + u.uses, last_used_at = $3
                   FROM unnest($1::uuid[], $2::bigint[]) AS u(id, uses) WHERE d.id = u.id""",
                [one.key for one in used],
                counts,
                wall_now(),
            )
        except Exception:
            for one, count in zip(used, counts, strict=True):
                one.uses += count
            raise
