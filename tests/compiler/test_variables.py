"""Variables coerced by functions made once are what graphql-core makes of them, and so are their errors."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import (
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    build_schema,
    get_variable_values,
    parse,
    validate,
)
from hypothesis import given
from hypothesis import strategies as st

from gateway.compiler.variables import VariableReader

SCHEMA: GraphQLSchema = build_schema("""
  enum Mood { GOOD BAD }
  scalar Any
  input Leaf { text: String! = "t", number: Int, real: Float = 1.5, mood: Mood = GOOD, ids: [ID!], any: Any }
  input Tree { leaf: Leaf!, left: Tree, forest: [[Leaf]!], flag: Boolean! }
  input One @oneOf { a: Int, b: String }
  type Query { f(tree: Tree, leaves: [Leaf!]!, one: One, mood: Mood, real: Float!, plain: String): Int }
""")
for name, value in SCHEMA.type_map["Mood"].values.items():  # type: ignore[attr-defined]
    value.value = f"mood of {name}"
DOCUMENT = parse("""
query Q($tree: Tree, $leaves: [Leaf!]!, $one: One, $mood: Mood = BAD, $real: Float!, $plain: String) {
  f(tree: $tree, leaves: $leaves, one: $one, mood: $mood, real: $real, plain: $plain) }""")
assert not validate(SCHEMA, DOCUMENT)
NODE = DOCUMENT.definitions[0]
assert isinstance(NODE, OperationDefinitionNode)
READER = VariableReader(SCHEMA, NODE, hide_suggestions=True)

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=3),
    st.sampled_from(["GOOD", "BAD", "UGLY", 0, 1, -1, 1.0, 2**31 - 1, 2**31, 10**9, 10**9 - 1]),
)  # fmt: skip
LEAF = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "text": st.one_of(st.text(max_size=3), SCALARS),
            "number": st.one_of(st.integers(-5, 5), SCALARS),
            "real": st.one_of(st.floats(-1, 1), st.integers(-5, 5), SCALARS),
            "mood": st.one_of(st.sampled_from(["GOOD", "BAD"]), SCALARS),
            "ids": st.one_of(st.lists(st.text(max_size=2), max_size=2), SCALARS),
            "any": st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.text(max_size=2), SCALARS)),
        },
    ),
    st.dictionaries(st.sampled_from(["text", "other"]), SCALARS, max_size=2),
    SCALARS,
)
TREE: Any = st.recursive(
    LEAF,
    lambda inner: st.fixed_dictionaries(
        {}, optional={"leaf": LEAF, "left": inner, "forest": st.lists(st.lists(LEAF, max_size=2)), "flag": SCALARS}
    ),
    max_leaves=4,
)
GOOD_TREE = st.fixed_dictionaries({"leaf": st.just({}), "flag": st.booleans()}, optional={"left": TREE})
INPUTS = st.fixed_dictionaries(
    {},
    optional={
        "tree": st.one_of(TREE, GOOD_TREE),
        "leaves": st.one_of(st.lists(LEAF, max_size=2), LEAF),
        "one": st.one_of(st.dictionaries(st.sampled_from(["a", "b"]), SCALARS), SCALARS),
        "mood": SCALARS,
        "real": st.one_of(st.floats(-1, 1), SCALARS),
        "plain": SCALARS,
        "unknown": SCALARS,
    },
)


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)  # NaN is itself here, and 1 is not 1.0


@given(INPUTS)
def test_values_and_errors_are_those_of_graphql_core(inputs: dict[str, Any]) -> None:
    expected = get_variable_values(SCHEMA, NODE.variable_definitions or (), dict(inputs), 20, True)
    found = READER.read(inputs, 20)
    if isinstance(expected, list):
        assert isinstance(found, list)
        assert [e.formatted for e in found] == [e.formatted for e in expected]
    else:
        assert not isinstance(found, list)
        assert same(found.coerced, expected.coerced)
        assert list(found.sources) == list(expected.sources)
        assert [s.value is Undefined for s in found.sources.values()] == [
            s.value is Undefined for s in expected.sources.values()
        ]


@pytest.mark.parametrize(
    "inputs",
    [
        {"leaves": [], "real": 1.0, "mood": "GOOD"},
        {"leaves": [{"text": "a"}, {}], "real": 2, "mood": "BAD", "tree": {"leaf": {}, "flag": True, "left": None}},
        {"leaves": [{"ids": ["1"]}], "real": 0.5, "mood": None, "plain": None, "one": {"a": 1}},
    ],
)
def test_what_is_right_is_not_coerced_again(inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("graphql-core was asked")

    monkeypatch.setattr("gateway.compiler.variables.get_variable_values", never)
    assert not isinstance(READER.read(inputs, 20), list)
