"""The contract of a view: the schema pruned to what the view may see.

It is an executable schema of its own. An operation is validated and executed against the contract of its caller,
so what lies outside does not exist for it: neither in validation, nor in suggestions, nor in introspection.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    validate_schema,
)
from strawberry.types import Info
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver

from auth.principals import View
from gateway.planning import make_planner
from gateway.sdl import sdl_of
from schema.build import DEFINITION, ROOTS, SchemaError, field_views, views_of_type
from schema.costs import COST, LIST_SIZE

SDL_FOLDER: Final = Path("schema/sdl")

_Composite = GraphQLObjectType | GraphQLInterfaceType


class Contract:
    """One view's schema. Raises SchemaError when what is left for the view makes no sense."""

    def __init__(self, full: GraphQLSchema, view: View) -> None:
        self.view = view
        self.schema = _Pruning(full, view).schema()
        self.planner = make_planner(full)
        errors = validate_schema(self.schema)
        if errors:
            raise SchemaError(f"contract {view}: " + "; ".join(e.message for e in errors))

    def sdl(self) -> str:
        """The contract as text, with its cost directives."""
        return sdl_of(self.schema)


def build_contracts(full: GraphQLSchema) -> dict[View, Contract]:
    """The contracts of all views. Raises SchemaError."""
    return {view: Contract(full, view) for view in View}


def write_sdl(contracts: Mapping[View, Contract], folder: Path = SDL_FOLDER) -> list[Path]:
    """Write each contract to ``folder``; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{view.lower()}.graphql" for view in contracts]
    for path, contract in zip(paths, contracts.values(), strict=True):
        path.write_text(contract.sdl())
    return paths


def sdl_drift(contracts: Mapping[View, Contract], folder: Path = SDL_FOLDER) -> str:
    """Unified difference between the files in ``folder`` and the contracts; empty when they agree."""
    lines: list[str] = []
    for view, contract in contracts.items():
        path = folder / f"{view.lower()}.graphql"
        written = path.read_text() if path.exists() else ""
        lines += difflib.unified_diff(
            written.splitlines(), contract.sdl().splitlines(), str(path), f"{view} contract", lineterm=""
        )
    return "\n".join(lines)


class _Pruning:
    """Copies what one view sees of a schema. Scalars, enums and inputs, which hold nothing secret, are shared."""

    def __init__(self, full: GraphQLSchema, view: View) -> None:
        self._full = full
        self._view = view
        self._roots = [t for t in (full.query_type, full.mutation_type, full.subscription_type) if t is not None]
        self._fields: dict[str, list[str]] = {}
        self._members: dict[str, list[str]] = {}
        self._copies: dict[str, GraphQLNamedType] = {}
        self._find_visible()

    def schema(self) -> GraphQLSchema:
        """The executable copy."""
        query, mutation, subscription = (self._copies_root(name) for name in ROOTS)
        reachable = self._reachable()
        extra = [self._copy(kind) for kind in self._full.type_map.values() if kind.name in reachable]
        return GraphQLSchema(
            query, mutation, subscription, types=extra, directives=(*self._full.directives, COST, LIST_SIZE)
        )

    # -- what is visible

    def _find_visible(self) -> None:
        """Fields per composite type and members per union, until nothing without content is left."""
        for kind in self._full.type_map.values():
            if isinstance(kind, _Composite) and not kind.name.startswith("__"):
                if kind in self._roots or self._view in views_of_type(kind):
                    self._fields[kind.name] = [n for n, f in kind.fields.items() if self._declared(f)]
            elif isinstance(kind, GraphQLUnionType):
                self._members[kind.name] = [t.name for t in kind.types]
        changed = True
        while changed:
            changed = self._drop_empty(self._members, lambda _, member: member in self._fields)
            changed |= self._drop_empty(self._fields, self._returns_visible)

    def _drop_empty(self, contents: dict[str, list[str]], keep: Callable[[str, str], bool]) -> bool:
        before = sum(map(len, contents.values())) + len(contents)
        for name in list(contents):
            contents[name] = [part for part in contents[name] if keep(name, part)]
            if not contents[name]:
                del contents[name]
        return before != sum(map(len, contents.values())) + len(contents)

    def _declared(self, field: GraphQLField) -> bool:
        views = field_views(field)
        return views is None or self._view in views

    def _returns_visible(self, type_name: str, field_name: str) -> bool:
        return self._is_visible(_named(cast(_Composite, self._full.type_map[type_name]).fields[field_name]))

    def _is_visible(self, kind: GraphQLNamedType) -> bool:
        if isinstance(kind, _Composite):
            return kind.name in self._fields
        return kind.name in self._members if isinstance(kind, GraphQLUnionType) else True

    # -- what is reachable

    def _reachable(self) -> set[str]:
        """Names of the composite types and unions that the view can get to from its roots.

        An interface brings its implementations along only where a field returns it.
        """
        found: set[str] = set()
        todo: list[GraphQLNamedType] = [root for root in self._roots if root.name in self._fields]
        while todo:
            kind = todo.pop()
            if kind.name in found or not self._is_visible(kind):
                continue
            if isinstance(kind, GraphQLUnionType):
                found.add(kind.name)
                todo += [self._full.type_map[name] for name in self._members[kind.name]]
            elif isinstance(kind, _Composite):
                found.add(kind.name)
                returned = [_named(kind.fields[name]) for name in self._fields[kind.name]]
                todo += [*kind.interfaces, *returned]
                for interface in returned:
                    if isinstance(interface, GraphQLInterfaceType):
                        todo += self._full.get_possible_types(interface)
        return found

    # -- copies

    def _copies_root(self, name: str) -> GraphQLObjectType | None:
        if name not in self._fields:
            return None
        return cast(GraphQLObjectType, self._copy(self._full.type_map[name]))

    def _copy(self, kind: GraphQLNamedType) -> GraphQLNamedType:
        if not isinstance(kind, _Composite | GraphQLUnionType):
            return kind
        if kind.name not in self._copies:
            if isinstance(kind, GraphQLUnionType):
                self._check_result(kind)
                self._copies[kind.name] = GraphQLUnionType(
                    kind.name,
                    lambda: [cast(GraphQLObjectType, self._copy_named(n)) for n in self._members[kind.name]],
                    kind.resolve_type,
                    kind.description,
                )
            elif isinstance(kind, GraphQLObjectType):
                self._copies[kind.name] = GraphQLObjectType(
                    kind.name,
                    lambda: dict(self._copied_fields(kind)),
                    lambda: self._interfaces(kind),
                    None,
                    kind.extensions,
                    kind.description,
                )
            else:
                self._copies[kind.name] = GraphQLInterfaceType(
                    kind.name,
                    lambda: dict(self._copied_fields(kind)),
                    lambda: self._interfaces(kind),
                    kind.resolve_type,
                    kind.description,
                )
        return self._copies[kind.name]

    def _copy_named(self, name: str) -> GraphQLNamedType:
        return self._copy(self._full.type_map[name])

    def _check_result(self, kind: GraphQLUnionType) -> None:
        """A result of which only refusals are left is a mistake in somebody's views."""
        if all("UserError" in [i.name for i in t.interfaces] for t in kind.types if t.name in self._members[kind.name]):
            raise SchemaError(f"contract {self._view}: {kind.name} has no success")

    def _interfaces(self, kind: _Composite) -> list[GraphQLInterfaceType]:
        return [cast(GraphQLInterfaceType, self._copy(i)) for i in kind.interfaces if i.name in self._fields]

    def _copied_fields(self, kind: _Composite) -> Iterator[tuple[str, GraphQLField]]:
        for name in self._fields[kind.name]:
            field = kind.fields[name]
            kwargs = field.to_kwargs()
            kwargs["type_"] = self._copy_type(field.type)
            kwargs["resolve"] = direct_resolver(field) or field.resolve
            yield name, GraphQLField(**kwargs)

    def _copy_type(self, kind: Any) -> Any:
        if isinstance(kind, GraphQLNonNull):
            return GraphQLNonNull(self._copy_type(cast(Any, kind).of_type))
        if isinstance(kind, GraphQLList):
            return GraphQLList[Any](self._copy_type(cast(Any, kind).of_type))
        return self._copy(kind)


def _named(field: GraphQLField) -> GraphQLNamedType:
    return cast(GraphQLNamedType, get_named_type(cast(Any, field).type))


def direct_resolver(field: GraphQLField) -> Callable[..., Any] | None:
    """A resolver without Strawberry's argument machinery, for a field that takes no arguments.

    Most fields are attributes; reading one costs a tenth of a microsecond instead of one and a half.
    """
    declared = field.extensions.get(DEFINITION)
    if not isinstance(declared, StrawberryField) or field.subscribe or declared.extensions or declared.arguments:
        return None
    resolver = cast("StrawberryResolver[Any] | None", cast(Any, declared).base_resolver)
    if resolver is None:
        name = declared.python_name

        def read(source: Any, _info: GraphQLResolveInfo[Any]) -> Any:
            return getattr(source, name)

        return read
    if resolver.parent_parameter:
        return None
    function = cast(Callable[..., Any], cast(Any, resolver).wrapped_func)
    by_position = bool(resolver.self_parameter)
    root = resolver.root_parameter.name if resolver.root_parameter else None
    info_name = resolver.info_parameter.name if resolver.info_parameter else None

    def call(source: Any, info: GraphQLResolveInfo[Any]) -> Any:
        kwargs: dict[str, Any] = {}
        if root is not None:
            kwargs[root] = source
        if info_name is not None:
            kwargs[info_name] = Info(_raw_info=info, _field=declared)  # pyright: ignore[reportCallIssue]
        return function(source, **kwargs) if by_position else function(**kwargs)

    return call
