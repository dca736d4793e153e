"""What an operation may cost, known before it is executed, and what it did cost, counted afterwards.

The static analysis of IBM's GraphQL Cost Directives (section 5.1.1; https://ibm.github.io/graphql-specs/cost-spec.html).
The cost is the weight of all objects that the answer may have, the root object included (the specification's type
cost), and of all fields that have a weight, mutations above all (its field cost). A list counts as many objects as its
slicing argument or its assumed size says. What alternative types of an abstract one select is added up, where the
specification asks for the highest; ``@skip`` and ``@include`` are not asked. So it is an upper bound.

An operation is looked at once. What is left for each request is a sum of products of its slicing variables:
``7 + 3·first``. The actual cost is the same sum with the lengths of the lists in the answer; only objects that have
lists in them, or are near the root, are looked at one by one, and others are taken to be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
)

from gateway.limits import too_large
from gateway.refusals import Refused
from schema.costs import field_weight, is_composite, list_depth, list_size, named, type_weight

INTROSPECTION_WEIGHT: Final = 100
"""Of ``__schema`` and ``__type``, whatever is selected in them."""

Polynomial: TypeAlias = dict[tuple[str, ...], int]
"""Sum of products: sorted names of variables → coefficient. No coefficient is negative."""


@dataclass(frozen=True, slots=True)
class Sum:
    """A polynomial, ready to be evaluated: a constant, and the products that depend on variables."""

    constant: int
    products: tuple[tuple[int, tuple[str, ...]], ...]

    @classmethod
    def of(cls, polynomial: Polynomial) -> Sum:
        rest = tuple((coefficient, names) for names, coefficient in polynomial.items() if names)
        return cls(polynomial.get((), 0), rest)

    def at(self, sizes: Mapping[str, int]) -> int:
        """The value when variables have these values."""
        total = self.constant
        for product, names in self.products:
            for name in names:
                product *= sizes[name]
            total += product
        return total


class Count:
    """A field of an answer that is looked at to count objects."""

    __slots__ = ("below", "fixed", "is_plain", "key")

    def __init__(self, key: str, fixed: int, below: tuple[Count, ...], depth: int) -> None:
        self.key = key
        self.fixed = fixed
        """Cost of one of its objects with what is in it, but without ``below``."""
        self.below = below
        self.is_plain = depth == 1 and not below
        """Whether its length is all that has to be known: a list of objects without lists."""


@dataclass(frozen=True, slots=True)
class Costing:
    """What is known of an operation's cost before it is asked for."""

    requested: Sum
    nodes: Sum
    sizes: tuple[str, ...]
    """Names of the variables that are slicing arguments."""
    max_page: int
    """Highest value of these."""
    fixed: int
    """What is paid in any case."""
    counts: tuple[Count, ...]

    def request(self, values: Mapping[str, Any]) -> tuple[int, int]:
        """``(cost, nodes)`` with these coerced variables. Raises Refused for a page that is too large."""
        if not self.sizes:
            return self.requested.constant, self.nodes.constant
        sizes: dict[str, int] = {}
        for name in self.sizes:
            value = values.get(name)
            if value is None:
                value = self.max_page
            elif value > self.max_page:
                raise _page_too_large(self.max_page, value)
            elif value < 0:
                value = 0
            sizes[name] = value
        return self.requested.at(sizes), self.nodes.at(sizes)

    @property
    def worst(self) -> int:
        """The highest cost of any request."""
        return self.requested.at(dict.fromkeys(self.sizes, self.max_page))

    def actual(self, data: Mapping[str, Any] | None) -> int:
        """What an answer with ``data`` cost."""
        return self.fixed if data is None else self.fixed + _count(self.counts, data)


def _count(counts: tuple[Count, ...], found: Mapping[str, Any]) -> int:
    total = 0
    for count in counts:
        value: Any = found.get(count.key)
        if not value:
            continue
        if value.__class__ is list:
            total += _count_list(count, cast(list[Any], value))
        else:
            total += count.fixed
            if count.below:
                total += _count(count.below, value)
    return total


def _count_list(count: Count, values: list[Any]) -> int:
    if values[0].__class__ is list:
        return sum(_count_list(count, inner) for inner in values if inner)
    total = len(values) * count.fixed
    below = count.below
    if len(below) == 1 and below[0].is_plain:
        key, fixed = below[0].key, below[0].fixed
        return total + fixed * sum([len(value.get(key) or ()) for value in values if value])
    if below:
        for value in values:
            if value:
                total += _count(below, value)
    return total


# -- analysis


@dataclass(slots=True)
class _Part:
    """All selections of one response key on one level, of whatever type."""

    key: str
    called: int = 0
    """Weight of the field."""
    object: int = 0
    """Weight of each object."""
    times: Polynomial = field(default_factory=dict[tuple[str, ...], int])
    """How many objects; empty for a leaf."""
    depth: int = 0
    """Of lists around the objects."""
    sized: dict[str, Polynomial] = field(default_factory=dict[str, Polynomial])
    """Sizes of fields below."""
    selections: list[tuple[GraphQLNamedType, SelectionSetNode]] = field(
        default_factory=list[tuple[GraphQLNamedType, SelectionSetNode]]
    )
    parts: list[_Part] = field(default_factory=list["_Part"])


def cost_of(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    max_page: int,
) -> Costing:
    """The costing of an operation that is valid for ``schema``. Raises Refused when it asks for too large a page."""
    root = schema.get_root_type(operation.operation)
    assert root is not None
    analysis = _Analysis(schema, fragments, max_page)
    parts = analysis.parts([(root, operation.selection_set)], {})
    one: Polynomial = {(): 1}
    requested = _plus(one, *(_requested(part) for part in parts))
    nodes = _plus({}, *(_nodes(part) for part in parts))
    fixed, counts = _counted(parts, whole=True)
    return Costing(Sum.of(requested), Sum.of(nodes), tuple(sorted(analysis.variables)), max_page, 1 + fixed, counts)


class _Analysis:
    def __init__(self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode], max_page: int) -> None:
        self._schema = schema
        self._max_page = max_page
        self._fragments = fragments
        self._weight = lru_cache(maxsize=None)(self._object_weight)
        self.variables: set[str] = set()

    def parts(
        self, selections: Iterable[tuple[GraphQLNamedType, SelectionSetNode]], sized: Mapping[str, Polynomial]
    ) -> list[_Part]:
        """What is selected on one level, fields of the same key merged as the executor merges them."""
        parts: dict[str, _Part] = {}
        seen: set[tuple[str, str]] = set()
        todo = [(kind, selection) for kind, chosen in selections for selection in chosen.selections]
        for kind, selection in todo:  # grows
            if isinstance(selection, FieldNode):
                self._add(parts, kind, selection, sized)
                continue
            if isinstance(selection, InlineFragmentNode):
                condition, inner = selection.type_condition, selection.selection_set
            else:
                assert isinstance(selection, FragmentSpreadNode)
                name = selection.name.value
                if (kind.name, name) in seen:
                    continue
                seen.add((kind.name, name))
                condition, inner = self._fragments[name].type_condition, self._fragments[name].selection_set
            narrowed = kind
            if condition is not None and not isinstance(kind, GraphQLObjectType):
                narrowed = self._schema.type_map[condition.name.value]
            todo += [(narrowed, below) for below in inner.selections]
        for part in parts.values():
            if part.selections:
                part.parts = self.parts(part.selections, part.sized)
        return list(parts.values())

    def _add(
        self, parts: dict[str, _Part], kind: GraphQLNamedType, node: FieldNode, sized: Mapping[str, Polynomial]
    ) -> None:
        key = node.alias.value if node.alias else node.name.value
        part = parts.get(key)
        if part is None:
            part = parts[key] = _Part(key)
        if node.name.value in ("__schema", "__type"):
            part.called = INTROSPECTION_WEIGHT
        if node.name.value.startswith("__") or isinstance(kind, GraphQLUnionType):
            return
        definition = cast(GraphQLObjectType | GraphQLInterfaceType, kind).fields[node.name.value]
        part.called = max(part.called, field_weight(definition))
        returned = named(definition)
        if not is_composite(returned):
            return
        part.object = max(part.object, self._weight(returned))
        size = self._size(definition, node)
        below = list_size(definition)
        if size is not None and below is not None and below.sized:
            for name in below.sized:
                part.sized[name] = _most(part.sized.get(name, {}), size)
            size = None
        times: Polynomial = {(): 1}
        depth = list_depth(definition)
        if depth:
            part.depth = max(part.depth, depth)
            length = sized.get(node.name.value) or size or {(): self._max_page}
            for _ in range(depth):
                times = _times(times, length)
        part.times = _most(part.times, times)
        if node.selection_set is not None:
            part.selections.append((returned, node.selection_set))

    def _object_weight(self, kind: GraphQLNamedType) -> int:
        if isinstance(kind, GraphQLInterfaceType | GraphQLUnionType):
            return max((type_weight(t) for t in self._schema.get_possible_types(kind)), default=1)
        return type_weight(kind)

    def _size(self, definition: GraphQLField, node: FieldNode) -> Polynomial | None:
        """The length of the list that a field returns, itself or below; None when nothing is said of it."""
        size = list_size(definition)
        if size is None:
            return None
        if size.slicing is None:
            return None if size.assumed is None else {(): size.assumed}
        for argument in node.arguments or ():
            if argument.name.value == size.slicing:
                if isinstance(argument.value, VariableNode):
                    self.variables.add(argument.value.name.value)
                    return {(argument.value.name.value,): 1}
                if isinstance(argument.value, IntValueNode):
                    value = int(argument.value.value)
                    if value > self._max_page:
                        raise _page_too_large(self._max_page, value)
                    return {(): max(0, value)}
        default: Any = definition.args[size.slicing].default_value
        return {(): default if isinstance(default, int) else self._max_page}


def _requested(part: _Part) -> Polynomial:
    each = _plus({(): part.object}, *(_requested(inner) for inner in part.parts))
    return _plus({(): part.called}, _times(part.times, each))


def _nodes(part: _Part) -> Polynomial:
    each = _plus({(): int(part.object > 0)}, *(_nodes(inner) for inner in part.parts))
    return _times(part.times, each)


def _counted(parts: list[_Part], *, whole: bool) -> tuple[int, tuple[Count, ...]]:
    """``(what is there in any case, what is to be looked at)`` of a level.

    ``whole``: also objects without lists are looked at, because what is around them is there once.
    """
    fixed = 0
    counts: list[Count] = []
    for part in parts:
        fixed += part.called
        if not part.times:
            continue
        inside, below = _counted(part.parts, whole=whole and not part.depth)
        if not inside + part.object and not below:
            continue
        if part.depth or below or whole:
            counts.append(Count(part.key, part.object + inside, below, part.depth))
        else:
            fixed += part.object + inside
    return fixed, tuple(counts)


# -- polynomials


def _plus(first: Polynomial, *others: Polynomial) -> Polynomial:
    total = dict(first)
    for other in others:
        for names, coefficient in other.items():
            total[names] = total.get(names, 0) + coefficient
    return total


def _times(one: Polynomial, other: Polynomial) -> Polynomial:
    total: Polynomial = {}
    for names, coefficient in one.items():
        for more, factor in other.items():
            if coefficient * factor:
                key = tuple(sorted(names + more))
                total[key] = total.get(key, 0) + coefficient * factor
    return total


def _most(one: Polynomial, other: Polynomial) -> Polynomial:
    """A bound of both: they have no negative coefficients."""
    return {names: max(one.get(names, 0), other.get(names, 0)) for names in one.keys() | other.keys()}


def _page_too_large(limit: int, value: int) -> Refused:
    return too_large("PAGE_SIZE_LIMIT_EXCEEDED", "entries on a page", limit, value)
