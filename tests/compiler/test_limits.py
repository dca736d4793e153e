"""What the compiler does not take, and how much it keeps."""

from __future__ import annotations

import gc
import itertools
import weakref
from typing import Any

import pytest
from graphql import DocumentNode, GraphQLSchema, VariableValues, build_schema, get_variable_values, parse

from gateway.compiler import Compiled, Limits, Unsupported, compile_operation
from tests.compiler.oracle import find_operation

SDL = """
directive @defer(if: Boolean! = true, label: String) on FRAGMENT_SPREAD | INLINE_FRAGMENT
directive @stream(if: Boolean! = true, label: String, initialCount: Int = 0) on FIELD
type Query { box: Box n: N }
interface N { id: Int n: N ns: [N] }
type A implements N { id: Int n: N ns: [N] }
type B implements N { id: Int n: N ns: [N] }
type Box { id: Int box: Box box_: Box! b: [Box] bb: [[Box!]!]! }
"""
SCHEMA: GraphQLSchema = build_schema(SDL)


def compiled(text: str, limits: Limits | None = None) -> Compiled:
    document: DocumentNode = parse(text)
    return compile_operation(SCHEMA, document, find_operation(document, None), limits=limits)


def nested(field: str, depth: int) -> str:
    return "{ box { " + f"{field} {{ " * depth + "id" + " }" * depth + " } }"


@pytest.mark.parametrize(
    ("text", "reason"),
    {
        "{ __schema { types { name } } }": "introspection",
        '{ box { id } __type(name: "Box") { name } }': "introspection",
        "{ ...F } fragment F on Query { t: __schema { description } }": "introspection",
        "{ ... @defer { box { id } } }": "@defer",
        "{ box { ...F @defer(if: false) } } fragment F on Box { id }": "@defer",
        "{ box { ...F } } fragment F on Box { b @stream { id } }": "@stream",
        "query @experimental_disableErrorPropagation { box { id } }": "@experimental_disableErrorPropagation",
        nested("b", 30): "SyntaxError",
        nested("bb", 12): "SyntaxError",
        nested("box", 120): "IndentationError",
        nested("n", 16).replace("box", "n", 1): "too many fields",
    }.items(),
)
def test_what_is_left_to_graphql_core(text: str, reason: str) -> None:
    with pytest.raises(Unsupported, match=reason):
        compiled(text)


def flags(count: int) -> str:
    variables = ", ".join(f"$f{n}: Boolean!" for n in range(count))
    return f"query ({variables}) {{ box {{ " + " ".join(f"a{n}: id @skip(if: $f{n})" for n in range(count)) + " } }"


def values(made: Compiled, given: dict[str, bool]) -> VariableValues:
    coerced = get_variable_values(SCHEMA, made.node.variable_definitions or (), given)
    assert not isinstance(coerced, list)
    return coerced


class _Context:
    """Something that may be forgotten."""


def test_variants_are_bounded() -> None:
    """Of 1,024 combinations some are compiled; the rest is refused, again and again, at no further cost."""
    made = compiled(flags(10), Limits(variants=5))
    kept, refused = 0, 0
    for chosen in itertools.product((True, False), repeat=10):
        coerced = values(made, {f"f{n}": flag for n, flag in enumerate(chosen)})
        try:
            outcome: Any = made.run({"box": {"id": 1}}, None, coerced)
        except Unsupported:
            refused += 1
        else:
            kept += 1
            assert outcome.data.count(b":1") == chosen.count(False)
        assert len(made.variants) <= 5
    assert (kept, refused) == (5, 1019)


def test_a_variant_that_cannot_be_made_is_not_tried_again() -> None:
    made = compiled(f"query ($f: Boolean!) {{ x: box @skip(if: $f) {{ id }} {nested('b', 30)[1:]}")
    for _ in range(3):
        context = _Context()
        with pytest.raises(Unsupported):
            made.run({}, context, values(made, {"f": True}))
        gone = weakref.ref(context)
        del context
        gc.collect()
        assert gone() is None, "what is refused again and again keeps nothing of those who asked"
    assert len(made.variants) == 1
    assert made.size == 0


@pytest.mark.parametrize("limits", [Limits(source=2_000), Limits(fields=10)])
def test_size_is_bounded(limits: Limits) -> None:
    small = compiled("{ box { id } }", limits)
    assert small.size > 0
    with pytest.raises(Unsupported, match=r"too large|too many fields"):
        compiled("{ box { " + " ".join(f"a{n}: id" for n in range(200)) + " } }", limits)


def test_fields_of_abstract_types_are_counted_before_they_are_made() -> None:
    """Each level of an interface doubles the tree; the limit ends that early."""
    with pytest.raises(Unsupported, match="too many fields"):
        compiled(nested("n", 90).replace("box", "n", 1), Limits(fields=4_000))


def test_null_decides_nothing() -> None:
    made = compiled("query ($f: Boolean = true) { box { id @skip(if: $f) } }")
    coerced = get_variable_values(SCHEMA, made.node.variable_definitions or (), {"f": None})
    assert not isinstance(coerced, list)
    with pytest.raises(Unsupported, match="null"):
        made.run({}, None, coerced)
    assert made.variants == {}
