"""How the fields of our schema are read, told to the compiler: what Strawberry and our declarations say of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast

from graphql import GraphQLArgument, GraphQLField, GraphQLObjectType, GraphQLSchema, get_named_type, is_leaf_type
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types import Info
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver

from gateway.compiler import Attribute, Batch, Call, Itself, Native, Plan, Planner, Projection, Resolve
from resolvers.context import Context
from resolvers.loading import Loader
from schema.base import Projected
from schema.build import DEFINITION

NATIVES: Final = {
    "DateTime": Native("{v}.__class__ is datetime and {v}.tzinfo is UTC", {"datetime": datetime, "UTC": UTC}),
    "Int64": Native("{v}.__class__ is int"),
}

Given = Literal["source", "info"]


def make_planner(full: GraphQLSchema) -> Planner:
    """The planner of a schema made by :func:`schema.build.assemble`, and of its contracts."""
    built = getattr(full, "_strawberry_schema", None)
    if built is None:
        return Planner()
    return Planner(_Plans(built.schema_converter).plan, _info, NATIVES)


def _info(raw: Any, definition: GraphQLField) -> Any:
    return Info(_raw_info=raw, _field=definition.extensions[DEFINITION])  # pyright: ignore[reportCallIssue]


class _Plans:
    def __init__(self, converter: GraphQLCoreConverter) -> None:
        self._converter = converter
        self._known: dict[StrawberryField, Plan] = {}

    def plan(self, parent: GraphQLObjectType, name: str, definition: GraphQLField) -> Plan:
        """See :attr:`gateway.compiler.Planner.plan`."""
        declared = definition.extensions.get(DEFINITION)
        if not isinstance(declared, StrawberryField) or declared.extensions:
            return Resolve(cast(Callable[..., Any], definition.resolve))
        if definition.subscribe is not None:
            return Itself()
        return self._of(declared, definition)

    def _of(self, declared: StrawberryField, definition: GraphQLField) -> Plan:
        resolver = cast("StrawberryResolver[Any] | None", cast(Any, declared).base_resolver)
        if resolver is None:
            return Attribute(declared.python_name)
        function = cast(Callable[..., Any], cast(Any, resolver).wrapped_func)
        batch = getattr(function, "batch", None)
        if batch is not None:
            return Batch(_loading(batch.load, batch.key))
        projected = getattr(function, "projection", None)
        if isinstance(projected, Projected):
            return Projection(projected.attributes, projected.null_if)
        takes, function = _positional(resolver, function)
        waits = inspect.iscoroutinefunction(function)
        names = {self._converter.config.name_converter.get_graphql_name(a): a.python_name for a in declared.arguments}
        wrapped = any(argument.is_maybe for argument in declared.arguments)
        if not wrapped and all(_is_leaf(definition.args[name]) for name in names):
            return Call(function, takes, waits, names)
        return Call(function, takes, waits, prepare=self._preparing(declared))

    def _preparing(self, declared: StrawberryField) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
        converter, arguments = self._converter, declared.arguments

        def prepare(given: dict[str, Any], info: Any) -> dict[str, Any]:
            return convert_arguments(
                given, arguments, scalar_registry=converter.scalar_registry, config=converter.config, info=info
            )

        return prepare


def _is_leaf(argument: GraphQLArgument) -> bool:
    """Whether Strawberry hands the value of the argument on as it is: a leaf, or a list of leaves."""
    return is_leaf_type(cast(Any, get_named_type)(cast(Any, argument).type))


def _positional(resolver: Any, function: Callable[..., Any]) -> tuple[tuple[Given, ...], Callable[..., Any]]:
    """What the resolver is given besides its arguments, and itself so that it takes that by position."""
    sources = (resolver.self_parameter, resolver.root_parameter, resolver.parent_parameter)
    wanted: list[tuple[str, Given]] = [(p.name, "source") for p in sources if p is not None]
    if resolver.info_parameter is not None:
        wanted.append((resolver.info_parameter.name, "info"))
    names = list(inspect.signature(function).parameters)
    ordered = sorted(wanted, key=lambda each: names.index(each[0]))
    if [name for name, _ in ordered] == names[: len(ordered)]:
        return tuple(what for _, what in ordered), function

    if inspect.iscoroutinefunction(function):

        async def call_async(*given: Any, **arguments: Any) -> Any:
            return await function(**dict(zip((name for name, _ in ordered), given, strict=True)), **arguments)

        return tuple(what for _, what in ordered), call_async

    def call(*given: Any, **arguments: Any) -> Any:
        return function(**dict(zip((name for name, _ in ordered), given, strict=True)), **arguments)

    return tuple(what for _, what in ordered), call


def _loading(load: Any, key: Callable[[Any], Any]) -> Callable[[Context, list[Any]], Any]:
    def values(context: Context, sources: list[Any]) -> Any:
        loader = context.loader(load)
        try:
            keys = [key(source) for source in sources]
        except Exception:
            return [_one(loader, key, source) for source in sources]
        return loader.load_many(keys)

    return values


def _one(loader: Loader[Any, Any], key: Callable[[Any], Any], source: Any) -> Any:
    """The value of one source on its way, or why it has no key."""
    try:
        return loader.load(key(source))
    except Exception as error:
        return error
