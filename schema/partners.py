"""Partners and their registered documents in the graph."""

from __future__ import annotations

from datetime import datetime

import strawberry

from resolvers import partners as resolvers
from resolvers.context import ID, Info
from schema import enums as _enums  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schema.base import A, Connection, Node, P, computed, exposes, mutation, node_id, result
from services import errors
from services.documents import DocumentRecord, Registration
from services.partners import PartnerRecord


@exposes(DocumentRecord, views={A, P})
@strawberry.type(description="A document that a partner may call by its id. Another text is another document.")
class PersistedDocument(Node):
    id: strawberry.ID = node_id("PersistedDocument")
    document_id: str = computed(
        resolvers.public_document_id, description="`sha256:` and the SHA-256 of the text in hexadecimal."
    )
    alias: str | None = strawberry.field(description="Another name that it may be called by.")
    name: str
    body: str
    cost: int = strawberry.field(description="Estimated at registration, with lists as long as they may be.")
    registered_at: datetime
    deprecated_from: datetime | None
    retired_at: datetime | None = strawberry.field(description="Refused from this instant on.")
    last_used_at: datetime | None = strawberry.field(description="A little late: uses are written down in batches.")
    uses: int


@exposes(PartnerRecord, views={A, P})
@strawberry.type(description="An integrator who calls the API from servers of its own.")
class Partner(Node):
    id: strawberry.ID = node_id("Partner")
    name: str
    client_id: str
    created_at: datetime
    revoked_at: datetime | None
    documents: Connection[PersistedDocument] = computed(resolvers.documents_of, A)


@exposes(Registration, views={A})
@strawberry.type
class DocumentRegistration:
    added: int
    known: int


class PartnersMutation:
    @mutation(
        result("RegisterDocumentsResult", DocumentRegistration, errors.ManifestRejected, errors.IdempotencyConflict),
        A,
    )
    async def register_documents(self, info: Info, partner: ID, manifest: str, idempotency_key: str) -> object:
        """Register what a partner may call: an Apollo persisted query manifest or Relay's `persisted.json` as text.
        All documents or none."""
        return await resolvers.register_documents(info.context, partner, manifest, idempotency_key)

    @mutation(result("DeprecateDocumentResult", PersistedDocument), A)
    async def deprecate_document(
        self, info: Info, document: ID, starting: datetime, retire_at: datetime | None = None
    ) -> object:
        """Tell the callers of a document that it goes, and when it will be refused."""
        return await resolvers.deprecate_document(info.context, document, starting, retire_at)

    @mutation(result("RetireDocumentResult", PersistedDocument), A)
    async def retire_document(self, info: Info, document: ID) -> object:
        """Refuse a document from now on."""
        return await resolvers.retire_document(info.context, document)
