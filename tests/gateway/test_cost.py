"""Cost: known before, counted afterwards, visible in the contracts."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest
from graphql import (
    FragmentDefinitionNode,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    OperationDefinitionNode,
    Undefined,
    build_schema,
    execute_sync,
    is_required_input_field,
    parse,
    validate,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from auth.principals import View
from gateway.contracts import build_contracts
from gateway.cost import Costing, cost_of
from gateway.documents import Documents, document_id
from gateway.manifests import ManifestOperation
from gateway.operations import Operations
from gateway.refusals import Refused
from gateway.registrar import Registrar
from schema.base import MUTATION_WEIGHT
from schema.build import full_schema
from schema.costs import field_weight, is_composite, list_depth, list_size, named, type_weight

CONTRACTS = build_contracts(full_schema())
PRINTED = {view: build_schema(contract.sdl()) for view, contract in CONTRACTS.items()}
ORDERS = (
    "query Q($n: Int!) { myOrders(first: $n) { nodes { id lines { id } total { amount } } pageInfo { endCursor } } }"
)


def costing(text: str, view: View = View.CONSUMER) -> Costing:
    return next(iter(Documents(introspection=True).load(CONTRACTS[view], text).costings.values()))


def request(text: str, view: View = View.CONSUMER, **variables: Any) -> tuple[int, int]:
    return costing(text, view).request(variables)


def test_a_list_costs_what_its_slicing_argument_says() -> None:
    # The root, the connection, and per order one object and five lines. Money and PageInfo are values.
    assert request(ORDERS, n=1) == (2 + 6, 1 + 6)
    assert request(ORDERS, n=20) == (2 + 20 * 6, 1 + 20 * 6)
    assert request(ORDERS.replace("($n: Int!)", "").replace("first: $n", "first: 3")) == (20, 19)
    assert costing(ORDERS).worst == 2 + 100 * 6


def test_lists_in_lists_multiply() -> None:
    text = """query Q($s: Int!, $o: Int!) { myStores { orders(first: $o) { edges { node { lines { id } } } } }
              two: myStores { orders(first: $s) { nodes { events(first: $o) { nodes { at } } } } } }"""
    each = 10 * (1 + 1 + 4 * (1 + 1 + 5)) + 10 * (1 + 1 + 3 * (1 + 1 + 4))
    assert request(text, View.MERCHANT, s=3, o=4) == (1 + each, each)


def test_a_missing_or_negative_size_is_no_discount() -> None:
    assert request("query Q($n: Int! = 50) { myOrders(first: $n) { nodes { id } } }") == (102, 101)
    assert request(ORDERS, n=-5) == (2, 1)


def test_a_page_above_the_limit_is_refused_with_both_numbers() -> None:
    for text, variables in (
        (ORDERS, {"n": 101}),
        (ORDERS.replace("($n: Int!)", "").replace("first: $n", "first: 5000"), {}),
    ):
        with pytest.raises(Refused) as caught:
            request(text, **variables)
        facts = caught.value.errors[0]["extensions"]
        assert facts["code"] == "PAGE_SIZE_LIMIT_EXCEEDED" and facts["limit"] == 100
        assert facts["value"] in (101, 5000)


def test_what_is_merged_is_paid_once() -> None:
    once = request("{ viewer { grants { id role } } cities { id name slug } }")
    twice = """query Q { ...A viewer { grants { id } } cities { id } ...A ... on Query { cities { name } } }
               fragment A on Query { cities { slug } viewer { grants { id } } }"""
    assert request(twice) == once


def test_a_mutation_costs_more_than_what_it_returns() -> None:
    text = "mutation { signOut { ... on SignedOut { __typename } ... on UserError { code message } } }"
    assert request(text) == (1 + MUTATION_WEIGHT + 1, 1)


def test_introspection_is_not_free_and_not_expanded() -> None:
    assert request("{ __schema { types { fields { type { fields { name } } } } } }") == (101, 0)


def test_the_answer_is_counted_and_what_is_missing_is_not_paid() -> None:
    known = costing(ORDERS)
    page = {"nodes": [{"id": "1", "lines": [{"id": "a"}, {"id": "b"}]}, {"id": "2", "lines": []}], "pageInfo": {}}
    assert known.actual({"myOrders": page}) == 2 + 2 + 2
    assert known.actual({"myOrders": {"nodes": [], "pageInfo": {}}}) == 2
    assert known.actual({"myOrders": None}) == known.actual(None) == 1
    status = costing("query Q($id: ID!) { order(id: $id) { id store { id merchant { id } } } }")
    assert status.requested.constant == 4
    assert status.actual({"order": None}) == 1
    assert status.actual({"order": {"id": "1", "store": {"id": "2", "merchant": None}}}) == 3


def test_a_mutation_that_failed_is_paid() -> None:
    known = costing("mutation { signOut { ... on UserError { code } } }")
    assert known.actual(None) == 1 + MUTATION_WEIGHT


@pytest.mark.parametrize("view", list(View))
def test_the_printed_contract_says_all_that_the_cost_is_made_of(view: View) -> None:
    """The SDL alone is enough: a schema built from it has the same sizes and weights on every field."""
    printed = PRINTED[view]
    assert {"cost", "listSize"} <= {directive.name for directive in printed.directives}
    for kind in CONTRACTS[view].schema.type_map.values():
        if not isinstance(kind, GraphQLObjectType) or kind.name.startswith("__"):
            continue
        shown = cast(GraphQLObjectType, printed.type_map[kind.name])
        applied = {d.name.value: d for d in shown.ast_node.directives or ()} if shown.ast_node else {}
        assert ("cost" in applied) == (type_weight(kind) != 1)
        for name, field in kind.fields.items():
            node = shown.fields[name].ast_node
            assert node is not None
            applied = {d.name.value: d for d in node.directives or ()}
            assert ("cost" in applied) == (field_weight(field) > 0), (kind.name, name)
            size = list_size(field)
            assert ("listSize" in applied) == (size is not None), (kind.name, name)
            if size is not None:
                given = {a.name.value for a in applied["listSize"].arguments or ()}
                assert ("assumedSize" in given) == (size.assumed is not None)
                assert ("slicingArguments" in given) == (size.slicing is not None)
                # 9.2.1–9.2.4 of the specification
                assert list_depth(field) or size.sized
                for below in size.sized:
                    returned = cast(GraphQLObjectType, named(field))
                    assert list_depth(returned.fields[below])
                assert size.slicing is None or size.assumed is None


LITERALS = {"Int": "1", "Float": "1.5", "Boolean": "true", "DateTime": '"2026-03-02T12:00:00+08:00"'}


class Writer:
    """Random documents that are valid for a schema: aliases, merged fields, fragments of all kinds, variables."""

    def __init__(self, schema: GraphQLSchema, seed: int) -> None:
        self.schema = schema
        self.random = random.Random(seed)
        self.variables: dict[str, int] = {}
        self.fragments: list[str] = []
        self.budget = 40

    def document(self) -> str:
        roots = [t for t in (self.schema.query_type, self.schema.mutation_type) if t is not None]
        root = self.random.choice(roots)
        body = self.selections(root, 0)
        declared = ", ".join(f"${name}: Int!" for name in self.variables)
        kind = "mutation" if root is self.schema.mutation_type else "query"
        return " ".join([f"{kind} Q" + (f"({declared})" if declared else ""), body, *self.fragments])

    def selections(self, kind: Any, depth: int) -> str:
        parts = ["__typename"]
        if isinstance(kind, GraphQLUnionType | GraphQLInterfaceType):
            possible = self.schema.get_possible_types(kind)
            chosen = self.random.sample(possible, min(len(possible), 2))
            parts += [f"... on {one.name} {self.selections(one, depth)}" for one in chosen]
            return "{ " + " ".join(parts) + " }"
        names = list(kind.fields)
        for name in self.random.choices(names, k=self.random.randint(1, 4)):
            field = kind.fields[name]
            returned = named(field)
            if is_composite(returned) and (depth >= 5 or self.budget <= 0):
                continue
            self.budget -= is_composite(returned)
            arguments = self.arguments(field)
            # What has arguments, or may be selected on another type too, gets a name of its own.
            plain = not arguments and kind in (self.schema.query_type, self.schema.mutation_type)
            alias = "" if plain else f"a{self.random.getrandbits(40)}: "
            body = f" {self.selections(returned, depth + 1)}" if is_composite(returned) else ""
            if body and self.random.random() < 0.2 and plain:
                parts.append(f"{name}{body}")
                body = f" {self.selections(returned, depth + 1)}"
            parts.append(f"{alias}{name}{arguments}{body}")
        text = "{ " + " ".join(parts) + " }"
        if depth and self.random.random() < 0.2:
            self.fragments.append(f"fragment F{len(self.fragments)} on {kind.name} {text}")
            name = f"F{len(self.fragments) - 1}"
            return "{ ..." + name + (" ..." + name if self.random.random() < 0.3 else "") + " }"
        return text

    def arguments(self, field: Any) -> str:
        given: list[str] = []
        for name, argument in field.args.items():
            if name == "first":
                if self.random.random() < 0.5:
                    given.append(f"first: {self.random.randint(-1, 6)}")
                else:
                    variable = f"v{len(self.variables)}"
                    self.variables[variable] = self.random.randint(-1, 6)
                    given.append(f"first: ${variable}")
            elif isinstance(argument.type, GraphQLNonNull) and argument.default_value is Undefined:
                given.append(f"{name}: {self.literal(argument.type)}")
        return f"({', '.join(given)})" if given else ""

    def literal(self, kind: Any) -> str:
        if isinstance(kind, GraphQLNonNull):
            return self.literal(kind.of_type)
        if isinstance(kind, GraphQLList):
            return "[]"
        if isinstance(kind, GraphQLInputObjectType):
            needed = {n: f for n, f in kind.fields.items() if is_required_input_field(f)}
            if kind.is_one_of:
                needed = dict(list(kind.fields.items())[:1])
            return "{" + ", ".join(f"{n}: {self.literal(f.type)}" for n, f in needed.items()) + "}"
        if isinstance(kind, GraphQLEnumType):
            return next(iter(kind.values))
        return LITERALS.get(kind.name, '"1"')


class Faker:
    """Answers of random size, as large as the declarations allow."""

    def __init__(self, view: View, printed: GraphQLSchema, seed: int) -> None:
        self.known = CONTRACTS[view].schema
        self.printed = printed
        self.random = random.Random(seed)
        self.cost = 1
        self.nodes = 0

    def resolve(self, source: Any, info: Any, **arguments: Any) -> Any:
        if info.field_name.startswith("__"):
            return None
        field = cast(Any, self.known.type_map[info.parent_type.name]).fields[info.field_name]
        self.cost += field_weight(field)
        size = list_size(field)
        asked = max(0, arguments.get("first", 0))
        below = dict.fromkeys(size.sized, asked) if size is not None else {}
        length = (source or {}).get("sizes", {}).get(info.field_name)
        if length is None and size is not None:
            length = asked if size.slicing else size.assumed
        return self.value(info.return_type, 3 if length is None else length, below)

    def value(self, kind: Any, length: int, sizes: dict[str, int]) -> Any:
        if isinstance(kind, GraphQLNonNull):
            return self.required(kind.of_type, length, sizes)
        return None if self.random.random() < 0.1 else self.required(kind, length, sizes)

    def required(self, kind: Any, length: int, sizes: dict[str, int]) -> Any:
        if isinstance(kind, GraphQLList):
            most = min(length, self.random.choice((0, 2, 100)))
            return [self.value(kind.of_type, length, sizes) for _ in range(most)]
        if isinstance(kind, GraphQLInterfaceType | GraphQLUnionType):
            kind = self.random.choice(self.printed.get_possible_types(kind))
        if isinstance(kind, GraphQLObjectType):
            self.cost += type_weight(kind)
            self.nodes += type_weight(kind) > 0
            return {"__typename": kind.name, "sizes": sizes}
        if isinstance(kind, GraphQLEnumType):
            return next(iter(kind.values))
        return {"Int": 1, "Float": 1.5, "Boolean": True}.get(kind.name, "x")


@given(st.sampled_from(list(View)), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_no_answer_costs_more_than_was_requested(view: View, seed: int) -> None:
    """What is counted in an answer lies between what was really made and the estimate, and so do the objects."""
    writer = Writer(CONTRACTS[view].schema, seed)
    text = writer.document()
    document = parse(text)
    assert validate(CONTRACTS[view].schema, document) == [], text
    operation = next(d for d in document.definitions if isinstance(d, OperationDefinitionNode))
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    known = cost_of(CONTRACTS[view].schema, operation, fragments, 100)
    requested, nodes = known.request(writer.variables)
    assume(nodes < 3_000)
    faker = Faker(view, PRINTED[view], seed)
    result = execute_sync(PRINTED[view], document, variable_values=writer.variables, field_resolver=faker.resolve)
    assert not result.errors, text
    assert faker.cost <= known.actual(result.data) <= requested, text
    assert faker.nodes <= nodes, text


def test_a_registered_document_has_the_cost_of_its_largest_pages() -> None:
    body = ORDERS.replace("query Q", "query Q1")
    manifest = ManifestOperation(document_id(body), "Q1", body)
    assert Registrar(lambda: CONTRACTS).check_one(View.CONSUMER, manifest).cost == 2 + 100 * 6
    operations = Operations()
    operations.offer(manifest, CONTRACTS, Documents(introspection=False))
    registered = operations.find(View.CONSUMER, None, manifest.id)
    assert registered is not None and registered.cost == 2 + 100 * 6
