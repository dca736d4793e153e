"""What ``python -m cli operations …`` does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import orjson
import typer
from rich.console import Console
from rich.table import Table

import app as program
from auth.principals import View
from core.clock import wall_now
from core.settings import Settings
from gateway import compiled
from gateway.contracts import Contract, build_contracts
from gateway.documents import Documents
from gateway.manifests import BUNDLED, ManifestError, ManifestOperation, make_manifest, read_manifest
from gateway.operations import Operations
from gateway.refusals import Refused
from gateway.registrar import Registrar
from models.database import Database
from schema.build import full_schema
from services import documents
from services.errors import ManifestRejected

console = Console()
IN_USE: Final = timedelta(days=30)
"""A registered document that was called in this time is in use."""


class Failed(Exception):
    """The command did nothing; the text says why."""


def _contracts() -> dict[View, Contract]:
    return build_contracts(full_schema())


async def register(settings: Settings, source: Path, view: View, client: str | None) -> None:
    """Register the operations of ``source``."""
    registrar = Registrar(_contracts)
    try:
        operations = read_manifest(source)
        checked = [registrar.check_one(view, operation) for operation in operations]
    except (ManifestError, ManifestRejected) as error:
        text = error.message("en") if isinstance(error, ManifestRejected) else str(error)
        raise Failed(f"Nothing was registered: {text}") from error
    async with program.open_runtime(settings) as (runtime, _):
        client_id = None
        if client is not None:
            client_id = await runtime.database.fetchval(
                "SELECT id FROM client WHERE client_id = $1 AND kind = $2", client, view.value
            )
            if client_id is None:
                raise Failed(f"Nothing was registered: no {view.lower()} has the client id {client}")
        async with runtime.database.transaction() as connection:
            added = await documents.write(connection, view, client_id, checked)
    console.print(f"{added} new, {len(checked) - added} known before.")


def make(folder: Path, out: Path) -> None:
    """Write a manifest, and say for which views each operation is valid."""
    try:
        out.write_bytes(make_manifest(folder.glob("*.graphql")))
        operations = read_manifest(out)
    except ManifestError as error:
        raise Failed(str(error)) from error
    contracts, cache, known = _contracts(), Documents(introspection=False), Operations()
    for operation in operations:
        views = known.offer(operation, contracts, cache)
        console.print(f"{operation.name:<24} {', '.join(v.lower() for v in views) or '[red]valid for no view[/]'}")


async def explain(settings: Settings, id: str, variables: str) -> None:
    """Print the Python of an operation for each view that has it."""
    found = [o.body for o in read_manifest(settings.operations_manifest or BUNDLED) if o.is_called(id)]
    if not found and settings.database_url is not None:
        async with program.open_runtime(settings) as (runtime, _):
            rows = await runtime.database.fetch("SELECT document_id, name, body, alias FROM persisted_document")
            operations = [ManifestOperation(r["document_id"], r["name"], r["body"], r["alias"]) for r in rows]
            found = [operation.body for operation in operations if operation.is_called(id)]
    if not found:
        raise Failed(f"No registered operation is called {id}")
    cache, contracts = Documents(introspection=False), _contracts()
    for body in dict.fromkeys(found):
        for view, contract in contracts.items():
            try:
                document = cache.load(contract, body)
            except Refused:
                continue  # not for this view
            typer.echo(f"# sha256:{document.id} for {view}\n")
            typer.echo(compiled.explain(contract, document, orjson.loads(variables)))


async def show(settings: Settings) -> None:
    """A table of what is registered in the database."""
    async with program.open_runtime(settings) as (runtime, _):
        rows = await runtime.database.fetch(
            """SELECT d.*, c.client_id AS client FROM persisted_document d LEFT JOIN client c ON c.id = d.client_id
               ORDER BY view, client NULLS FIRST, name"""
        )
    table = Table("view", "client", "name", "id", "cost", "uses", "last used", "life")
    for row in rows:
        life = "retired" if row["retired_at"] and row["retired_at"] <= wall_now() else ""
        life = life or ("deprecated" if row["deprecated_from"] else "")
        used = row["last_used_at"].date().isoformat() if row["last_used_at"] else "never"
        table.add_row(
            row["view"].lower(), row["client"] or "all", row["name"], f"sha256:{row['document_id']}",
            str(row["cost"]), str(row["uses"]), used, life,
        )  # fmt: skip
    console.print(table)


async def check(settings: Settings) -> None:
    """Fail when an operation is not valid for its contract any more: those that come along, and with a database the
    registered ones that are in use."""
    contracts, cache = _contracts(), Documents(introspection=False)
    broken = [
        f"{operation.name} ({BUNDLED.name}): valid for no view"
        for operation in read_manifest(settings.operations_manifest or BUNDLED)
        if not Operations().offer(operation, contracts, cache)
    ]
    checked = 0
    if settings.database_url is not None:
        database = Database(settings.database_url)
        await database.open()
        try:
            broken += await _broken(database, contracts, cache)
            checked = await database.fetchval("SELECT count(*) FROM persisted_document")
        finally:
            await database.close()
    if broken:
        raise Failed(_listed(broken))
    console.print(f"All operations are valid; {checked} of them are registered in the database.")


async def _broken(database: Database, contracts: dict[View, Contract], cache: Documents) -> list[str]:
    rows = await database.fetch(
        """SELECT view, name, document_id, body FROM persisted_document
           WHERE (retired_at IS NULL OR retired_at > now()) AND coalesce(last_used_at, registered_at) > $1
           ORDER BY view, name""",
        wall_now() - IN_USE,
    )
    found: list[str] = []
    for row in rows:
        try:
            cache.prepare(contracts[View(row["view"])], row["body"])
        except Refused as refused:
            found.append(f"{row['name']} of {row['view'].lower()} (sha256:{row['document_id']}): {refused}")
    return found


def _listed(broken: Sequence[str]) -> str:
    return "Registered operations that the schema would break:\n" + "\n".join(f"  {one}" for one in broken)
