"""A schema whose resolvers do whatever the chaos of a request says."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Any

from graphql import (
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLUnionType,
)

from tests.compiler.chaos import Chaos, later

# -- resolvers for a schema


def _sync(source: Any, info: GraphQLResolveInfo, **args: Any) -> Any:
    chaos: Chaos = info.context
    chaos.record(source, info, args)
    return chaos.answer(source, info, args)


async def _async(source: Any, info: GraphQLResolveInfo, **args: Any) -> Any:
    chaos: Chaos = info.context
    chaos.record(source, info, args)
    for _ in range(chaos.random("turns", *info.path.as_list()).randrange(4)):
        await asyncio.sleep(0)
    return chaos.answer(source, info, args)


def _mixed(source: Any, info: GraphQLResolveInfo, **args: Any) -> Any:
    if info.context.random("mixed", *info.path.as_list()).random() < 0.5:
        return _async(source, info, **args)
    return _sync(source, info, **args)


async def _effect(source: Any, info: GraphQLResolveInfo, **args: Any) -> Any:
    """A root field of a mutation: what it answers depends on how many effects there were before."""
    chaos: Chaos = info.context
    chaos.record(source, info, args)
    key = str(info.path.key)
    chaos.order.append(f"begin {key}")
    await asyncio.sleep(0)
    chaos.order.append(f"end {key}")
    return chaos.attribute(info.return_type, ("Mutation", info.field_name, repr(args), len(chaos.order)))


def _effect_now(source: Any, info: GraphQLResolveInfo, **args: Any) -> Any:
    chaos: Chaos = info.context
    chaos.record(source, info, args)
    chaos.order += [f"begin {info.path.key}", f"end {info.path.key}"]
    return chaos.attribute(info.return_type, ("Mutation", info.field_name, repr(args), len(chaos.order)))


def _resolve_type(value: Any, info: GraphQLResolveInfo, abstract: GraphQLInterfaceType | GraphQLUnionType) -> Any:
    chaos: Chaos = info.context
    possible = chaos.schema.get_possible_types(abstract)
    kind = getattr(value, "_kind", None)
    name = kind.name if isinstance(kind, GraphQLObjectType) else possible[0].name
    rng = chaos.random("type", abstract.name, *getattr(value, "_place", ("unknown",)))
    if rng.random() >= chaos.rate:
        return name
    match rng.randrange(12):
        case 0:
            return None
        case 1:
            return "Nobody"
        case 2:
            return rng.choice(sorted(chaos.schema.type_map))
        case 3:
            raise chaos.error(rng, ("type", name))
        case 4:
            return chaos.schema.type_map[name]
        case 5:
            return 5
        case 6:
            return later(chaos.error(rng, ("type", name)), 1, fail=True)
        case 7:
            return later(rng.choice((None, "Nobody", "Query", "String", name)), 1)
        case 8:
            return rng.choice(possible).name
        case _:
            return later(name, rng.randrange(3))


def _is_type_of(kind: GraphQLObjectType) -> Callable[[Any, GraphQLResolveInfo], Any]:
    def is_type_of(value: Any, info: GraphQLResolveInfo) -> Any:
        chaos: Chaos = info.context
        own = getattr(value, "_kind", None)
        fits = own is kind
        rng = chaos.random("is", kind.name, *getattr(value, "_place", ("unknown",)))
        if rng.random() >= chaos.rate:
            return fits
        match rng.randrange(6):
            case 0:
                return not fits
            case 1:
                raise chaos.error(rng, ("is", kind.name))
            case 2:
                return later(chaos.error(rng, ("is", kind.name)), 1, fail=True)
            case 3:
                return later(not fits, 1)
            case _:
                return later(fits, rng.randrange(3))

    return is_type_of


WAYS = (None, None, None, _sync, _async, _mixed)


def unleash(schema: GraphQLSchema, *, ways: tuple[Any, ...] = WAYS, abstract: bool = True) -> GraphQLSchema:
    """Give every field of ``schema`` made-up answers, each in a way of its own: attribute, function, coroutine."""
    for kind in list(schema.type_map.values()):
        if kind.name.startswith("__"):
            continue
        drawn = zlib.crc32(kind.name.encode())
        if isinstance(kind, GraphQLObjectType):
            kind.is_type_of = _is_type_of(kind) if abstract and drawn % 3 == 0 else None
            for name, declared in kind.fields.items():
                way = ways[zlib.crc32(f"{kind.name}.{name}".encode()) % len(ways)]
                if kind is schema.mutation_type:
                    way = _effect if way in (_async, _mixed, None) else _effect_now
                declared.resolve = way
        elif isinstance(kind, GraphQLInterfaceType | GraphQLUnionType):
            kind.resolve_type = None if abstract and drawn % 4 == 0 else _resolve_type
    return schema
