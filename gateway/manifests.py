"""Files that documents are registered from: Apollo's manifest, Relay's ``persisted.json``, a folder of documents."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import orjson
from graphql import GraphQLSyntaxError, OperationDefinitionNode, parse

from gateway.documents import document_id

BUNDLED: Final = Path(__file__).with_name("operations.json")
SOURCES: Final = Path("schema/operations")
"""What :data:`BUNDLED` is made from: one file per operation."""
FORMAT: Final = "apollo-persisted-query-manifest"
_ALIAS: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class ManifestError(Exception):
    """A manifest, or an operation of it, cannot be registered; the text says why."""


@dataclass(frozen=True, slots=True)
class ManifestOperation:
    """One document: ``id`` is the SHA-256 of ``body``, ``alias`` another name that its clients call it by."""

    id: str
    name: str
    body: str
    alias: str | None = None

    def is_called(self, text: str) -> bool:
        """Whether ``text`` is its name, its alias, its id or six or more of the first digits of that."""
        digits = text.removeprefix("sha256:")
        return text in (self.name, self.alias) or (len(digits) >= 6 and self.id.startswith(digits))


def read_manifest(path: Path) -> list[ManifestOperation]:
    """The operations of a manifest file, or of a folder of ``.graphql`` files. Raises ManifestError."""
    if path.is_dir():
        content = make_manifest(path.glob("*.graphql"))
    else:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ManifestError(f"{path}: {error.strerror}") from error
    try:
        return parse_manifest(content)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from error


def parse_manifest(content: bytes | str) -> list[ManifestOperation]:
    """The operations of an Apollo persisted query manifest, or of Relay's ``{id: text}``. Raises ManifestError."""
    try:
        manifest: Any = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ManifestError(f"not JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise ManifestError(f"neither an {FORMAT} nor a map of ids to documents")
    entries = cast(dict[str, Any], manifest)
    if "format" in entries or "operations" in entries:
        return _apollo(entries)
    operations: list[ManifestOperation] = []
    for id, body in entries.items():
        if not isinstance(body, str):
            raise ManifestError(f"the document {id} is not text")
        operations.append(_operation(id, _name(body, id), body))
    return operations


def _apollo(manifest: dict[str, Any]) -> list[ManifestOperation]:
    if manifest.get("format") != FORMAT or manifest.get("version") != 1:
        raise ManifestError(f"not an {FORMAT} of version 1")
    try:
        entries = [(e["id"], e["name"], e["body"]) for e in cast(list[dict[str, Any]], manifest["operations"])]
    except (KeyError, TypeError) as error:
        raise ManifestError(f"not an {FORMAT}: {error}") from error
    if not all(isinstance(part, str) for entry in entries for part in entry):
        raise ManifestError(f"not an {FORMAT}: id, name and body are text")
    return [_operation(id, name, body) for id, name, body in entries]


def _operation(id: str, name: str, body: str) -> ManifestOperation:
    actual = document_id(body)
    bare = id.removeprefix("sha256:").lower()
    if bare == actual:
        return ManifestOperation(actual, name, body)
    if _SHA256.fullmatch(bare):
        raise ManifestError(f"the id of {name} is not the SHA-256 of its body")
    if not _ALIAS.fullmatch(id):
        raise ManifestError(f"the id of {name} must be 1 to 128 letters, digits and _ . : -")
    return ManifestOperation(actual, name, body, id)


def make_manifest(sources: Iterable[Path]) -> bytes:
    """The manifest of documents with one named operation each. Raises ManifestError."""
    entries: list[dict[str, str]] = []
    for source in sorted(sources):
        body = source.read_text().strip()
        try:
            nodes = _operations(body)
        except GraphQLSyntaxError as error:
            raise ManifestError(f"{source}: {error.message}") from error
        if len(nodes) != 1 or not nodes[0].name:
            raise ManifestError(f"{source}: must have exactly one operation, with a name")
        entries.append(
            {"id": document_id(body), "name": name_of(nodes[0]), "type": nodes[0].operation.value, "body": body}
        )
    manifest = {"format": FORMAT, "version": 1, "operations": entries}
    return orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n"


def _operations(body: str) -> list[OperationDefinitionNode]:
    return [d for d in parse(body, max_tokens=10_000).definitions if isinstance(d, OperationDefinitionNode)]


def _name(body: str, id: str) -> str:
    """The name of the only operation in ``body``."""
    try:
        nodes = _operations(body)
    except GraphQLSyntaxError as error:
        raise ManifestError(f"the document {id}: {error.message}") from error
    if len(nodes) != 1 or not nodes[0].name:
        raise ManifestError(f"the document {id} must have exactly one operation, with a name")
    return name_of(nodes[0])


def name_of(node: OperationDefinitionNode) -> str:
    """The operation's name, empty when it has none."""
    return node.name.value if node.name else ""
