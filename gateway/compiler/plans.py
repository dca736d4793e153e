"""How the value of a field is found: what a planner tells the compiler about each field of a schema."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from graphql import GraphQLField, GraphQLObjectType


@dataclass(frozen=True, slots=True)
class Attribute:
    """The attribute ``name`` of the source; an error when it is missing."""

    name: str


@dataclass(frozen=True, slots=True)
class Itself:
    """The source: an event is the value of the field that was subscribed to."""


@dataclass(frozen=True, slots=True)
class Property:
    """What graphql-core's default resolver finds under ``name``: a key of a mapping, else an attribute, else null."""

    name: str


@dataclass(frozen=True, slots=True)
class Projection:
    """An object that is made of the source's own attributes, by field name; null when ``null_if`` is None."""

    attributes: Mapping[str, str]
    null_if: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the source that gives the value, or with ``is_async`` a coroutine of it.

    ``takes`` says what it is given by position. Its keyword arguments are the field's, called as ``keywords`` says,
    or what ``prepare(arguments, info)``, called once per operation and field, makes of them. Functions that are not
    ``is_async`` may be called again when something fails in the object that they belong to, so they must have no
    effects.
    """

    function: Callable[..., Any]
    takes: tuple[Literal["source", "info"], ...] = ("source",)
    is_async: bool = False
    keywords: Mapping[str, str] = field(default_factory=dict[str, str])
    prepare: Callable[[dict[str, Any], Any], dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Values for many sources at once: ``load(context, sources)`` → their values, in order.

    It is called before anything is awaited, so that loads of siblings can be joined. A value that is an Exception
    is the error of its field. It may also return a list at once, of values, awaitables and errors.
    """

    load: Callable[[Any, list[Any]], Awaitable[list[Any]] | list[Any]]


@dataclass(frozen=True, slots=True)
class Resolve:
    """A resolver of which nothing is known: called for each source as graphql-core does, with an info of its own."""

    function: Callable[..., Any]


Plan: TypeAlias = Attribute | Itself | Property | Projection | Call | Batch | Resolve
PlanField: TypeAlias = Callable[[GraphQLObjectType, str, GraphQLField], Plan]


@dataclass(frozen=True, slots=True)
class Native:
    """A scalar whose values orjson writes as the scalar's own serialisation does.

    ``test`` is a Python expression over the value ``{v}`` that is true for such a value, with ``names`` in its scope.
    """

    test: str
    names: Mapping[str, Any] = field(default_factory=dict[str, Any])


def _bare_info(info: Any, _field: GraphQLField) -> Any:
    return info


def default_plan(_parent: GraphQLObjectType, name: str, definition: GraphQLField) -> Plan:
    """The plan for a schema of which nothing more is known: graphql-core's own semantics."""
    return Property(name) if definition.resolve is None else Resolve(definition.resolve)


@dataclass(frozen=True, slots=True)
class Planner:
    """What the compiler has to know of a schema besides its types."""

    plan: PlanField = default_plan
    info: Callable[[Any, GraphQLField], Any] = _bare_info
    """What a :class:`Call` is given as info, of graphql-core's; one for all sources, so its path has no indices."""
    natives: Mapping[str, Native] = field(default_factory=dict[str, Native])
    """By the name of the scalar."""
