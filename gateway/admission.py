"""Which document a request asks for, and whether its caller may ask for it.

Documents are named by the SHA-256 of their text: as ``documentId`` (GraphQL over HTTP, draft: ``sha256:`` and
hexadecimal), in Apollo's ``extensions.persistedQuery``, or by the alias under which they were registered. Codes,
messages and statuses are those of Apollo's Server and Router, so that clients made for these work.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast

from auth.principals import Principal, View
from core import logs
from core.clock import wall_now
from core.settings import DocumentPolicy, Settings
from gateway import metrics
from gateway.contracts import Contract
from gateway.documents import Document, Documents, document_id
from gateway.operations import Operations, Registered
from gateway.refusals import BAD_REQUEST, Refused, refuse

log = logs.get(__name__)

KEPT_TEXTS: Final = 4_000_000
"""Characters of automatically persisted documents that one process remembers."""
_ID: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.ASCII)
_ALIAS: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """What a caller asks, as it came."""

    query: str | None = None
    document_id: str | None = None
    operation_name: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    extensions: Mapping[str, Any] = field(default_factory=dict[str, Any])


class TextStore(Protocol):
    """Where processes share the texts of automatically persisted documents; may forget, and must not fail."""

    async def get(self, id: str) -> str | None: ...

    def put(self, id: str, text: str) -> None: ...


class Admission:
    """Finds documents for requests."""

    def __init__(self, settings: Settings, documents: Documents, operations: Operations) -> None:
        self._documents = documents
        self._operations = operations
        self._policies = {view: policy_of(settings, view) for view in View}
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._characters = 0
        self.store: TextStore | None = None

    async def fetched(self, principal: Principal, request: OperationRequest) -> OperationRequest:
        """The request with the text of a document that another process was sent, when it needs it."""
        if request.query or self.store is None or "persistedQuery" not in request.extensions:
            return request
        id = _apollo_hash(request.extensions)
        if id is None or id in self._texts or self._find(principal, id) is not None:
            return request
        text = await self.store.get(id)
        if text is not None and document_id(text) == id:
            self._remember(id, text)
        return request

    def document(self, principal: Principal, contract: Contract, request: OperationRequest) -> Registered | Document:
        """The document that is asked for. Raises Refused."""
        apollo = _apollo_hash(request.extensions)
        trusted = _normal_id(request.document_id)
        if apollo and trusted and apollo != trusted:
            raise refuse(BAD_REQUEST, "documentId and extensions.persistedQuery name different documents.")
        id = trusted or apollo
        policy = self._policies[contract.view]
        if policy is DocumentPolicy.REQUIRE_ID:
            return self._listed(principal, id, request.query)
        if id is None and not request.query:
            raise refuse(BAD_REQUEST, "The request has neither a query nor a documentId.")
        if request.query:
            return self._text(principal, contract, request.query, id, apollo, policy)
        assert id is not None
        registered = self._find(principal, id)
        if registered is not None:
            return registered
        text = self._texts.get(id) if policy is not DocumentPolicy.SAFELIST else None
        if text is not None:
            self._texts.move_to_end(id)
            return self._documents.load(contract, text, id)
        if apollo:
            raise refuse("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound", 200)
        raise _not_in_list(id)

    def _text(
        self, principal: Principal, contract: Contract, text: str, id: str | None, apollo: str | None,
        policy: DocumentPolicy,
    ) -> Registered | Document:  # fmt: skip
        actual = document_id(text)
        if id is not None and id != actual:
            named = self._find(principal, id)
            if named is not None and named.document.id == actual:
                return named
            if apollo:
                raise refuse("PERSISTED_QUERY_HASH_MISMATCH", "provided sha does not match query")
            raise _both()
        if id is not None or policy is not DocumentPolicy.OFF:
            registered = self._find(principal, actual)
            if registered is not None:
                return registered
        if policy is DocumentPolicy.SAFELIST:
            raise refuse(
                "QUERY_NOT_IN_SAFELIST", "The operation body was not found in the persisted query safelist", 403
            )
        if policy is DocumentPolicy.LOG:
            metrics.UNREGISTERED.labels(contract.view).inc()
            log.info("document.unregistered", view=contract.view, document=actual)
        document = self._documents.load(contract, text, actual)
        if apollo:
            self._remember(actual, text)
            if self.store is not None:
                self.store.put(actual, text)
        return document

    def _listed(self, principal: Principal, id: str | None, query: str | None) -> Registered:
        """The registered document; nothing else may be executed in a view that is closed to free ones."""
        if id is None:
            raise refuse("PERSISTED_QUERY_ID_REQUIRED", "Only registered operations may be called, by their id.")
        registered = self._find(principal, id)
        if query and (registered is None or query != registered.document.text):
            raise _both()
        if registered is None:
            raise _not_in_list(id)
        return registered

    def _find(self, principal: Principal, id: str) -> Registered | None:
        client_id = principal.subject if principal.view in (View.PARTNER, View.DEVICE) else None
        found = self._operations.find(principal.view, client_id, id)
        if found is not None and found.retired_at is not None and found.retired_at <= wall_now():
            return None
        return found

    def _remember(self, id: str, text: str) -> None:
        if id not in self._texts:
            self._texts[id] = text
            self._characters += len(text)
            while self._characters > KEPT_TEXTS:
                self._characters -= len(self._texts.popitem(last=False)[1])


def policy_of(settings: Settings, view: View) -> DocumentPolicy:
    """The policy of a view; partners call registered documents only, whatever is set."""
    if view is View.PARTNER:
        return DocumentPolicy.REQUIRE_ID
    return settings.document_policy.get(view.value, DocumentPolicy.OFF)


def _apollo_hash(extensions: Mapping[str, Any]) -> str | None:
    """The hash of Apollo's ``extensions.persistedQuery``. Raises Refused for one that is not of version 1."""
    persisted = extensions.get("persistedQuery")
    if persisted is None:
        return None
    if not isinstance(persisted, dict):
        raise refuse(BAD_REQUEST, "extensions.persistedQuery must be an object.")
    entry = cast(dict[str, Any], persisted)
    if entry.get("version") != 1:
        raise refuse("PERSISTED_QUERY_NOT_SUPPORTED", "Unsupported persisted query version")
    given = entry.get("sha256Hash")
    match = _ID.fullmatch(given.lower()) if isinstance(given, str) else None
    if match is None:
        raise refuse(BAD_REQUEST, "extensions.persistedQuery.sha256Hash is not a SHA-256 in hexadecimal.")
    return match.group(1)


def _normal_id(given: str | None) -> str | None:
    if given is None:
        return None
    match = _ID.fullmatch(given.lower())
    if match is not None:
        return match.group(1)
    if not _ALIAS.fullmatch(given) or given.lower().startswith("sha256:"):
        raise refuse(BAD_REQUEST, "A document id is 'sha256:' and the SHA-256 of the document in hexadecimal.")
    return given


def _both() -> Refused:
    return refuse("CANNOT_SEND_PQ_ID_AND_BODY", "The request has an id and another document as its body.")


def _not_in_list(id: str) -> Refused:
    shown = f"sha256:{id}" if _ID.fullmatch(id) else id
    return refuse("PERSISTED_QUERY_NOT_IN_LIST", f"No operation is registered as {shown}.", 404)
