"""A schema whose fields are read in all the ways that a planner can tell the compiler of, each beside a resolver for
graphql-core that gives the same.

Answers are made up as in ``chaos``. What is recorded of a call is what both can know: calls of synchronous functions
are not, because the compiler may repeat them, and of paths the last key only, because infos are shared by a list.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLUnionType,
)

from gateway.compiler import Attribute, Batch, Call, Plan, Planner, Projection, Property, Resolve
from gateway.planning import NATIVES
from tests.compiler.chaos import Chaos
from tests.compiler.oddities import without_addresses
from tests.compiler.unleashed import unleash

SPAN = {"low": "int_", "high": "int", "text": "text_", "marks": "l_"}


class Span:
    """What a projection shows, for graphql-core."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __getattr__(self, name: str) -> Any:
        if name not in SPAN:
            raise AttributeError(name)
        return getattr(self._source, SPAN[name])


def _value(chaos: Chaos, kind: Any, name: str, source: Any, args: dict[str, Any]) -> Any:
    place = getattr(source, "_place", None)
    return chaos.attribute(kind, (*(place if isinstance(place, tuple) else ("unknown",)), name, repr(args)))


def _record(chaos: Chaos, what: str, key: Any, source: Any, args: dict[str, Any]) -> None:
    chaos.calls.append((what, key, repr(getattr(source, "_place", None)), without_addresses(args)))


def _now(source: Any, info: GraphQLResolveInfo, **args: Any) -> Any:
    return _value(info.context, info.return_type, info.field_name, source, args)


async def _later(source: Any, info: GraphQLResolveInfo, **args: Any) -> Any:
    chaos: Chaos = info.context
    _record(chaos, f"{info.parent_type}.{info.field_name}", info.path.key, source, args)
    place = getattr(source, "_place", ())
    for _ in range(chaos.random("turns", *place).randrange(4)):
        await asyncio.sleep(0)
    return _value(chaos, info.return_type, info.field_name, source, args)


async def _effect(source: Any, info: GraphQLResolveInfo, **args: Any) -> Any:
    chaos: Chaos = info.context
    chaos.order.append(f"begin {info.path.key}")
    answer = await _later(source, info, **args)
    chaos.order.append(f"end {info.path.key}")
    return answer


def _renamed(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(source: Any, info: Any, **args: Any) -> Any:
        assert all(name.startswith("k_") for name in args)
        return function(source, info, **{name[2:]: value for name, value in args.items()})

    return call


def _attribute(name: str) -> tuple[Plan, Any]:
    return Attribute(name), lambda source, _info, **_args: getattr(source, name)


def _batch(parent: GraphQLObjectType, name: str, definition: GraphQLField) -> tuple[Plan, Any]:
    what = f"{parent.name}.{name}"

    def one(chaos: Chaos, source: Any) -> Any:
        _record(chaos, what, None, source, {})
        try:
            return _value(chaos, definition.type, name, source, {})
        except Exception as error:
            return error

    def load(chaos: Chaos, rows: list[Any]) -> Any:
        async def values() -> list[Any]:
            await asyncio.sleep(0)
            return [one(chaos, row) for row in rows]

        found = values()
        return asyncio.ensure_future(found) if zlib.crc32(what.encode()) % 2 else found

    async def resolve(source: Any, info: GraphQLResolveInfo, **_args: Any) -> Any:
        await asyncio.sleep(0)
        return one(info.context, source)

    return Batch(load), resolve


def _projection(null_if: str | None) -> tuple[Plan, Any]:
    def resolve(source: Any, _info: Any) -> Any:
        return None if null_if is not None and getattr(source, null_if) is None else Span(source)

    return Projection(SPAN, null_if), resolve


def _way(parent: GraphQLObjectType, name: str, definition: GraphQLField, serial: bool) -> tuple[Plan, Any]:
    drawn = zlib.crc32(f"{parent.name}.{name}!".encode())
    if parent.name == "Box" and name.startswith("span"):
        return _projection("text" if name == "span" else None)
    if parent.name == "Span":
        return _attribute(name)
    both = ("source", "info")
    if serial:
        return Call(_effect, both, True), _effect
    outs = [argument.out_name or given for given, argument in definition.args.items()]
    names = {out: f"k_{out}" for out in outs}
    ways: list[tuple[Plan, Any]] = [
        (Call(_now, both), _now),
        (Call(_later, both, True), _later),
        (Call(_renamed(_now), both, keywords=names), _now),
        (Call(_renamed(_later), both, True, keywords=names), _later),
        (Call(_now, both, prepare=lambda given, _info: dict(given)), _now),
        (Call(_later, both, True, prepare=lambda given, info: dict(given)), _later),
        (Resolve(_later), _later),
    ]
    if not definition.args:
        ways += [_attribute(name)] * 7 + [_batch(parent, name, definition)] * 3
        ways.append((Property(name), None))
    return ways[drawn % len(ways)]


def plan_all(schema: GraphQLSchema) -> Planner:
    """Give every field of ``schema`` a resolver, and the planner that tells the compiler what it does."""
    unleash(schema)
    plans: dict[tuple[str, str], Plan] = {}
    for kind in schema.type_map.values():
        if isinstance(kind, GraphQLObjectType) and not kind.name.startswith("__"):
            for name, definition in kind.fields.items():
                plan, resolve = _way(kind, name, definition, kind is schema.mutation_type)
                plans[kind.name, name] = plan
                definition.resolve = resolve
        elif isinstance(kind, GraphQLUnionType):
            kind.resolve_type = None
    return Planner(lambda parent, name, _definition: plans[parent.name, name], natives=NATIVES)
