"""Who may share the bytes of an event: derived from what a subscription selects.

Every field of the schema is per viewer unless ``schema`` declares it shared (:func:`schema.base.shared`,
``exposes(…, shared=True)``). One field that is not makes the whole document per viewer: a mistake costs time, never
a secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLUnionType,
    InlineFragmentNode,
    ListValueNode,
    Node,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
)

from gateway.contracts import Contract
from gateway.documents import Document
from schema.build import is_shared


@dataclass(frozen=True, slots=True)
class Visibility:
    """What the answers to a subscription depend on, besides what is followed.

    ``shared``: not on the caller, given its view and language. ``variables``: the names of those that are used below
    the root field; what the root field itself is given says what is followed.
    """

    shared: bool
    variables: tuple[str, ...]


def visibility_of(contract: Contract, document: Document, node: OperationDefinitionNode) -> Visibility:
    """The visibility of a subscription of ``document``."""
    walk = _Walk(contract, document)
    root = contract.schema.subscription_type
    assert root is not None
    walk.roots(root, node.selection_set)
    return Visibility(walk.shared, tuple(sorted(walk.variables)))


class _Walk:
    def __init__(self, contract: Contract, document: Document) -> None:
        self._schema = contract.schema
        self._view = contract.view
        self._fragments = document.fragment_definitions
        self._walked: set[tuple[str, str]] = set()
        self.shared = True
        self.variables: set[str] = set()

    def roots(self, kind: GraphQLObjectType, selections: SelectionSetNode) -> None:
        for field, _ in self._fields(kind, selections, root=True):
            self._variables(field.directives)
            if field.selection_set is not None:
                self._select(_returned(kind, field.name.value), field.selection_set)

    def _select(self, kind: GraphQLNamedType, selections: SelectionSetNode) -> None:
        for field, holder in self._fields(kind, selections):
            name = field.name.value
            self._variables((*(field.directives or ()), *(field.arguments or ())))
            if name == "__typename":
                continue
            if not all(is_shared(possible, name, self._view) for possible in self._possible(holder)):
                self.shared = False
            if field.selection_set is not None:
                self._select(_returned(holder, name), field.selection_set)

    def _fields(
        self, kind: GraphQLNamedType, selections: SelectionSetNode, *, root: bool = False
    ) -> Iterator[tuple[FieldNode, GraphQLNamedType]]:
        """The fields of a selection with the types that they are asked of, fragments expanded once each."""
        for selection in selections.selections:
            if isinstance(selection, FieldNode):
                yield selection, kind
                continue
            self._variables(selection.directives)
            condition = kind
            if isinstance(selection, InlineFragmentNode):
                inner = selection.selection_set
                if selection.type_condition is not None:
                    condition = self._schema.type_map[selection.type_condition.name.value]
            else:
                fragment = self._fragments[cast(FragmentSpreadNode, selection).name.value]
                inner = fragment.selection_set
                condition = self._schema.type_map[fragment.type_condition.name.value]
                if not root and (fragment.name.value, kind.name) in self._walked:
                    continue
                self._walked.add((fragment.name.value, kind.name))
            yield from self._fields(condition, inner, root=root)

    def _possible(self, kind: GraphQLNamedType) -> list[GraphQLObjectType]:
        if isinstance(kind, GraphQLInterfaceType | GraphQLUnionType):
            return list(self._schema.get_possible_types(kind))
        return [cast(GraphQLObjectType, kind)]

    def _variables(self, nodes: Any) -> None:
        for node in nodes or ():
            self._values(node)

    def _values(self, node: Node) -> None:
        if isinstance(node, VariableNode):
            self.variables.add(node.name.value)
        elif isinstance(node, ListValueNode):
            self._variables(node.values)
        elif isinstance(node, ObjectValueNode):
            self._variables(node.fields)
        else:
            for name in ("arguments", "value"):
                inner = getattr(node, name, None)
                if isinstance(inner, Node):
                    self._values(inner)
                elif isinstance(inner, list | tuple):
                    self._variables(inner)


def _returned(kind: GraphQLNamedType, field: str) -> GraphQLNamedType:
    return cast(GraphQLNamedType, get_named_type(cast(Any, kind).fields[field].type))
