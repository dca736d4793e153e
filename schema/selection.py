"""What an operation looks at, told before it runs: which fields of which records its selection needs.

A field that is a plain attribute needs itself. Others say what they need where they are declared
(:func:`schema.base.computed`); of a type with a field that does not say it, everything is read. Fields count wherever
they are selected, and whatever ``@skip`` and ``@include`` will say: a record is read the same in all places of an
operation, so that loaders can share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    get_named_type,
)
from strawberry.types.field import StrawberryField

from schema.base import python_types
from schema.build import DEFINITION
from services.columns import Columns


def columns_of(
    schema: GraphQLSchema, operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Columns:
    """What the valid ``operation`` needs of each record class."""
    roots = {
        OperationType.QUERY: schema.query_type,
        OperationType.MUTATION: schema.mutation_type,
        OperationType.SUBSCRIPTION: schema.subscription_type,
    }
    walk = _Walk(schema, fragments)
    walk.through(operation.selection_set, roots[operation.operation])
    return Columns(
        {
            record: None if None in needs else frozenset(need for need in needs if need is not None)
            for record, name in python_types.items()
            if (needs := walk.needs.get(name))
        }
    )


class _Walk:
    def __init__(self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments
        self._seen: set[str] = set()
        self.needs: dict[str, set[str | None]] = {}
        """By object type; None: unknown, perhaps everything."""

    def through(self, selections: SelectionSetNode, kind: GraphQLNamedType | None) -> None:
        for selection in selections.selections:
            if isinstance(selection, FieldNode):
                self._field(selection, kind)
            elif isinstance(selection, FragmentSpreadNode):
                self._fragment(selection.name.value)
            elif isinstance(selection, InlineFragmentNode):
                on = selection.type_condition
                self.through(selection.selection_set, kind if on is None else self._schema.get_type(on.name.value))

    def _fragment(self, name: str) -> None:
        if name not in self._seen:
            self._seen.add(name)
            fragment = self._fragments[name]
            self.through(fragment.selection_set, self._schema.get_type(fragment.type_condition.name.value))

    def _field(self, node: FieldNode, kind: GraphQLNamedType | None) -> None:
        name = node.name.value
        if isinstance(kind, GraphQLObjectType):
            kinds = [kind]
        elif isinstance(kind, GraphQLInterfaceType | GraphQLUnionType):
            kinds = self._schema.get_possible_types(kind)
        else:
            return
        for each in kinds:
            field = each.fields.get(name)
            if field is not None:
                self.needs.setdefault(each.name, set()).update(needs_of(field))
        field = getattr(kind, "fields", {}).get(name)
        if field is not None and node.selection_set is not None:
            self.through(node.selection_set, cast(GraphQLNamedType, get_named_type(field.type)))


def needs_of(field: Any) -> frozenset[str | None]:
    """The fields of its record that a field needs; with None where nobody said."""
    declared = field.extensions.get(DEFINITION)
    if not isinstance(declared, StrawberryField):
        return frozenset({None})
    needs = declared.metadata.get("needs")
    if needs is not None:
        return frozenset(needs)
    return frozenset({None if cast(Any, declared).base_resolver is not None else declared.python_name})
