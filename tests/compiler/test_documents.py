"""Hand-written documents that ask for trouble, with answers of many seeds."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import parse, validate

from tests.compiler.oracle import Case
from tests.compiler.test_differential import check, strange


def _nested(field: str, leaf: str, depth: int) -> str:
    return "{ box { " + f"{field} {{ " * depth + leaf + " }" * depth + " } }"


FRAGMENTS = """
query ($a: Boolean! = true, $b: Boolean = false) {
  cat { ...A @skip(if: $a) name ...A ...A @include(if: $b) ...B lives }
  again: cat { ...B ...A @include(if: $a) home { ...H } home { int ...H } }
}
fragment A on Named { label name ... on Cat { lives mood } ... on Dog { never: tricks } }
fragment B on Owned { owner { ...A } ...A __typename }
fragment H on Box { int text b { id } b { text_ ...I } }
fragment I on Box { text int }
"""

CASES: dict[str, Case] = {
    "nothing is left": Case("query ($x: Boolean! = false) { box @include(if: $x) { id } }"),
    "nothing is left of an object": Case("query ($x: Boolean!) { box { id @skip(if: $x) } box_ { id } }", {"x": True}),
    "typename alone": Case("{ __typename a: __typename }"),
    "typename of a mutation": Case("mutation { __typename bump __typename again: bump }"),
    "typename of a subscription": Case("subscription { box { __typename id } }"),
    "typename between": Case(
        "{ things { a: __typename ... on Box { __typename id } ... on Cat { name } b: __typename } }"
    ),
    "fragments once each": Case(FRAGMENTS),
    "fragments, other flags": Case(FRAGMENTS, {"a": False, "b": True}),
    "null decides": Case("query ($x: Boolean = true) { int box { id @skip(if: $x) text } }", {"x": None}),
    "both directives": Case(
        "query ($x: Boolean!, $y: Boolean!) { a: int @skip(if: $x) @include(if: $y) b: int @include(if: $x) "
        "c: int @skip(if: true) @include(if: true) box @include(if: $y) { id @skip(if: $y) int @include(if: $y) } }",
        {"x": False, "y": True},
    ),
    "merged under conditions": Case(
        "query ($x: Boolean!, $y: Boolean!) { box { ...F @include(if: $x) ... @skip(if: $x) { box { int float } } "
        "box @include(if: $y) { text } b { id } b @skip(if: $y) { int } ...G } } "
        "fragment F on Box { box { id text_ } } fragment G on Box { b { b { id } b { text } } }",
        {"x": True, "y": True},
    ),
    "one key, different fields": Case(
        "{ things { ... on Cat { same: lives other: name home { x: int } } "
        "... on Dog { other: name home_: home { y: int } } ... on Fish { same_: depth other: name } "
        "... on Box { same: int_ other: text_ same_: float_ } } }"
    ),
    "one key, other nullability": Case(
        "{ pets { ... on Cat { home { id } m: mood } ... on Dog { h: home { id } d: mood } } "
        "things { ... on Cat { k: shared } ... on Dog { k: shared } ... on Fish { k: shared } } }"
    ),
    "interfaces in interfaces": Case(
        "{ named { ... on Owned { owner { ... on Owned { owner { name } } ... on Cat { kittens { name } } } } } "
        "nameds { name label(upper: true) ... on Dog { friends { name __typename } } } }"
    ),
    "a type that is impossible": Case("{ pet { ... on Named { name ... on Owned { owner { name } } } __typename } }"),
    "every list": Case(
        "{ box { l l_ L L_ ll ll_ l_l lll b { id } b_ { id } B { id } B_ { id } bb { id } bb_ { id } bBb { id } "
        "colours anys nameds { name } nameds_ { name } pets { __typename } pets_ { __typename } "
        "petss { __typename } things { __typename } } grid { id int_ } }"
    ),
    "every leaf": Case(
        "{ boxes_ { id text text_ int int_ float float_ yes yes_ any any_ even even_ fussy colour colour_ } }"
    ),
    "odd names": Case(
        "{ odd { class None True def lambda { class } async await import { _ _0 a1 _private { class } } yield { def } "
        "self root info context { source value data { errors path } } "
        "len str print list dict { type id len_ orjson mro items keys } "
        "get { values { pop name append result { args(self: 1, class: 2, args: 3, kwargs: 4) } } } } "
        "class: odd { self: class } None: int True: int rows: int run: int done: int add: int v1: int r: int x0: int }"
    ),
    "arguments left out": Case('{ box { echo many { id } } search(text: "a") { __typename } }'),
    "arguments null": Case(
        "{ box { echo(text: null, int: null, float: null, id: null, yes: null, colour: null, even: null, any: null, "
        "list: null, lists: null, input: null, inputs: null, one: null) many(filter: null) { id } } }"
    ),
    "arguments coerced": Case(
        '{ box { echo(id: 5, float: 3, list: 1, lists: 2, inputs: {text: "x"}, any: {a: [1, {b: null}], c: RED}) '
        'many(first: 1, filter: {deep: {deep: {n: null, deeps: {text: "s"}}}}) { id } } }'
    ),
    "variables left out": Case(
        "query ($t: String, $i: Int, $l: [Int!], $d: Deep, $c: [Colour!], $n: Int, $e: Even) { box { "
        "echo(text: $t, int: $i, list: $l, input: $d, lists: [[$i, 1], [$i]], even: $e, any: [$i, {a: $t}], "
        "inputs: [{n: $n, text: $t, deeps: [{n: $i}]}]) } "
        'search(text: "x", colours: $c, filter: {text: $t, list: ["a"], deep: $d}) { __typename } }'
    ),
    "variables null": Case(
        "query ($t: String, $i: Int = 4, $l: [Int!] = [1], $d: Deep = {n: 1}) { box { "
        "echo(text: $t, int: $i, list: $l, input: $d, lists: [[$i]], inputs: [{n: $i, deep: $d}]) } }",
        {"t": None, "i": None, "l": None, "d": None},
    ),
    "a null variable where none may be": Case(
        'query ($s: String! = "d", $n: String = "n", $f: Int = 1) { box { echo(text_: $n) a: echo(text_: $s) '
        "many(first: $f) { id } } b: boxes_ { many(first: $f) { id } echo(text_: $n) } }",
        {"n": None, "f": None},
    ),
    "a variable in a list of non-null": Case(
        "query ($i: Int!, $c: Colour! = BLUE, $x: Int) { box { echo(list: [$i, 2]) b: echo(list: [$i]) "
        'c: echo(lists: [[$x]]) } search(text: "t", colours: [$c, RED]) { __typename } }',
        {"i": 7},
    ),
    "a choice by variable": Case(
        "query ($a: Int!, $b: String!, $o: Choice) { box { x: echo(one: {a: $a}) y: echo(one: {b: $b}) "
        "z: echo(one: $o) w: echo(one: {c: {text: $b}}) } }",
        {"a": 1, "b": '\u2028"\\', "o": {"c": {"n": 1}}},
    ),
    "enums with strange values": Case(
        "query ($c: Colour, $d: Colour = None) { box { echo(colour: $c) d: echo(colour: $d) t: echo(colour: True) "
        "colour colours } colour }",
        {"c": "True"},
    ),
    "variables of one operation in shared fragments": Case(
        "query A($x: Int) { box { ...F } } query B($x: Int = 3) { box { ...F } } "
        "fragment F on Box { echo(int: $x) box { e: echo(int: $x) } }",
        {},
        "B",
    ),
    "a failing effect in the middle": Case(
        "mutation { a: bump b: put_(id: 1) { id } c: bump_ d: put(id: 2) { text } e: boxes { id int_ } "
        "f: pet { __typename } "
        'a: bump g: put(id: 3, input: {need: "x"}) { b_ { id } } }'
    ),
    "effects under conditions": Case(
        "mutation ($x: Boolean!) { a: bump @skip(if: $x) ...M @include(if: $x) c: bump } "
        "fragment M on Mutation { b: bump c: bump }",
        {"x": True},
    ),
    "deep": Case(_nested("box", "int text", 60)),
    "deep and non-null": Case(_nested("box_", "int_", 40)),
    "deep in lists": Case(_nested("b", "id", 9)),
    "deep in interfaces": Case("{ named { " + "... on Owned { owner { " * 6 + "name" + " } }" * 6 + " } }"),
    "wide": Case("{ box { " + " ".join(f"a{i}: int b{i}: text_ c{i}: l" for i in range(100)) + " } }"),
    "long names": Case(f"{{ {'n' * 9000}: box {{ {'_' + 'M' * 9000}: int }} }}"),
    "custom directives": Case(
        'query @loud { box @loud(text: "\\"") { ... @loud { id } ...F @loud } } fragment F on Box { int }'
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_document(name: str) -> None:
    case = CASES[name]
    assert not validate(strange(), parse(case.text))
    check(strange(), case, range(2 if len(case.text) > 4000 else 6))


@pytest.mark.fuzz
@pytest.mark.parametrize("name", CASES)
def test_document_at_length(name: str) -> None:
    check(strange(), CASES[name], range(100, 400))


@pytest.mark.parametrize("value", [{}, {"x": None}, {"x": 3}], ids=str)
def test_a_variable_without_default(value: dict[str, Any]) -> None:
    check(
        strange(), Case("query ($x: Int) { int(at: $x) box { echo(int: $x) many(first: 1) { int } } }", value), range(4)
    )
