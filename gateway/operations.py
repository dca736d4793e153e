"""Persisted operations: documents registered ahead of time and then called by their id.

A partner can call nothing else. The other views may, and save the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import orjson
from graphql import GraphQLSyntaxError, OperationDefinitionNode, parse

from auth.principals import View
from core.clock import wall_now
from gateway.contracts import Contract
from gateway.documents import Documents, document_id
from gateway.refusals import Refused
from models.database import Database

BUNDLED: Final = Path(__file__).with_name("operations.json")
SOURCES: Final = Path("schema/operations")
"""What :data:`BUNDLED` is made from: one file per operation."""
FORMAT: Final = "apollo-persisted-query-manifest"


class ManifestError(Exception):
    """A manifest, or an operation of it, cannot be registered; the text says why."""


@dataclass(frozen=True, slots=True)
class ManifestOperation:
    id: str
    name: str
    body: str

    def is_called(self, text: str) -> bool:
        """Whether ``text`` is its name, its id or six or more of the first digits of that."""
        return text == self.name or is_beginning(text, self.id)


def read_manifest(path: Path) -> list[ManifestOperation]:
    """The operations of an Apollo persisted query manifest. Raises ManifestError."""
    try:
        manifest: Any = orjson.loads(path.read_bytes())
        if manifest["format"] != FORMAT or manifest["version"] != 1:
            raise ManifestError(f"{path}: not an {FORMAT} of version 1")
        entries = cast(list[dict[str, str]], manifest["operations"])
        operations = [ManifestOperation(e["id"], e["name"], e["body"]) for e in entries]
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from error
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ManifestError(f"{path}: not an {FORMAT}: {error}") from error
    for operation in operations:
        if operation.id != document_id(operation.body):
            raise ManifestError(f"{path}: the id of {operation.name} is not the SHA-256 of its body")
    return operations


def make_manifest(sources: list[Path]) -> bytes:
    """The manifest of documents with one named operation each. Raises ManifestError."""
    entries: list[dict[str, str]] = []
    for source in sorted(sources):
        body = source.read_text().strip()
        try:
            nodes = [d for d in parse(body).definitions if isinstance(d, OperationDefinitionNode)]
        except GraphQLSyntaxError as error:
            raise ManifestError(f"{source}: {error.message}") from error
        if len(nodes) != 1 or not nodes[0].name:
            raise ManifestError(f"{source}: must have exactly one operation, with a name")
        entries.append(
            {"id": document_id(body), "name": name_of(nodes[0]), "type": nodes[0].operation.value, "body": body}
        )
    manifest = {"format": FORMAT, "version": 1, "operations": entries}
    return orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n"


def is_beginning(text: str, id: str) -> bool:
    """Whether ``text`` are the first digits of a document id, at least six of them."""
    digits = text.removeprefix("sha256:")
    return len(digits) >= 6 and id.startswith(digits)


def name_of(node: OperationDefinitionNode) -> str:
    """The operation's name, empty when it has none."""
    return node.name.value if node.name else ""


class Operations:
    """The registered operations of every view."""

    def __init__(self) -> None:
        self._bodies: dict[View, dict[str, str]] = {view: {} for view in View}

    def body(self, view: View, id: str) -> str | None:
        """Text of the operation registered for ``view`` under ``id``."""
        return self._bodies[view].get(id)

    def all(self) -> Iterator[tuple[View, str, str]]:
        """``(view, id, text)`` of every operation."""
        for view, bodies in self._bodies.items():
            for id, body in list(bodies.items()):
                yield view, id, body

    def add(self, view: View, id: str, body: str) -> None:
        self._bodies[view][id] = body

    def offer(self, operation: ManifestOperation, contracts: dict[View, Contract], documents: Documents) -> list[View]:
        """Register an operation of a trusted manifest for each view whose contract has all of it; those views."""
        taken: list[View] = []
        for view, contract in contracts.items():
            try:
                documents.load(contract, operation.body)
            except Refused:
                continue
            self.add(view, operation.id, operation.body)
            taken.append(view)
        return taken

    async def load(self, database: Database) -> None:
        """Take over what is registered in the database."""
        for row in await database.fetch("SELECT id, view, body FROM persisted_operation"):
            self.add(View(row["view"]), row["id"], row["body"])


async def register(
    database: Database, contract: Contract, operations: list[ManifestOperation], documents: Documents
) -> int:
    """Register operations for one view; the number that is new. Raises ManifestError and then registers none."""
    for operation in operations:
        try:
            documents.load(contract, operation.body)
        except Refused as refused:
            raise ManifestError(f"{operation.name} is not valid for {contract.view}: {refused}") from refused
    added = 0
    async with database.transaction() as connection:
        for operation in operations:
            added += await connection.execute(
                """INSERT INTO persisted_operation (id, name, view, body, registered_at) VALUES ($1, $2, $3, $4, $5)
                   ON CONFLICT (id) DO NOTHING""",
                operation.id,
                operation.name,
                contract.view.value,
                operation.body,
                wall_now(),
            )
            view = await connection.fetchval("SELECT view FROM persisted_operation WHERE id = $1", operation.id)
            if view != contract.view:
                raise ManifestError(f"{operation.name} is already registered for {view}")
    return added


async def registered(database: Database) -> list[tuple[str, str, str]]:
    """``(view, name, id)`` of every operation in the database."""
    rows = await database.fetch("SELECT view, name, id FROM persisted_operation ORDER BY view, name, id")
    return [(row["view"], row["name"], row["id"]) for row in rows]


async def registered_bodies(database: Database, text: str) -> list[str]:
    """Texts of the operations in the database whose name or id is ``text``, or whose id begins with it."""
    rows = await database.fetch("SELECT id, name, body FROM persisted_operation ORDER BY view, name, id")
    return [row["body"] for row in rows if ManifestOperation(row["id"], row["name"], row["body"]).is_called(text)]
