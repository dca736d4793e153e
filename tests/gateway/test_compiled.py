"""Which operations are compiled, when, and how much of that is kept."""

from __future__ import annotations

import gc
import weakref

import pytest
from graphql import OperationType

from auth.principals import ANONYMOUS, View
from core.settings import Settings
from gateway.compiled import CompiledOperations, explain
from gateway.compiler import Compiled, Unsupported
from gateway.contracts import build_contracts
from gateway.documents import Document, Documents, document_id
from gateway.execution import Gateway, OperationRequest
from gateway.operations import Operations
from tests.gateway.test_execution import make_context
from tests.gateway.tiny import tiny_schema

CONTRACTS = build_contracts(tiny_schema())
CONTRACT = CONTRACTS[View.CONSUMER]
THING = "query T($no: Boolean = false) { echo(value: 1) __typename @skip(if: $no) }"


def load(text: str, *, introspection: bool = False) -> Document:
    return Documents(introspection=introspection).load(CONTRACT, text)


def find(kept: CompiledOperations, document: Document) -> Compiled | Unsupported:
    return kept.find(CONTRACT, document, next(iter(document.operations.values())))


def test_the_second_use_compiles() -> None:
    kept, document = CompiledOperations(hide_suggestions=True), load("{ echo(value: 1) }")
    first = find(kept, document)
    assert isinstance(first, Unsupported) and str(first) == "first use"
    second = find(kept, document)
    assert isinstance(second, Compiled)
    assert find(kept, document) is second


def test_a_subscription_is_compiled_at_once() -> None:
    document = load('subscription { ticks(upTo: 1, end: "stop") { number } }')
    assert next(iter(document.operations.values())).operation is OperationType.SUBSCRIPTION
    assert isinstance(find(CompiledOperations(hide_suggestions=True), document), Compiled)


def test_a_registered_document_is_compiled_before_its_first_use() -> None:
    kept, document = CompiledOperations(hide_suggestions=True), load("{ echo(value: 1) }")
    (made,) = kept.register(CONTRACT, document)
    assert kept.is_registered(View.CONSUMER, document.id) and find(kept, document) is made
    kept.forget(CONTRACT, document)
    assert not kept.is_registered(View.CONSUMER, document.id)
    assert isinstance(find(kept, document), Unsupported)


def test_what_is_kept_is_bounded_and_the_least_recently_used_goes_first() -> None:
    kept = CompiledOperations(hide_suggestions=True, kept_bytes=60_000)
    documents = [load(f"{{ a{n}: echo(value: 1) }}") for n in range(40)]
    made = []
    for document in documents:
        find(kept, document)
        made.append(find(kept, document))
        find(kept, documents[0])
    sizes = [one.size for one in made if isinstance(one, Compiled)]
    assert sum(sizes) * 3 > 60_000, "the test makes more than fits"
    still = [document for document in documents if kept.holds(CONTRACT, document)]
    assert documents[0] in still and documents[-1] in still
    assert len(still) * min(sizes) * 3 <= 60_000


def test_syntax_trees_count_as_what_is_kept() -> None:
    """They can be large where there is little code, or none as long as nobody has executed the operation."""
    kept = CompiledOperations(hide_suggestions=True, kept_bytes=1_000_000)
    many = " ".join(["__typename"] * 300)
    documents = [
        load(f"query T{n}($no: Boolean!) {{ echo(value: 1) @skip(if: $no) thing {{ {many} }} }}") for n in range(20)
    ]
    for document in documents:
        find(kept, document)
        find(kept, document)
    assert sum(kept.holds(CONTRACT, document) for document in documents) < 6


def test_nothing_is_kept_of_what_is_not_compiled() -> None:
    kept, document = CompiledOperations(hide_suggestions=True), load("{ __schema { description } }", introspection=True)
    tree = weakref.ref(document.node)
    find(kept, document)
    assert str(find(kept, document)) == "introspection"
    del document
    gc.collect()
    assert tree() is None


async def test_each_combination_of_skips_is_answered_and_few_of_them_are_compiled() -> None:
    names = [f"v{n}" for n in range(4)]
    text = (
        f"query ({', '.join(f'${n}: Boolean!' for n in names)}) {{ __typename "
        + " ".join(f"{n}: echo(value: 1) @skip(if: ${n})" for n in names)
        + " }"
    )
    door = Gateway(CONTRACTS, Settings())
    compiled: set[int] = set()
    for number in range(2**4):
        variables = {name: bool(number >> k & 1) for k, name in enumerate(names)}
        operation = door.admit(ANONYMOUS, OperationRequest(query=text, variables=variables))
        answer = await door.execute(operation, make_context())
        assert list(answer["data"]) == ["__typename", *(name for name in names if not variables[name])]
        if isinstance(operation.compiled, Compiled):
            compiled.add(len(operation.compiled.variants))
    assert max(compiled) == 4, "as many variants as an operation of a caller's own may have"


async def test_introspection_is_left_to_graphql_core() -> None:
    door = Gateway(CONTRACTS, Settings(introspection=True))
    request = OperationRequest(query="{ __schema { queryType { name } } }")
    for _ in range(2):
        operation = door.admit(ANONYMOUS, request)
        assert (await door.execute(operation, make_context()))["data"]["__schema"]["queryType"]["name"] == "Query"
    assert isinstance(operation.compiled, Unsupported) and str(operation.compiled) == "introspection"


async def test_with_the_compiler_off_nothing_is_compiled() -> None:
    door = Gateway(CONTRACTS, Settings(compiler=False))
    for _ in range(3):
        operation = door.admit(ANONYMOUS, OperationRequest(query="{ echo(value: 1) }"))
        assert isinstance(operation.compiled, Unsupported)
    assert (await door.execute(operation, make_context()))["data"] == {"echo": 1}


def test_registered_operations_are_compiled_when_the_program_starts() -> None:
    operations = Operations()
    operations.add(View.CONSUMER, CONTRACT, "{ echo(value: 1) }")
    door = Gateway(CONTRACTS, Settings(), operations)
    door.compile_registered()
    operation = door.admit(ANONYMOUS, OperationRequest(document_id="sha256:" + document_id("{ echo(value: 1) }")))
    assert isinstance(operation.compiled, Compiled)


@pytest.mark.parametrize(
    ("text", "part"), [(THING, "def level_0(rows, run"), ("{ __schema { types { name } } }", "introspection")]
)
def test_explain_shows_the_source_or_says_why_there_is_none(text: str, part: str) -> None:
    assert part in explain(CONTRACT, load(text, introspection=True), {})
