"""The whole schema: the roots of all contexts merged, scalars set, abstract types taught to recognise our classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import chain
from typing import Any, Final, cast

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    Undefined,
)
from strawberry.tools import merge_types
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver
from strawberry.types.lazy_type import LazyType

from auth.principals import View
from resolvers.base import Refusal
from schema.base import Int64, Int64Scalar, python_types, shared_types, type_views

DEFINITION: Final = "strawberry-definition"
"""Key under which graphql-core's objects carry the Strawberry definition they came from."""

ROOTS: Final = ("Query", "Mutation", "Subscription")

_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class SchemaError(Exception):
    """The declarations do not make a schema; raised at start."""


def _parse_datetime(value: Any) -> datetime:
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError('DateTime must be RFC 3339 text with an offset, as in "2026-03-02T12:00:00+08:00"')
    return datetime.fromisoformat(value.upper())


def _serialize_datetime(value: datetime) -> str:
    offset = value.utcoffset()
    if offset is None:
        raise ValueError("a DateTime without offset cannot be shown")
    return value.isoformat().removesuffix("+00:00") + "Z" if offset == timedelta(0) else value.isoformat()


DateTimeScalar: Any = strawberry.scalar(
    name="DateTime",
    description="An instant: RFC 3339 text, always with an offset.",
    specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
    serialize=_serialize_datetime,
    parse_value=_parse_datetime,
)


def assemble(
    queries: Sequence[type], mutations: Sequence[type] = (), subscriptions: Sequence[type] = ()
) -> GraphQLSchema:
    """One executable schema of the given root classes.

    Raises SchemaError when two define the same root field, or when a root field or a type says no views.
    """
    roots = [_merge(name, classes) for name, classes in zip(ROOTS, (queries, mutations, subscriptions), strict=True)]
    query, mutation, subscription = roots
    if query is None:
        raise SchemaError("a schema needs a Query")
    # Strawberry warns that overrides are to become a part of its configuration, which takes no NewType yet.
    built = strawberry.Schema(
        query,
        mutation,
        subscription,
        scalar_overrides=cast(Any, {Int64: Int64Scalar, datetime: DateTimeScalar}),
    )
    schema = built._schema  # pyright: ignore[reportPrivateUsage]
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLUnionType | GraphQLInterfaceType):
            kind.resolve_type = _type_name
        elif isinstance(kind, GraphQLObjectType):
            kind.is_type_of = None
        elif isinstance(kind, GraphQLInputObjectType):
            # Strawberry has a rule of its own, for schemas it executes itself; ours is validated by graphql-core's.
            kind.is_one_of = cast(StrawberryObjectDefinition, kind.extensions[DEFINITION]).is_one_of
        _forget_null_defaults(kind)
    _check_views(schema)
    return schema


def _forget_null_defaults(kind: GraphQLNamedType) -> None:
    """Leave out ``= null``: to our resolvers a value that is left out is None already, and the contract is shorter."""
    values: list[GraphQLArgument | GraphQLInputField] = []
    if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
        values += [argument for field in kind.fields.values() for argument in field.args.values()]
    elif isinstance(kind, GraphQLInputObjectType):
        values += kind.fields.values()
    for value in values:
        if value.default_value is None:
            value.default_value = Undefined


@cache
def full_schema() -> GraphQLSchema:
    """The schema of the product, with everything that any view may see."""
    from schema import (
        catalog,
        delivery,
        devices,
        files,
        identity,
        insight,
        merchants,
        ordering,
        partners,
        platform,
        queueing,
        webhooks,
    )

    modules = (identity, merchants, catalog, ordering, delivery, queueing, devices, files)
    modules += (partners, webhooks, insight, platform)
    return assemble(*(list(_roots_of(modules, suffix)) for suffix in ROOTS))


def _roots_of(modules: Iterable[Any], suffix: str) -> Iterable[type]:
    for module in modules:
        context = module.__name__.rpartition(".")[2]
        root = getattr(module, context.capitalize() + suffix, None)
        if root is not None:
            yield root


def _merge(name: str, classes: Sequence[type]) -> type | None:
    if not classes:
        return None
    decorated = [c if "__strawberry_definition__" in c.__dict__ else strawberry.type(c) for c in classes]
    fields = chain.from_iterable(definition_of(c).fields for c in decorated)
    twice = [field for field, count in Counter(f.name for f in fields).items() if count > 1]
    if twice:
        raise SchemaError(f"{name}: declared more than once: {', '.join(twice)}")
    return merge_types(name, tuple(decorated))


def definition_of(declared: type) -> StrawberryObjectDefinition:
    """The Strawberry definition of a decorated class."""
    return cast(Any, declared).__strawberry_definition__


def _type_name(value: Any, _info: Any, abstract: GraphQLUnionType | GraphQLInterfaceType) -> str:
    if isinstance(value, Refusal):
        return type(value.error).__name__
    for python_type in type(value).__mro__:
        name = python_types.get(python_type)
        if name is not None:
            return name
    raise TypeError(f"{type(value).__name__} is shown as no type of {abstract.name}")


def field_views(field: Any) -> frozenset[View] | None:
    """The views a graphql-core field declares for itself, None when it has those of its type."""
    declared = field.extensions.get(DEFINITION)
    return declared.metadata.get("views") if isinstance(declared, StrawberryField) else None


def is_shared(kind: GraphQLObjectType, name: str, view: View) -> bool:
    """Whether all callers of ``view`` and of one language who may see an object of ``kind`` see the same in a field."""
    declared = kind.fields[name].extensions.get(DEFINITION)
    if not isinstance(declared, StrawberryField) or declared.extensions:
        return False
    if view in declared.metadata.get("shared", ()):
        return True
    resolver = cast("StrawberryResolver[Any] | None", cast(Any, declared).base_resolver)
    return _is_plain(kind) and (resolver is None or resolver.info_parameter is None)


def _is_plain(kind: GraphQLObjectType) -> bool:
    """Whether ``kind`` was declared shared; a page or an edge of things holds them and says nothing of its own."""
    declared = kind.extensions.get(DEFINITION)
    generic = isinstance(declared, StrawberryObjectDefinition) and declared.concrete_of is not None
    return generic or kind.name in shared_types


def views_of_type(kind: GraphQLObjectType | GraphQLInterfaceType) -> frozenset[View]:
    """The views that know a type; a page or edge of things is known where the things are. Raises SchemaError."""
    views = type_views.get(kind.name)
    if views is not None:
        return views
    declared = kind.extensions.get(DEFINITION)
    if isinstance(declared, StrawberryObjectDefinition) and declared.concrete_of is not None:
        arguments = [
            getattr(t.resolve_type() if isinstance(t, LazyType) else t, "__strawberry_definition__", None)
            for t in declared.type_var_map.values()
        ]
        known = [type_views[a.name] for a in arguments if a is not None and a.name in type_views]
        if known:
            return frozenset[View].intersection(*known)
    raise SchemaError(f"type {kind.name} says no views: put @exposes(…, views=…) above it")


def _check_views(schema: GraphQLSchema) -> None:
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    for root in roots:
        for name, field in root.fields.items() if root else ():
            if not field_views(field):
                raise SchemaError(f"{root and root.name}.{name} says no views")
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType) and kind not in roots and kind.name[:2] != "__":
            views_of_type(kind)
