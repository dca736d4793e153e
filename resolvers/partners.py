"""Partners and their registered documents: one service call each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from core import ids
from resolvers.base import Page, action, key, make_page, or_none, page_size
from resolvers.context import Context, Info, batched, by_arguments
from services import documents, partners
from services.documents import DocumentRecord, Registration
from services.errors import NotFound
from services.partners import CredentialRecord, NewSecret, PartnerRecord

# fields


async def documents_of(root: PartnerRecord, info: Info, first: int, after: str | None = None) -> Page[DocumentRecord]:
    after_key = None if after is None else key("PersistedDocument", after)
    context = info.context
    rows = await documents.of_client(context.runtime, context.principal, root.id, page_size(first) + 1, after_key)
    return make_page(rows, first, lambda row: ids.encode("PersistedDocument", row.id), after=after)


def public_document_id(root: DocumentRecord) -> str:
    return f"sha256:{root.document_id}"


async def _load_credentials(context: Context, keys: list[UUID]) -> list[list[CredentialRecord]]:
    found = await partners.credentials_of(context.runtime, keys)
    return [found[k] for k in keys]


credentials_of = batched(_load_credentials, attrgetter("id"))


async def viewer_partner(root: Any, info: Info) -> PartnerRecord | None:
    """The partner who asks."""
    principal = info.context.principal
    return None if principal.subject is None else await load_partner(info.context, principal.subject)


# queries


async def _partners(
    context: Context, keys: list[UUID], window: tuple[int, UUID | None]
) -> dict[UUID, list[PartnerRecord]]:
    return await partners.of_cities(context.runtime, keys, *window)


_load_partners = by_arguments(_partners)


async def city_partners(root: Any, info: Info, first: int, after: str | None = None) -> Page[PartnerRecord]:
    """Partners of a city for its admins. Raises NotFound."""
    after_key = None if after is None else key("Partner", after)
    context = info.context
    if not context.principal.administers(root.id):
        raise NotFound(resource="City")
    rows = await context.loader(_load_partners).load((root.id, (page_size(first) + 1, after_key)))
    return make_page(rows, first, lambda row: ids.encode("Partner", row.id), after=after)


# actions


@action
async def register_documents(context: Context, partner: str, manifest: str, idempotency_key: str) -> Registration:
    return await documents.register(
        context.runtime, context.principal, key("Partner", partner), manifest, idempotency_key
    )


@action
async def deprecate_document(
    context: Context, document: str, from_: datetime, retire_at: datetime | None
) -> DocumentRecord:
    return await documents.deprecate(
        context.runtime, context.principal, key("PersistedDocument", document), from_, retire_at
    )


@action
async def retire_document(context: Context, document: str) -> DocumentRecord:
    return await documents.retire(context.runtime, context.principal, key("PersistedDocument", document))


@action
async def create_partner(context: Context, city: str, name: str, client_id: str | None) -> NewSecret:
    return await partners.create(context.runtime, context.principal, key("City", city), name, client_id)


@action
async def rotate_secret(context: Context, partner: str, previous_ends_at: datetime | None) -> NewSecret:
    return await partners.rotate_secret(context.runtime, context.principal, key("Partner", partner), previous_ends_at)


@action
async def add_key(context: Context, partner: str, public_key: str, name: str) -> CredentialRecord:
    return await partners.add_key(context.runtime, context.principal, key("Partner", partner), public_key, name)


@action
async def revoke_credential(context: Context, credential: str, reason: str, end_tokens: bool) -> CredentialRecord:
    credential_id = key("PartnerCredential", credential)
    return await partners.revoke_credential(
        context.runtime, context.principal, credential_id, reason, end_tokens=end_tokens
    )


async def load_partner(context: Context, partner_id: UUID) -> PartnerRecord | None:
    return await or_none(partners.get(context.runtime, context.principal, partner_id))


async def load_document(context: Context, document_id: UUID) -> DocumentRecord | None:
    return await or_none(documents.get(context.runtime, context.principal, document_id))


NODES: dict[str, Callable[[Context, UUID], Awaitable[object | None]]] = {
    "Partner": load_partner,
    "PersistedDocument": load_document,
}
