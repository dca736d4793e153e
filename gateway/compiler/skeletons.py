"""Objects taken out of lists of lists, to be completed together, and put back where they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from graphql import GraphQLObjectType
from graphql.pyutils import Path

from gateway.compiler.leaves import PLAIN, Anomaly, default_type_resolver, is_of, plain, sequence, type_name
from gateway.compiler.tree import Field, Level

if TYPE_CHECKING:
    from gateway.compiler.run import Run

PlaceOf: TypeAlias = Callable[[int], "Path | None"]
"""From the number of an object in a level to its path in the response."""


EXACT: Final = object()
"""Instead of the skeleton of a value that graphql-core has to complete."""


class Spread:
    """Takes the objects out of values that may be lists; what is left, the skeleton, has their numbers instead."""

    def __init__(self, run: Run, one: Field) -> None:
        self.items: list[Any] = []
        self._run = run
        self._one = one
        self._types: list[str] = []
        self._abstract = not isinstance(one.named, GraphQLObjectType)
        self._checked = self._abstract or one.named.is_type_of is not None

    def add(self, value: Any) -> Any:
        before = len(self.items)
        try:
            return self._spread(value, 0)
        except Exception:
            del self.items[before:]
            del self._types[before:]
            return EXACT

    def _spread(self, value: Any, depth: int) -> Any:
        if value is None:
            if not self._one.nullable[depth]:
                raise Anomaly
            return None
        if depth < len(self._one.nullable) - 1:
            sequence(value)
            return [self._spread(item, depth + 1) for item in value]
        if value.__class__ not in PLAIN:
            plain(value)
        if self._checked:
            self._types.append(self._type(value))
        self.items.append(value)
        return len(self.items) - 1

    def _type(self, value: Any) -> str:
        one, run = self._one, self._run
        name = (
            type_name(value, run.info(one.index), one.named, default_type_resolver)
            if self._abstract
            else one.named.name
        )
        level = one.levels[name]
        if level.type.is_type_of is not None:
            is_of(value, run.info(one.index), level.type)
        return name

    def groups(self) -> list[tuple[Level, list[int], list[Any]]]:
        """``(level, numbers of its objects, objects)``."""
        levels = self._one.levels
        if not self._abstract:
            return [(levels[self._one.named.name], [], self.items)] if self.items else []
        numbers: dict[str, list[int]] = {}
        for number, name in enumerate(self._types):
            numbers.setdefault(name, []).append(number)
        return [(levels[name], found, [self.items[n] for n in found]) for name, found in numbers.items()]


class Places:
    """Paths of the objects of a level, found out only when somebody asks."""

    def __init__(self, one: Field, at: PlaceOf, skeletons: list[Any]) -> None:
        self._one = one
        self._at = at
        self._skeletons = skeletons
        self._known: dict[int, Path] | None = None

    def at(self, number: int) -> Path:
        if self._known is None:
            self._known = {}
            for row, skeleton in enumerate(self._skeletons):
                if skeleton is not EXACT:
                    self._walk(skeleton, Path(self._at(row), self._one.key, self._one.parent.name))
        return self._known[number]

    def of(self, numbers: list[int]) -> PlaceOf:
        return lambda number: self.at(numbers[number])

    def _walk(self, skeleton: Any, path: Path) -> None:
        assert self._known is not None
        if isinstance(skeleton, int):
            self._known[skeleton] = path
        elif skeleton is not None:
            for index, part in enumerate(cast(Sequence[Any], skeleton)):
                self._walk(part, path.add_key(index, None))


def rebuilt(skeleton: Any, found: list[Any]) -> Any:
    if skeleton.__class__ is int:
        return found[skeleton]
    if skeleton is None:
        return None
    return [rebuilt(part, found) for part in skeleton]
