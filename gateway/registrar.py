"""Checks documents that are to be registered: valid for the contract, within the limits, and what they cost at most."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from auth.principals import View
from gateway.contracts import Contract
from gateway.documents import Documents
from gateway.limits import DEFAULT, Limits
from gateway.manifests import ManifestError, ManifestOperation, parse_manifest
from gateway.refusals import Refused
from services.errors import ManifestRejected
from services.runtime import CheckedDocument


class Registrar:
    """The port that services check documents by; the contracts are made when they are first asked for."""

    def __init__(self, contracts: Callable[[], dict[View, Contract]], limits: Limits = DEFAULT) -> None:
        self._make = contracts
        self._documents = Documents(introspection=False, limits=limits)

    @cached_property
    def contracts(self) -> dict[View, Contract]:
        return self._make()

    def check(self, view: View, manifest: str) -> list[CheckedDocument]:
        """The documents of a manifest of any known format. Raises ManifestRejected."""
        try:
            operations = parse_manifest(manifest)
        except ManifestError as error:
            raise ManifestRejected(document="manifest", reason=str(error)) from error
        return [self.check_one(view, operation) for operation in operations]

    def check_one(self, view: View, operation: ManifestOperation) -> CheckedDocument:
        """One document. Raises ManifestRejected."""
        try:
            document = self._documents.prepare(self.contracts[view], operation.body)
        except Refused as refused:
            raise ManifestRejected(document=operation.name, reason=str(refused)) from refused
        return CheckedDocument(operation.id, operation.name, operation.body, operation.alias, document.cost)
