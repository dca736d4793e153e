"""How large an operation and its variables may be. Every limit has a code, and its error the limit and the value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    ArgumentNode,
    ConstValueNode,
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    StringValueNode,
    ValueNode,
)

from auth.principals import View
from core.settings import Settings
from gateway.refusals import Refused, refuse

MAX_FIELDS: Final = 2000
"""Fields after expanding fragments, which can multiply a short document."""
MAX_LIST: Final = 250
"""Entries of one list in the input."""
MAX_STRING: Final = 10_000
"""Characters of one string in the input."""
MAX_MANIFEST: Final = 500_000
"""The same for admins, who upload manifests of operations."""
MAX_INPUT_DEPTH: Final = 10
"""Levels of objects and lists in one variable."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one document; see the settings of the same names."""

    max_tokens: int = 2000
    max_depth: int = 15
    max_aliases: int = 50
    max_directives: int = 50
    max_root_fields: int = 20
    max_mutations: int = 5
    max_page: int = 100
    """Of a slicing argument. No setting: services have this limit too."""

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        names = [name for name in cls.__slots__ if name in Settings.model_fields]
        return cls(**{name: getattr(settings, name) for name in names})


DEFAULT: Final = Limits()


def too_large(code: str, what: str, limit: int, value: int | None, http_status: int = 400) -> Refused:
    """The refusal of what has ``value`` of ``what``; None when only that it is more is known."""
    has = "more" if value is None else str(value)
    message = f"There may be at most {limit} {what}, there are {has}."
    return refuse(code, message, http_status, limit=limit, value=value)


# -- documents


@dataclass(slots=True)
class _Size:
    depth: int = 0
    aliases: int = 0
    directives: int = 0
    fields: int = 0
    roots: int = 0

    def add(self, other: _Size, *, nested: bool) -> None:
        self.depth = max(self.depth, other.depth + nested)
        self.aliases += other.aliases
        self.directives += other.directives
        self.fields += other.fields
        if not nested:
            self.roots += other.roots


def check_size(
    view: View, limits: Limits, operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> None:
    """Raise Refused when the operation, its fragments expanded, is over a limit.

    Runs before validation, whose cost grows with the square of what it is given. Introspection is not counted.
    """
    known: dict[str, _Size] = {}

    def measure(selections: SelectionSetNode) -> _Size:
        size = _Size()
        for selection in selections.selections:
            size.directives += len(selection.directives or ())
            _check_directives(view, selection.directives)
            if isinstance(selection, FieldNode):
                size.aliases += selection.alias is not None
                _check_arguments(view, selection.arguments)
                inner = _Size()
                if selection.selection_set is not None and not selection.name.value.startswith("__"):
                    inner = measure(selection.selection_set)
                size.add(inner, nested=True)
                size.fields += 1
                size.roots += 1
            elif isinstance(selection, InlineFragmentNode):
                size.add(measure(selection.selection_set), nested=False)
            elif isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                if name not in known and name in fragments:
                    known[name] = _Size()  # a cycle ends here, and validation refuses it
                    known[name] = measure(fragments[name].selection_set)
                    known[name].directives += len(fragments[name].directives or ())
                size.add(known.get(name, _Size()), nested=False)
        return size

    size = measure(operation.selection_set)
    size.directives += len(operation.directives or ())
    for variable in operation.variable_definitions or ():
        size.directives += len(variable.directives or ())
        if variable.default_value is not None:
            _check_value(view, variable.default_value)
    for code, what, limit, value in (
        ("DEPTH_LIMIT_EXCEEDED", "levels of selections", limits.max_depth, size.depth),
        ("ALIAS_LIMIT_EXCEEDED", "aliases", limits.max_aliases, size.aliases),
        ("DIRECTIVE_LIMIT_EXCEEDED", "directives", limits.max_directives, size.directives),
        ("ROOT_FIELD_LIMIT_EXCEEDED", "root fields", limits.max_root_fields, size.roots),
        ("FIELD_LIMIT_EXCEEDED", "fields", MAX_FIELDS, size.fields),
    ):
        if value > limit:
            raise too_large(code, what, limit, value)
    if operation.operation is OperationType.MUTATION and size.roots > limits.max_mutations:
        raise too_large("MUTATION_LIMIT_EXCEEDED", "mutations in one operation", limits.max_mutations, size.roots)


def _check_directives(view: View, directives: Iterable[DirectiveNode] | None) -> None:
    for directive in directives or ():
        _check_arguments(view, directive.arguments)


def _check_arguments(view: View, arguments: Iterable[ArgumentNode] | None) -> None:
    for argument in arguments or ():
        _check_value(view, argument.value)


def _check_value(view: View, value: ValueNode | ConstValueNode) -> None:
    todo: list[tuple[Any, int]] = [(value, 0)]
    for node, depth in todo:  # grows
        if isinstance(node, StringValueNode):
            _check_string(view, len(node.value))
        elif isinstance(node, ListValueNode):
            _check_list(len(node.values), depth)
            todo += [(inner, depth + 1) for inner in node.values]
        elif isinstance(node, ObjectValueNode):
            _check_depth(depth)
            todo += [(inner.value, depth + 1) for inner in node.fields]


# -- variables


def check_variables(view: View, variables: Mapping[str, Any]) -> None:
    """Raise Refused when a list, a string or the nesting of what came as variables is over a limit."""
    for value in variables.values():
        kind = value.__class__
        if kind is str:
            if len(value) > MAX_STRING:
                _check_string(view, len(value))
        elif kind is dict or kind is list:
            for depth, inner in _walk(value):
                if inner.__class__ is str:
                    _check_string(view, len(inner))
                elif inner.__class__ is list:
                    _check_list(len(inner), depth)
                else:
                    _check_depth(depth)


def _walk(value: Any) -> Iterator[tuple[int, Any]]:
    """``value`` and all strings, lists and objects in it, with their depths; those around them first."""
    todo: list[tuple[int, Any]] = [(0, value)]
    while todo:
        depth, found = todo.pop()
        yield depth, found
        if found.__class__ is not str:
            inside: Any = found.values() if found.__class__ is dict else found
            todo += [(depth + 1, inner) for inner in inside if inner.__class__ in (str, list, dict)]


def _check_string(view: View, length: int) -> None:
    limit = MAX_MANIFEST if view is View.ADMIN else MAX_STRING
    if length > limit:
        raise too_large("INPUT_STRING_LIMIT_EXCEEDED", "characters in a string", limit, length)


def _check_list(length: int, depth: int) -> None:
    _check_depth(depth)
    if length > MAX_LIST:
        raise too_large("INPUT_LIST_LIMIT_EXCEEDED", "entries in a list", MAX_LIST, length)


def _check_depth(depth: int) -> None:
    if depth >= MAX_INPUT_DEPTH:
        raise too_deep(depth + 1)


def too_deep(levels: int | None) -> Refused:
    """The refusal of input with so many ``levels``; None when only that there are more is known."""
    return too_large("INPUT_DEPTH_LIMIT_EXCEEDED", "levels in a variable or argument", MAX_INPUT_DEPTH, levels)
