"""Partners and their registered documents in the graph."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from models.identity import CredentialKind
from resolvers import partners as resolvers
from resolvers import webhooks
from resolvers.context import ID, Info
from schema import enums as _enums  # noqa: F401  # pyright: ignore[reportUnusedImport]
from schema.base import A, Connection, M, Node, P, computed, exposes, mutation, node_id, only, result, sized
from services import errors
from services.documents import DocumentRecord, Registration
from services.partners import CredentialRecord, NewSecret, PartnerRecord

if TYPE_CHECKING:
    from schema.merchants import Store
    from schema.webhooks import WebhookEndpoint

StoreType = Annotated["Store", strawberry.lazy("schema.merchants")]
EndpointType = Annotated["WebhookEndpoint", strawberry.lazy("schema.webhooks")]


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


@exposes(CredentialRecord, views={A})
@strawberry.type(description="A secret or key by which a partner proves who it is.")
class PartnerCredential:
    id: strawberry.ID = node_id("PartnerCredential")
    kind: CredentialKind
    name: str
    kid: str | None = strawberry.field(description="Of a key: its RFC 7638 thumbprint.")
    created_at: datetime
    ends_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = strawberry.field(description="To the minute.")


@exposes(PartnerRecord, views={A, P, M})
@strawberry.type(description="An integrator who calls the API from servers of its own.")
class Partner(Node):
    id: strawberry.ID = node_id("Partner")
    name: str
    client_id: str = strawberry.field(metadata=only(A, P))
    created_at: datetime = strawberry.field(metadata=only(A, P))
    revoked_at: datetime | None = strawberry.field(metadata=only(A, P))
    documents: Connection[PersistedDocument] = computed(resolvers.documents_of, A)
    credentials: list[PartnerCredential] = computed(
        resolvers.credentials_of, A, description="Also those that ended, the newest first."
    )
    webhook_endpoints: list[EndpointType] = sized(
        3, computed(webhooks.endpoints_of, A, P, description="Where it is told of orders, the oldest first.")
    )
    stores: Connection[StoreType] = computed(
        webhooks.stores_of, A, P, description="Those that are shared with it: it is told of their orders."
    )


@exposes(NewSecret, views={A})
@strawberry.type(description="A secret that was just made. It is shown this once.")
class PartnerSecret:
    partner: Partner
    credential: PartnerCredential
    secret: str


@exposes(Registration, views={A})
@strawberry.type
class DocumentRegistration:
    added: int
    known: int


class PartnersMutation:
    @mutation(result("CreatePartnerResult", PartnerSecret), A)
    async def create_partner(self, info: Info, city: ID, name: str, client_id: str | None = None) -> object:
        """Let an integrator call the API. `clientId` is made up where none is given."""
        return await resolvers.create_partner(info.context, city, name, client_id)

    @mutation(result("RotatePartnerSecretResult", PartnerSecret, errors.CredentialLimitReached), A)
    async def rotate_partner_secret(self, info: Info, partner: ID, previous_ends_at: datetime | None = None) -> object:
        """Make another secret. The one before works until `previousEndsAt`, or until it is revoked."""
        return await resolvers.rotate_secret(info.context, partner, previous_ends_at)

    @mutation(result("AddPartnerKeyResult", PartnerCredential, errors.CredentialLimitReached), A)
    async def add_partner_key(self, info: Info, partner: ID, public_key: str, name: str) -> object:
        """Let a partner sign in with a key pair (`private_key_jwt`): its public P-256 key in PEM or JWK."""
        return await resolvers.add_key(info.context, partner, public_key, name)

    @mutation(result("RevokePartnerCredentialResult", PartnerCredential), A)
    async def revoke_partner_credential(
        self, info: Info, credential: ID, reason: str, end_tokens: bool = True
    ) -> object:
        """End a secret or key, and the access tokens of the partner unless `endTokens` is false."""
        return await resolvers.revoke_credential(info.context, credential, reason, end_tokens)

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
