"""Every kind of value in every kind of leaf, in every kind of list."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
    specified_scalar_types,
)

from gateway.compiler import Attribute, Call, Planner
from gateway.planning import NATIVES
from schema.build import full_schema
from tests.compiler.oddities import Later, Number, Text, without_addresses
from tests.compiler.oracle import Case, compare


class Colour(enum.Enum):
    RED = 1
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    A = "a"


class Shown:
    def __str__(self) -> str:
        return "shown"


class Unshown:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = object.__repr__


class Failing:
    """An object of which nothing can be asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"nothing to see: {name}")


CHINA = timezone(timedelta(hours=8))
HALF = timezone(timedelta(hours=-9, minutes=-30))
ZERO = timezone(timedelta())  # like UTC, but another

TEXTS: list[Any] = ["", "a", "0", "17", " 17", "1e3", "-0", "1.5", "NaN", '\x00\u2028"\\\x7f', "🧋", "x" * 10_000]
INTEGERS: list[Any] = [True, 0, -1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63)]
FLOATS: list[Any] = [0.0, -0.0, 1.0, 1.5, 1e300, 5e-324, 2.0**31, 1e22, float("nan"), float("inf"), -float("inf")]
SUBCLASSES: list[Any] = [Text("text"), Number(5), type("Real", (float,), {})(2.5), Level.LOW, Word.A, *Colour]
INSTANTS: list[Any] = [
    datetime(2026, 3, 2, 4, 5, tzinfo=UTC),
    datetime(2026, 3, 2, 4, 5, 6, 789, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2026, 3, 2, fold=1, tzinfo=UTC),
    *(datetime(2026, 3, 2, tzinfo=zone) for zone in (CHINA, HALF, ZERO, None)),
    date(2026, 3, 2),
]
OBJECTS: list[Any] = [Decimal("1.10"), Fraction(1, 2), 1j, b"bytes", bytearray(b"b"), memoryview(b"m"), UUID(int=5)]
OBJECTS += [[], [1], ["a"], (), {}, {"a": 1}, set[int](), [None], object(), Shown(), Unshown(), Failing()]
OBJECTS += [None, Undefined, ValueError("an error"), ValueError, len, lambda *_: 5, Later(5), Later("a"), Later(None)]
VALUES = [*TEXTS, *INTEGERS, *FLOATS, *SUBCLASSES, *INSTANTS, *OBJECTS]


def make_schema(values: type[enum.Enum]) -> GraphQLSchema:
    """A field for each leaf type in each wrapping; the field's name says which."""
    product = full_schema().type_map
    kinds: dict[str, Any] = {kind.name: kind for kind in specified_scalar_types.values()}
    kinds |= {name: product[name] for name in ("DateTime", "Int64")}
    kinds["Plain"] = GraphQLEnumType("Plain", {"A": 1, "B": "a", "C": None, "D": 1.5})
    wrapped = GraphQLEnumType("Wrapped", {member.name: member for member in values})
    wrapped.wrapped_cls = values  # type: ignore[attr-defined]
    kinds["Wrapped"] = wrapped
    fields: dict[str, GraphQLField] = {}
    for name, kind in kinds.items():
        fields[name] = GraphQLField(kind, resolve=_same)
        fields[f"{name}_"] = GraphQLField(GraphQLNonNull(kind), resolve=_same)
        fields[f"{name}_l"] = GraphQLField(GraphQLList(kind), resolve=_list)
        fields[f"{name}_l_"] = GraphQLField(GraphQLList(GraphQLNonNull(kind)), resolve=_list)
        fields[f"{name}_ll"] = GraphQLField(GraphQLList(GraphQLList(GraphQLNonNull(kind))), resolve=_lists)
    inner = GraphQLObjectType("Inner", fields)
    same = GraphQLField(inner, resolve=lambda source, _info: source)
    return GraphQLSchema(GraphQLObjectType("Query", {"inner": same}))


def _same(source: Any, _info: Any) -> Any:
    return source.value


def _list(source: Any, _info: Any) -> Any:
    return [source.sound, source.value]


def _lists(source: Any, _info: Any) -> Any:
    return [[source.value], [], None, [source.value]]


async def _same_later(source: Any, _info: Any) -> Any:
    return source.value


SCHEMA = make_schema(Colour)
INNER: Any = SCHEMA.type_map["Inner"]


def _attributes(name: str, field: Any) -> Any:
    return Attribute("value") if field.resolve is _same else _calls(name, field)


def _calls(_name: str, field: Any) -> Any:
    return Call(field.resolve, ("source", "info"))


def _coroutines(name: str, field: Any) -> Any:
    return Call(_same_later, ("source", "info"), True) if field.resolve is _same else _calls(name, field)


PLANNERS: dict[str, Callable[..., Any]] = {"attributes": _attributes, "calls": _calls, "coroutines": _coroutines}
COMPILED: dict[str, dict[Any, Any]] = {way: {} for way in PLANNERS}


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__} {without_addresses(value)[:20]}")
@pytest.mark.parametrize("way", PLANNERS)
def test_leaf(value: Any, way: str) -> None:
    def plan(_parent: Any, name: str, field: Any) -> Any:
        return PLANNERS[way](name, field)

    if way == "coroutines" and isinstance(value, Later | Failing):
        pytest.skip("graphql-core looks at what the function returns, not at what comes out of that")
    found: list[str] = []

    async def run() -> None:
        source = SimpleNamespace(value=value, sound=None, calls=[])
        for name in INNER.fields:
            if way != "attributes" and INNER.fields[name].resolve is not _same:
                continue
            # Alone, because one that cannot be written to JSON takes all others with it.
            case = Case(f"{{ inner {{ {name} }} }}")
            planner = Planner(plan, natives=NATIVES)
            found.extend(await compare(SCHEMA, case, lambda: (source, source), COMPILED[way], planner) or ())

    asyncio.run(run())
    assert not found, "\n".join(found[:3])
