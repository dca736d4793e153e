"""What fields cost, in the terms of IBM's GraphQL Cost Directives (https://ibm.github.io/graphql-specs/cost-spec.html).

Weights and sizes are declared beside the fields (:func:`schema.base.sized`, ``weight`` of :func:`schema.base.mutation`
and :func:`schema.base.exposes`). Here is what they mean for a field of the finished schema, with defaults for what is
not declared:

- an object weighs 1, a scalar or enum nothing;
- a field has no weight of its own, a mutation :data:`schema.base.MUTATION_WEIGHT`;
- a list has as many objects as its slicing argument ``first`` says, otherwise :data:`ASSUMED_SIZE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from graphql import (
    DirectiveLocation,
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLDirective,
    GraphQLField,
    GraphQLInt,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLString,
    GraphQLUnionType,
    get_named_type,
)
from strawberry.types.field import StrawberryField

from schema.base import type_weights
from schema.build import DEFINITION

ASSUMED_SIZE: Final = 10
SLICING: Final = "first"

_STRINGS: Final = GraphQLList(GraphQLNonNull(GraphQLString))

COST: Final = GraphQLDirective(
    "cost",
    [
        DirectiveLocation.ARGUMENT_DEFINITION,
        DirectiveLocation.ENUM,
        DirectiveLocation.FIELD_DEFINITION,
        DirectiveLocation.INPUT_FIELD_DEFINITION,
        DirectiveLocation.OBJECT,
        DirectiveLocation.SCALAR,
    ],
    {"weight": GraphQLArgument(GraphQLNonNull(GraphQLString))},
)
LIST_SIZE: Final = GraphQLDirective(
    "listSize",
    [DirectiveLocation.FIELD_DEFINITION],
    {
        "assumedSize": GraphQLArgument(GraphQLInt),
        "slicingArguments": GraphQLArgument(_STRINGS),
        "sizedFields": GraphQLArgument(_STRINGS),
        "requireOneSlicingArgument": GraphQLArgument(GraphQLBoolean, default_value=True),
    },
)


@dataclass(frozen=True, slots=True)
class ListSize:
    """How many objects a field returns: as many as the ``slicing`` argument says, else ``assumed``.

    With ``sized``: not the field itself but these fields of the object that it returns.
    """

    assumed: int | None = None
    slicing: str | None = None
    sized: tuple[str, ...] = ()


def list_size(field: GraphQLField) -> ListSize | None:
    """The size of what a field returns; None for what costs nothing and for what is no list and has none below."""
    if not is_composite(named(field)):
        return None
    slicing = SLICING if SLICING in field.args and _is_int(field.args[SLICING]) else None
    if list_depth(field):
        return ListSize(slicing=slicing) if slicing else ListSize(_declared(field, "list_size", ASSUMED_SIZE))
    if slicing is None:
        return None
    kind = named(field)
    below = cast("dict[str, GraphQLField]", kind.fields) if isinstance(kind, GraphQLObjectType) else {}
    sized = tuple(name for name, inner in below.items() if list_depth(inner) and is_composite(named(inner)))
    return ListSize(slicing=slicing, sized=sized) if sized else None


def field_weight(field: GraphQLField) -> int:
    """What calling the field costs, whatever it returns."""
    return _declared(field, "weight", 0)


def type_weight(kind: GraphQLNamedType) -> int:
    """What one value of an object type, or a value of a leaf type, costs."""
    return type_weights.get(kind.name, 1) if is_composite(kind) else 0


def is_composite(kind: GraphQLNamedType) -> bool:
    return isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLUnionType)


def named(field: GraphQLField) -> GraphQLNamedType:
    """The type of the field without list and non-null."""
    return cast(GraphQLNamedType, get_named_type(cast(Any, field).type))


def list_depth(field: GraphQLField) -> int:
    """How many lists are around the objects that the field returns."""
    depth, kind = 0, cast(Any, field).type
    while isinstance(kind, GraphQLNonNull | GraphQLList):
        depth += isinstance(kind, GraphQLList)
        kind = cast(Any, kind).of_type
    return depth


def _is_int(argument: GraphQLArgument) -> bool:
    return get_named_type(cast(Any, argument).type) is GraphQLInt


def _declared(field: GraphQLField, what: str, default: Any) -> Any:
    declared = field.extensions.get(DEFINITION)
    return declared.metadata.get(what, default) if isinstance(declared, StrawberryField) else default
