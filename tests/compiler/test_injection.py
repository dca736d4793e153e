"""Generated source holds nothing of a document but its response keys, and those as literals."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
    VariableValues,
    build_schema,
    get_named_type,
    parse,
    validate,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from auth.principals import View
from gateway.compiler import Attribute, Compiled, Planner, Projection, compile_operation
from gateway.contracts import build_contracts
from schema.build import full_schema
from tests.compiler.mangle import mangle
from tests.compiler.oracle import Case, coerced, find_operation
from tests.compiler.test_differential import documents, strange

EVIL = (
    "EVIL'\"",
    '""" EVIL',
    "EVIL\n    import os",
    "EVIL\r\n\tx = 1",
    "EVIL\u2028\u2029\x85\x0b\x0cx=1",
    "{EVIL}%(EVIL)s{{}}",
    "EVIL\\",
    "\\N{EVIL}\\u0041\\x41",
    "EVIL\x00",
    "#EVIL",
    "EVIL" * 5000,
    "');EVIL(",
    "\ud7ff\uffffEVIL𝔘",
)

_OWN = re.compile(r"k?[a-z]\d+|level_\d+|value_\d+")
"""Names that the compiler counts through: of functions, values, arguments, infos."""

_WORDS = frozenset(
    [
        "rows",
        "run",
        "values",
        "done",
        "add",
        "append",
        "before",
        "result",
        "zip",
        "list",
        "dict",
        "str",
        "int",
        "bool",
        "float",
        "tuple",
        "get",
        "getattr",
        "info",
        "arguments",
        "datetime",
        "UTC",
        "tzinfo",
        "__class__",
        "r",
        "v",
        "kv",
        "isfinite",
        "PLAIN",
        "is_of",
        "leaf",
        "plain",
        "prop",
        "refuse",
        "sequence",
        "type_name",
        "default_type",
    ]
)
_PLANS = frozenset({"attribute", "batch", "call", "itself", "projection", "property", "resolve"})


def source(compiled: Compiled, values: VariableValues | None = None) -> str:
    return compiled.variant(values or VariableValues({}, {})).source


def response_keys(text: str) -> set[str]:
    """The response keys of a document, found in its tokens and not by the compiler."""
    return set(re.findall(r"[_A-Za-z][_0-9A-Za-z]*", text))


def check_source(text: str, keys: set[str], schema: GraphQLSchema, attributes: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Fail when the source has an identifier or a constant that neither the compiler nor the schema gave it."""
    types = set(schema.type_map)
    fields = {n for kind in schema.type_map.values() for n in getattr(kind, "fields", {})} | attributes | {"__typename"}
    prefixed = {f"{prefix}{name}" for name in types for prefix in "TCE"}
    known = _WORDS | prefixed | fields
    tree = ast.parse(text)
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.keyword(arg=str(name)):
                assert name in known or _OWN.fullmatch(name), f"identifier {name!r}"
            case ast.Attribute(attr=name):
                assert name in known, f"attribute {name!r}"
            case ast.Constant(value=str(value)):
                assert value in keys | types | fields, f"string {value[:99]!r}"
            case ast.Constant(value=value):
                assert value is None or isinstance(value, int | float)
            case ast.Import() | ast.ImportFrom() | ast.Global() | ast.Lambda() | ast.Delete() | ast.JoinedStr():
                raise AssertionError(ast.dump(node))
            case _:
                pass
    assert all(isinstance(statement, ast.FunctionDef) for statement in tree.body)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            words = re.findall(r"\w+|[^\w\s.,:#]", token.string)
            strangers = [w for w in words if w not in known | types and not _OWN.fullmatch(w) and w not in _PLANS]
            assert not strangers, token.string


@pytest.mark.parametrize("evil", EVIL, ids=lambda text: ascii(text[:20]))
def test_strings_of_a_document_stay_out(evil: str) -> None:
    schema = strange()
    literal = _graphql(evil)
    text = f"""
    query EVIL($EVIL: String! = {literal}, $e: Any = {{EVIL: {literal}}}) @loud(text: {literal}) {{
      EVIL: box @loud(text: {literal}) {{
        __EVIL: echo(text: {literal}, text_: $EVIL, any: {{EVIL: [{literal}, EVIL]}}, list: 1, id: {literal})
        other: echo(any: $e, input: {{text: {literal}, need: $EVIL, any: {literal}}}, colour: None)
      }}
      search(text: {literal}, filter: {{list: [{literal}]}}) {{ ...EVIL }}
    }}
    fragment EVIL on Thing {{ EVIL: __typename }}
    """
    document = parse(text)
    assert not validate(schema, document)
    values = coerced(schema, document, Case(text, {"e": {"EVIL": evil}}))
    compiled = compile_operation(schema, document, find_operation(document, None))
    made = source(compiled, values)
    check_source(made, {"EVIL", "__EVIL", "other", "search"}, schema)
    # As a response key alone, quoted.
    assert not re.search(r"(?<!['\w])EVIL|EVIL(?!')", made.replace("__EVIL", "EVIL"))


def _graphql(text: str) -> str:
    """A string literal of GraphQL, escaped as far as it must be."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f]", lambda m: f"\\u{ord(m[0]):04x}", escaped) + '"'


@pytest.mark.parametrize(
    "name", ["class", "__class__", "__init__", "_0", "None", "rows", "run", "add", "v1", "N" * 20_000]
)
def test_response_keys_are_literals(name: str) -> None:
    document = parse(f"{{ {name}: box {{ {name}: int {name}2: l }} }}")
    compiled = compile_operation(strange(), document, find_operation(document, None))
    check_source(source(compiled), {name, f"{name}2"}, strange())


ATTRIBUTES = [
    "class",
    "__doc__",
    "a.b",
    "a b",
    "x; import os",
    "x\n    raise SystemExit",
    "'",
    '"""',
    "\\",
    "{x}",
    "",
    "ß",
    "ﬁ",
    "a\u2028b",
    "1a",
    "None",
    "a\x00b",
]


@pytest.mark.parametrize("name", ATTRIBUTES, ids=ascii)
def test_attribute_names_are_not_code(name: str) -> None:
    """A planner may name anything; what is no plain identifier is looked up by its text."""
    schema = build_schema("type Query { a: Int b: [Box!] c: Box } type Box { a: Int }")

    class Source:
        b: Any = ()
        c: Any = None

    inner, outer = Source(), Source()
    setattr(inner, name, 5)
    setattr(outer, name, 4)
    outer.b = [inner]

    def plan(_parent: GraphQLObjectType, field: str, _definition: GraphQLField) -> Any:
        return {"a": Attribute(name), "b": Attribute("b"), "c": Projection({"a": name})}[field]

    document = parse("{ a b { a } c { a __typename } }")
    compiled = compile_operation(schema, document, find_operation(document, None), planner=Planner(plan))
    check_source(source(compiled), {"a", "b", "c"}, schema, {name})
    outcome: Any = compiled.run(outer, None, VariableValues({}, {}))
    assert outcome.data == b'{"a":4,"b":[{"a":5}],"c":{"a":4,"__typename":"Box"}}'
    assert outcome.errors == []


def test_descriptions_and_values_of_a_schema_stay_out() -> None:
    evil = '"""\nimport os\n"""'
    colour = GraphQLEnumType("Colour", {"A": evil, "B": evil * 2}, description=evil)
    query = GraphQLObjectType(
        "Query",
        {"c": GraphQLField(colour, description=evil, deprecation_reason=evil), "s": GraphQLField(GraphQLString)},
        description=evil,
    )
    schema = GraphQLSchema(query)
    document = parse("{ c s __typename }")
    compiled = compile_operation(schema, document, find_operation(document, None))
    check_source(source(compiled), {"c", "s"}, schema)
    outcome: Any = compiled.run({"c": evil, "s": evil}, None, VariableValues({}, {}))
    assert outcome.data == b'{"c":"A","s":"\\"\\"\\"\\nimport os\\n\\"\\"\\"","__typename":"Query"}'


@settings(max_examples=25)
@given(text=st.deferred(lambda: documents(strange())), seed=st.integers(0, 2**32))
def test_generated_documents(text: str, seed: int) -> None:
    case = mangle(strange(), text, seed)
    if case is None:
        return
    document = parse(case.text)
    values = coerced(strange(), document, case)
    compiled = compile_operation(strange(), document, find_operation(document, case.name))
    if values is not None and not any(v is None for n, v in values.coerced.items() if n.startswith("b")):
        check_source(source(compiled, values), response_keys(case.text), strange())


@pytest.mark.parametrize("view", list(View))
def test_documents_of_the_product(view: View) -> None:
    """With the product's own planner, whose attributes are Python names of models."""
    contract = build_contracts(full_schema())[view]
    planner = getattr(contract, "planner", None)
    attributes = _python_names(contract.schema)

    @settings(max_examples=5)
    @given(text=documents(contract.schema), seed=st.integers(0, 2**32))
    def one(text: str, seed: int) -> None:
        case = mangle(contract.schema, text, seed)
        if case is None:
            return
        document = parse(case.text)
        values = coerced(contract.schema, document, case)
        compiled = compile_operation(contract.schema, document, find_operation(document, case.name), planner=planner)
        if values is not None and not any(v is None for n, v in values.coerced.items() if n.startswith("b")):
            check_source(source(compiled, values), response_keys(case.text), contract.schema, attributes)

    one()


def _python_names(schema: GraphQLSchema) -> set[str]:
    names: set[str] = set()
    for kind in schema.type_map.values():
        for declared in getattr(kind, "fields", {}).values():
            definition = declared.extensions.get("strawberry-definition") if declared.extensions else None
            if definition is not None:
                names.add(definition.python_name)
                projection = getattr(getattr(definition.base_resolver, "wrapped_func", None), "projection", None)
                names |= set(projection.attributes.values()) | {projection.null_if} if projection else set()
            names |= {get_named_type(declared.type).name}
    return {name for name in names if name}
