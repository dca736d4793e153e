"""A contract as text, with its cost directives, which graphql-core's printer leaves out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final, cast

from graphql import GraphQLField, GraphQLObjectType, GraphQLSchema, lexicographic_sort_schema, print_schema

from schema.costs import field_weight, list_size, type_weight

_QUOTES: Final = '"""'
_TYPE: Final = re.compile(r"type (\w+).* \{")
_FIELD: Final = re.compile(r"  (\w+)(\(|:)")


def sdl_of(schema: GraphQLSchema) -> str:
    """The schema, sorted, so that a difference is a change."""
    return "\n".join(_lines(schema, print_schema(lexicographic_sort_schema(schema)))) + "\n"


def _lines(schema: GraphQLSchema, text: str) -> Iterator[str]:
    """The printer's lines; the one that ends a field, or begins a type, has its directives."""
    kind: GraphQLObjectType | None = None
    field: GraphQLField | None = None
    in_text = False
    for line in text.split("\n"):
        quotes = line.count(_QUOTES)
        if in_text or quotes:
            in_text ^= quotes % 2 == 1
            yield line
            continue
        if line == "}":
            kind = None
        elif found := _TYPE.fullmatch(line):
            kind = cast(GraphQLObjectType, schema.type_map[found[1]])
            weight = type_weight(kind)
            if weight != 1:
                line = f"{line[:-2]} @cost(weight: {json.dumps(str(weight))}) {{"
        elif kind is not None and (found := _FIELD.match(line)):
            field = kind.fields[found[1]]
        if field is not None and not line.endswith("(") and not line.startswith("   "):
            line = " ".join([line, *_directives(field)])
            field = None
        yield line


def _directives(field: GraphQLField) -> Iterator[str]:
    weight = field_weight(field)
    if weight:
        yield f"@cost(weight: {json.dumps(str(weight))})"
    size = list_size(field)
    if size is not None:
        said = {
            "assumedSize": size.assumed,
            "slicingArguments": [size.slicing] if size.slicing else None,
            "sizedFields": list(size.sized) or None,
        }
        yield "@listSize(" + ", ".join(f"{name}: {json.dumps(value)}" for name, value in said.items() if value) + ")"
