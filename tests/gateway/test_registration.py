"""Registered documents: formats, namespaces, the ladder of policies, their life, and sharing between processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import orjson
import pytest

import app
from auth.principals import ANONYMOUS, Principal, PrincipalKind, View
from core.clock import wall_now
from core.settings import DocumentPolicy, Settings
from gateway.admission import OperationRequest
from gateway.contracts import build_contracts
from gateway.documents import Documents, document_id
from gateway.execution import Gateway
from gateway.manifests import ManifestError, parse_manifest, read_manifest
from gateway.operations import Operations
from gateway.refusals import Refused
from gateway.registrar import Registrar
from gateway.texts import RedisTexts
from models.database import Database
from services import documents
from services.errors import ManifestRejected
from tests.gateway.tiny import tiny_schema

CONTRACTS = build_contracts(tiny_schema())
TEA = "query Tea { thing { name } }"
MILK = "query Milk { thing { id } }"
ALICE, BOB = (Principal(PrincipalKind.PARTNER, View.PARTNER, UUID(int=n)) for n in (1, 2))


def ask(door: Gateway, principal: Principal = ANONYMOUS, **request: object) -> str:
    """The text that is admitted, or the code and status of the refusal."""
    try:
        return door.admit(principal, OperationRequest(**request)).document.text  # type: ignore[arg-type]
    except Refused as refused:
        return f"{refused.code} {refused.http_status}"


def apollo(text: str) -> dict[str, object]:
    return {"persistedQuery": {"version": 1, "sha256Hash": document_id(text)}}


# formats


def test_relays_file_keeps_its_own_ids_as_other_names() -> None:
    (tea, milk) = parse_manifest(orjson.dumps({"7f3a9c": TEA, document_id(MILK): MILK}))
    assert (tea.id, tea.name, tea.alias) == (document_id(TEA), "Tea", "7f3a9c")
    assert (milk.id, milk.name, milk.alias) == (document_id(MILK), "Milk", None)


def test_apollos_ids_may_have_the_name_of_their_hash_before_them() -> None:
    entry = {"id": f"sha256:{document_id(TEA)}", "name": "Tea", "type": "query", "body": TEA}
    manifest = {"format": "apollo-persisted-query-manifest", "version": 1, "operations": [entry]}
    assert parse_manifest(orjson.dumps(manifest))[0].id == document_id(TEA)


def test_a_folder_is_a_manifest(tmp_path: Path) -> None:
    for name, text in (("Tea", TEA), ("Milk", MILK)):
        (tmp_path / f"{name}.graphql").write_text(text + "\n")
    assert {operation.name for operation in read_manifest(tmp_path)} == {"Tea", "Milk"}


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "neither"),
        ('{"a": 1}', "not text"),
        ('{"a": "{ x }"}', "with a name"),
        ('{"a": "query"}', "Syntax Error"),
        ('{"a b": "query A { x }"}', "1 to 128 letters"),
        (orjson.dumps({"0" * 64: TEA}).decode(), "not the SHA-256"),
        ('{"format": "apollo-persisted-query-manifest", "version": 2, "operations": []}', "version 1"),
        ('{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{"id": 1}]}', "not an apollo"),
    ],
)
def test_what_is_no_manifest_is_refused_with_a_reason(manifest: str, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        parse_manifest(manifest)
    with pytest.raises(ManifestRejected):
        Registrar(lambda: CONTRACTS).check(View.PARTNER, manifest)


async def test_what_is_registered_is_within_the_limits_that_are_set(database_url: str, tmp_path: Path) -> None:
    """What the gateway would not execute is not registered, and what it would is."""
    aliases = "query Cities { " + " ".join(f"a{n}: cities {{ id }}" for n in range(3)) + " }"
    body = orjson.dumps({"cities": aliases}).decode()

    async def checked(**limits: int) -> int:
        settings = Settings(database_url=database_url, data_dir=tmp_path, **limits)  # type: ignore[arg-type]
        async with app.open_runtime(settings) as (runtime, _):
            return len(runtime.documents.check(View.PARTNER, body))

    assert await checked(max_aliases=3) == 1
    with pytest.raises(ManifestRejected) as caught:
        await checked(max_aliases=2)
    assert caught.value.document == "Cities" and "at most 2 aliases" in caught.value.reason
    more = "query Cities { " + " ".join(f"a{n}: cities {{ id }}" for n in range(25)) + " }"
    body = orjson.dumps({"cities": more}).decode()
    with pytest.raises(ManifestRejected):
        await checked()
    assert await checked(max_root_fields=25) == 1


# who may call what


def test_a_partners_documents_are_no_other_partners() -> None:
    operations = Operations()
    operations.add(View.PARTNER, CONTRACTS[View.PARTNER], TEA, ALICE.subject)
    operations.add(View.PARTNER, CONTRACTS[View.PARTNER], MILK)
    door = Gateway(CONTRACTS, Settings(), operations)
    assert ask(door, ALICE, document_id=document_id(TEA)) == TEA
    assert ask(door, BOB, document_id=document_id(TEA)) == "PERSISTED_QUERY_NOT_IN_LIST 404"
    assert ask(door, ANONYMOUS, document_id=document_id(TEA)) == "PERSISTED_QUERY_NOT_IN_LIST 404"
    assert ask(door, ALICE, document_id=document_id(MILK)) == ask(door, BOB, document_id=document_id(MILK)) == MILK


@pytest.mark.parametrize(
    ("policy", "free", "listed_text", "listed_id", "automatic"),
    [
        (DocumentPolicy.OFF, MILK, TEA, TEA, MILK),
        (DocumentPolicy.LOG, MILK, TEA, TEA, MILK),
        (DocumentPolicy.SAFELIST, "QUERY_NOT_IN_SAFELIST 403", TEA, TEA, "PERSISTED_QUERY_NOT_FOUND 200"),
        (
            DocumentPolicy.REQUIRE_ID,
            "PERSISTED_QUERY_ID_REQUIRED 400",
            "PERSISTED_QUERY_ID_REQUIRED 400",
            TEA,
            "PERSISTED_QUERY_NOT_IN_LIST 404",
        ),
    ],
)
def test_the_ladder(policy: DocumentPolicy, free: str, listed_text: str, listed_id: str, automatic: str) -> None:
    operations = Operations()
    operations.add(View.CONSUMER, CONTRACTS[View.CONSUMER], TEA)
    door = Gateway(CONTRACTS, Settings(document_policy={"CONSUMER": policy}), operations)
    assert ask(door, query=MILK) == free
    assert ask(door, query=TEA) == listed_text
    assert ask(door, document_id=document_id(TEA)) == listed_id
    ask(door, query=MILK, extensions=apollo(MILK))  # how Apollo's clients tell the text of a hash
    assert ask(door, extensions=apollo(MILK)) == automatic


def test_the_ladder_is_set_by_view_and_does_not_open_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUTONG_DOCUMENT_POLICY", "device=safelist, CONSUMER=log,partner=off")
    settings = Settings()
    assert settings.document_policy["DEVICE"] is DocumentPolicy.SAFELIST
    assert ask(Gateway(CONTRACTS, settings), ALICE, query=TEA) == "PERSISTED_QUERY_ID_REQUIRED 400"


# in the database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    await database.open()
    yield database
    await database.close()


async def register(database: Database, texts: dict[str, str], client_id: UUID | None = None) -> int:
    checked = Registrar(lambda: CONTRACTS).check(View.PARTNER, orjson.dumps(texts).decode())
    async with database.transaction() as connection:
        return await documents.write(connection, View.PARTNER, client_id, checked)


async def test_another_process_takes_over_what_is_registered_and_counts_its_uses(database: Database) -> None:
    assert await register(database, {"tea": TEA}) == 1
    assert await register(database, {"tea": TEA, document_id(MILK): MILK}) == 1
    door = Gateway(CONTRACTS, Settings())
    await door.follow_registered(database)
    for id in (document_id(TEA), "tea", f"sha256:{document_id(TEA)}"):
        assert ask(door, ALICE, document_id=id) == TEA
    assert await register(database, {"later": "query Later { thing { at } }"}) == 1
    await door.follow_registered(database)
    assert "thing { at }" in ask(door, ALICE, document_id="later")
    row = await database.fetchrow("SELECT uses, last_used_at FROM persisted_document WHERE name = 'Tea'")
    assert row is not None and row["uses"] == 3 and row["last_used_at"] is not None
    await door.follow_registered(database)
    assert await database.fetchval("SELECT sum(uses) FROM persisted_document") == 4


async def test_a_retired_document_is_refused_and_comes_back_when_it_is_registered_again(database: Database) -> None:
    await register(database, {"tea": TEA})
    door = Gateway(CONTRACTS, Settings())
    await door.follow_registered(database)
    soon = wall_now() + timedelta(hours=1)
    await database.fetch(
        "UPDATE persisted_document SET deprecated_from = now(), retired_at = $1, changed_at = now()", soon
    )
    await door.follow_registered(database)
    assert ask(door, ALICE, document_id="tea") == TEA, "deprecated is not retired"
    operation = door.admit(ALICE, OperationRequest(document_id="tea"))
    assert operation.registered is not None and operation.registered.retired_at == soon
    await database.fetch("UPDATE persisted_document SET retired_at = now(), changed_at = now()")
    await door.follow_registered(database)
    assert ask(door, ALICE, document_id="tea") == "PERSISTED_QUERY_NOT_IN_LIST 404"
    assert await register(database, {"tea": TEA}) == 1
    await door.follow_registered(database)
    assert ask(door, ALICE, document_id="tea") == TEA


async def test_a_partner_and_everybody_may_have_the_same_document(database: Database) -> None:
    client = uuid4()
    assert await register(database, {"tea": TEA}) == await register(database, {"tea": TEA}, client) == 1
    assert await database.fetchval("SELECT count(*) FROM persisted_document") == 2


async def test_what_the_schema_lost_is_logged_and_the_others_work(database: Database) -> None:
    await register(database, {"tea": TEA, "milk": MILK})
    await database.fetch("UPDATE persisted_document SET body = 'query Tea { lost }' WHERE name = 'Tea'")
    door = Gateway(CONTRACTS, Settings())
    await door.follow_registered(database)
    assert ask(door, ALICE, document_id="tea") == "PERSISTED_QUERY_NOT_IN_LIST 404"
    assert ask(door, ALICE, document_id="milk") == MILK


def test_a_registered_document_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    operations = Operations()
    operations.add(View.PARTNER, CONTRACTS[View.PARTNER], TEA)
    door = Gateway(CONTRACTS, Settings(), operations)
    door.compile_registered()

    def never(*_: object) -> None:
        raise AssertionError("parsed, validated or compiled for a request")

    monkeypatch.setattr(Documents, "_prepare", never)
    monkeypatch.setattr("gateway.compiled.compile_operation", never)
    for _ in range(3):
        assert ask(door, ALICE, document_id=document_id(TEA)) == TEA


# automatic persisted queries


@pytest.mark.usefixtures("patient_redis")
async def test_processes_share_the_texts_that_clients_told_one_of_them(redis_url: str) -> None:
    text = f"query Q{uuid4().hex} {{ thing {{ name }} }}"
    request = OperationRequest(extensions=apollo(text))
    one, other = Gateway(CONTRACTS, Settings()), Gateway(CONTRACTS, Settings())
    for door in (one, other):
        door.admission.store = RedisTexts(redis_url)
    with pytest.raises(Refused, match="PersistedQueryNotFound"):
        await other.admitted(ANONYMOUS, request)
    await one.admitted(ANONYMOUS, OperationRequest(query=text, extensions=apollo(text)))
    assert isinstance(one.admission.store, RedisTexts) and isinstance(other.admission.store, RedisTexts)
    await one.admission.store.close()
    assert (await other.admitted(ANONYMOUS, request)).document.text == text
    await other.admission.store.close()


async def test_without_redis_the_client_is_asked_for_its_text() -> None:
    door = Gateway(CONTRACTS, Settings())
    door.admission.store = RedisTexts("redis://127.0.0.1:1")
    with pytest.raises(Refused, match="PersistedQueryNotFound"):
        await door.admitted(ANONYMOUS, OperationRequest(extensions=apollo(TEA)))
    told = await door.admitted(ANONYMOUS, OperationRequest(query=TEA, extensions=apollo(TEA)))
    assert told.document.text == TEA
    await door.admission.store.close()


def test_what_a_process_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.admission.KEPT_TEXTS", 300)
    door = Gateway(CONTRACTS, Settings())
    texts = [f"query Q{n} {{ thing {{ name }} }}" for n in range(40)]
    for text in texts:
        ask(door, query=text, extensions=apollo(text))
    assert ask(door, extensions=apollo(texts[-1])) == texts[-1]
    assert ask(door, extensions=apollo(texts[0])) == "PERSISTED_QUERY_NOT_FOUND 200"
