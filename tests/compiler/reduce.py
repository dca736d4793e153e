"""Makes a failing document small: takes parts out of it for as long as it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from graphql import (
    REMOVE,
    ArgumentNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    ListValueNode,
    Node,
    ObjectFieldNode,
    OperationDefinitionNode,
    VariableDefinitionNode,
    Visitor,
    parse,
    print_ast,
    visit,
)

from tests.compiler.oracle import Case

_PARTS = (
    OperationDefinitionNode, FragmentDefinitionNode, FieldNode, InlineFragmentNode, FragmentSpreadNode, DirectiveNode,
    ArgumentNode, ObjectFieldNode, VariableDefinitionNode,
)  # fmt: skip


class _Without(Visitor):
    """Removes the part of a number; or, of an inline fragment, what is around its selections."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    def enter(self, node: Node, _key: Any, parent: Any, *_: Any) -> Any:
        if isinstance(node, _PARTS) or (isinstance(parent, tuple) and isinstance(node, ListValueNode)):
            self.left -= 1
            if self.left == -1:
                return REMOVE
        return None


def _without(document: DocumentNode) -> Iterator[DocumentNode]:
    number = 0
    while True:
        visitor = _Without(number)
        made = visit(document, visitor)
        if visitor.left >= 0:
            return
        yield made
        number += 1


def reduced(case: Case, fails: Callable[[Case], bool]) -> Case:
    """The smallest case found that still fails. ``fails`` is asked of invalid ones too."""
    progress = True
    while progress:
        progress = False
        for document in _without(parse(case.text)):
            try:
                text = print_ast(document)
                parse(text)
            except GraphQLError:
                continue
            smaller = replace(case, text=text)
            if len(text) < len(case.text) and fails(smaller):
                case, progress = smaller, True
                break
        for name in case.variables:
            smaller = replace(case, variables={k: v for k, v in case.variables.items() if k != name})
            if fails(smaller):
                case, progress = smaller, True
    return case
