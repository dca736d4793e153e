"""What generated code calls when a value is not of the class that it expects.

Each function takes the value when that is still right, and raises :class:`Anomaly` otherwise: graphql-core then
looks at the value again and finds out what is wrong, and where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final, cast

import graphql
from graphql import GraphQLLeafType, Undefined, pyutils

default_type_resolver: Final[Callable[..., Any]] = cast(Any, graphql).default_type_resolver
is_awaitable: Final[Callable[[Any], bool]] = cast(Any, pyutils).is_awaitable


class Anomaly(Exception):
    """A value that generated code does not complete."""


_MOST_CLASSES: Final = 5000

PLAIN: Final[set[type]] = set()
"""Classes whose instances are plain objects: no errors, nothing to await, not null."""

_SEQUENCES: Final = (list, tuple, set, frozenset)


def plain(value: Any) -> type[Any] | None:
    """The class of a plain object, when all instances of it are plain too."""
    kind = cast("type[Any]", type(value))
    if kind in PLAIN:
        return kind
    if value is None or value is Undefined or isinstance(value, Exception) or is_awaitable(value):
        raise Anomaly
    if issubclass(kind, _Generator):
        return None  # some can be awaited
    if len(PLAIN) >= _MOST_CLASSES:
        PLAIN.clear()
    PLAIN.add(kind)
    return kind


_Generator: Final = type(_ for _ in ())


def sequence(value: Any) -> None:
    """Accept a list that can be read twice."""
    if not isinstance(value, _SEQUENCES):
        raise Anomaly


def leaf(kind: GraphQLLeafType, value: Any) -> Any:
    """The value as its scalar or enum serialises it."""
    if value is None or value is Undefined or isinstance(value, Exception) or is_awaitable(value):
        raise Anomaly
    coerced: Any = kind.coerce_output_value(value)
    if coerced is None or coerced is Undefined:
        raise Anomaly
    return coerced


def prop(source: Any, name: str) -> Any:
    """What graphql-core's default resolver finds, unless it is a function."""
    value: Any = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
    if callable(value):  # pyright: ignore[reportUnknownArgumentType]
        raise Anomaly
    return value  # pyright: ignore[reportUnknownVariableType]


def type_name(value: Any, info: Any, kind: Any, default: Any) -> str:
    """Name of the object type of an abstract type's value."""
    name: Any = (kind.resolve_type or default)(value, info, kind)
    if not isinstance(name, str):
        _close(name)
        raise Anomaly
    return name


def is_of(value: Any, info: Any, kind: Any) -> None:
    """Accept a value that its object type recognises."""
    answer: Any = kind.is_type_of(value, info)
    if is_awaitable(answer):
        _close(answer)
        raise Anomaly
    if not answer:
        raise Anomaly


def refuse() -> None:
    raise Anomaly


def _close(value: Any) -> None:
    """Do not leave a coroutine that nobody will await."""
    close = getattr(value, "close", None)
    if close is not None and is_awaitable(value):
        close()


NAMES: Final[dict[str, Any]] = {
    "is_of": is_of,
    "isfinite": isfinite,
    "leaf": leaf,
    "plain": plain,
    "prop": prop,
    "refuse": refuse,
    "sequence": sequence,
    "type_name": type_name,
}
"""In the scope of all generated code."""
