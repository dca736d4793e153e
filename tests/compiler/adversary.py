"""A schema of all that is awkward to execute: every wrapping, abstract types, odd names, odd leaves, arguments."""

from __future__ import annotations

from typing import Any

import orjson
from graphql import GraphQLEnumType, GraphQLScalarType, GraphQLSchema, Undefined, build_schema

from tests.compiler.unleashed import unleash

SDL = '''
scalar Any
scalar Even
scalar Fussy

enum Colour { RED GREEN BLUE None True }

directive @loud(text: String = "x") on FIELD | FRAGMENT_SPREAD | INLINE_FRAGMENT | QUERY

interface Named { name: String! label(upper: Boolean = false, suffix: String): String }
interface Owned implements Named { name: String! label(upper: Boolean = false, suffix: String): String owner: Named }

type Cat implements Named & Owned {
  name: String!
  label(upper: Boolean = false, suffix: String): String
  owner: Named
  lives: Int!
  kittens: [Cat!]!
  mood: Colour
  shared: Int
  home: Box
}
type Dog implements Named & Owned {
  name: String!
  label(upper: Boolean = false, suffix: String): String
  owner: Named
  tricks: [String!]
  friends: [Named!]
  mood: Colour!
  shared: Int
  home: Box!
}
type Fish implements Named {
  name: String!
  label(upper: Boolean = false, suffix: String): String
  depth: Float!
  tank: [[Fish!]!]
  shared: Int
  home: Box
}
union Pet = Cat | Dog
union Thing = Cat | Dog | Fish | Box

type Box {
  id: ID!
  text: String
  text_: String!
  int: Int
  int_: Int!
  float: Float
  float_: Float!
  yes: Boolean
  yes_: Boolean!
  any: Any
  any_: Any!
  even: Even
  even_: Even!
  fussy: Fussy
  colour: Colour
  colour_: Colour!
  box: Box
  box_: Box!
  l: [Int]
  l_: [Int!]
  L: [Int]!
  L_: [Int!]!
  ll: [[Int]]
  ll_: [[Int!]!]!
  l_l: [[Int!]]
  lll: [[[String!]]!]
  b: [Box]
  b_: [Box!]
  B: [Box]!
  B_: [Box!]!
  bb: [[Box]]
  bb_: [[Box!]!]!
  bBb: [[[Box!]!]]!
  colours: [Colour!]
  anys: [Any]
  named: Named
  named_: Named!
  owned: Owned
  nameds: [Named]
  nameds_: [Named!]!
  pet: Pet
  pet_: Pet!
  pets: [Pet]
  pets_: [Pet!]!
  petss: [[Pet!]]
  thing: Thing
  things: [Thing!]
  echo(
    text: String, text_: String! = "d\\"q", int: Int = 7, float: Float = 2, id: ID, yes: Boolean = true,
    colour: Colour = GREEN, even: Even, any: Any = {a: [1, "x"]},
    list: [Int!] = [1, 2], lists: [[Int]], input: Deep = {n: 3}, inputs: [Deep!], one: Choice
  ): String
  many(first: Int! = 2, filter: Deep): [Box!]
  need(id: ID!, input: Deep!): Box
  span: Span
  span_: Span!
}

type Span { low: Int! high: Int text: String! marks: [Int!] }

input Deep {
  n: Int = 5
  text: String
  need: String! = "default"
  colour: Colour = RED
  list: [String!]
  deep: Deep
  deeps: [Deep]
  even: Even
  any: Any
}
input Choice @oneOf { a: Int b: String c: Deep }

"""Names that a compiler might trip over: Python's keywords, builtins, and likely names of its own variables."""
type Odd {
  class: String None: Int True: Int! def: [String!] lambda: Odd async: String await: Int import: Odd yield: [Odd!]
  self: Int root: Int info: String context: Odd source: String value: Int data: Odd errors: [Int] path: String
  len: Int str: String print: String list: [Int!]! dict: Odd type: String id: ID len_: Int orjson: Int
  _: Int __: Int _0: Int a1: String _private: Odd mro: String items: [Int] keys: String get: Odd values: Odd pop: Int
  name: String append: Int result: Odd args(self: Int, class: Int, args: Int, kwargs: Int): String
}

type Query {
  box: Box
  box_: Box!
  boxes(first: Int = 3): [Box!]
  boxes_: [Box!]!
  grid: [[Box]]
  cat: Cat
  named: Named
  nameds: [Named!]
  pet(id: ID): Pet
  pets: [Pet]
  thing: Thing!
  things: [Thing]
  odd: Odd
  odds: [Odd!]!
  colour: Colour
  any: Any
  text: String!
  int(at: Int): Int
  search(text: String!, first: Int! = 2, filter: Deep, colours: [Colour!] = [RED, BLUE], one: Choice): [Thing!]
}
type Mutation {
  put(id: ID!, input: Deep): Box
  put_(id: ID!): Box!
  bump: Int
  bump_: Int!
  pet(name: String = "x"): Pet
  boxes: [Box!]
}
type Subscription { box(id: ID): Box box_: Box! pets: [Pet!] number: Int! }
'''


def _even(value: Any) -> Any:
    match value:
        case bool() | float():
            raise TypeError(f"not even a number: {value!r}")
        case int() if value % 2:
            raise ValueError(f"odd: {value}")
        case int() if value == 4:
            return {"four": [4]}
        case int():
            return value
        case str() if value == "":
            return None
        case str():
            return Undefined
    raise TypeError(type(value).__name__)


def _fussy(value: Any) -> Any:
    """Serializes to all that JSON has, and fails in all ways a serializer can."""
    text = str(value)
    return [None, text, len(text), len(text) / 3, [text], {"t": text}, True, Undefined][len(text) % 8]


def _any(value: Any) -> Any:
    """Everything that JSON has, as it is; the rest is an error here and not in the writer of the whole answer."""
    orjson.dumps(value)
    return value


def _even_input(value: Any) -> Any:
    if not isinstance(value, int) or value % 2:
        raise ValueError("must be even")
    return value


def adversary() -> GraphQLSchema:
    """The schema with answers made up by ``tests.compiler.chaos``; a new one each time."""
    return unleash(bare_adversary())


def bare_adversary() -> GraphQLSchema:
    """The schema without resolvers."""
    schema = build_schema(SDL.replace("__: Int ", ""))
    colour, even = schema.type_map["Colour"], schema.type_map["Even"]
    for name, serialize in {"Even": _even, "Fussy": _fussy, "Any": _any}.items():
        scalar = schema.type_map[name]
        assert isinstance(scalar, GraphQLScalarType)
        scalar.coerce_output_value = scalar.serialize = serialize  # type: ignore[method-assign]
    assert isinstance(even, GraphQLScalarType)
    even.coerce_input_value = even.parse_value = _even_input  # type: ignore[method-assign]
    assert isinstance(colour, GraphQLEnumType)
    for name, value in {"RED": 0, "GREEN": "green", "BLUE": (1, 2), "None": False, "True": None}.items():
        colour.values[name].value = value
    for kind in schema.type_map.values():
        for declared in getattr(kind, "fields", {}).values():
            for argument_name, argument in getattr(declared, "args", {}).items():
                if argument_name in ("float", "inputs"):
                    argument.out_name = f"{argument_name}_given"
    deep: Any = schema.type_map["Deep"]
    deep.fields["text"].out_name = "words"
    deep.out_type = lambda values: tuple(sorted(values.items(), key=str))
    return schema
