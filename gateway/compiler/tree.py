"""The selections of one operation, merged and typed: what is generated from and what runs.

Made by graphql-core's own field collection for one combination of the variables that ``@skip`` and ``@include``
ask, so that at run time nothing is left to decide.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, cast

from graphql import (
    BREAK,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    GraphQLUnionType,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    ValueNode,
    VariableNode,
    VariableValues,
    Visitor,
    get_argument_values,
    visit,
)
from graphql.execution.collect_fields import (
    CollectedFields,
    FieldDetails,
    FragmentDetails,
    collect_fields,
    collect_subfields,
)

from gateway.compiler.plans import Attribute, Batch, Call, Plan, Planner, Resolve

_INTROSPECTION: Final = frozenset({"__schema", "__type"})
_UNKNOWN_DIRECTIVES: Final = frozenset({"defer", "stream", "experimental_disableErrorPropagation"})


_TYPE_NAME: Final = Attribute("__typename")


class Unsupported(Exception):
    """The compiler does not take this operation; the text says why. graphql-core runs it."""


@dataclass(frozen=True, slots=True)
class Given:
    """One argument of a field: a constant, or the value of a variable."""

    variable: str = ""
    constant: Any = None
    nullable: bool = True


@dataclass(slots=True, eq=False)
class Field:
    """One field of one object type, all its nodes merged."""

    index: int
    key: str
    """Name in the response."""
    name: str
    definition: GraphQLField
    parent: GraphQLObjectType
    details: list[FieldDetails]
    plan: Plan
    nullable: tuple[bool, ...] = ()
    """For each list around the value from the outermost, and then the value itself: whether it may be null."""
    named: Any = None
    """The type inside all lists."""
    given: dict[str, Given] | None = None
    """By keyword, arguments that are there without coercion; None when they have to be coerced for each call."""
    levels: dict[str, Level] = field(default_factory=dict[str, "Level"])
    """By object type, the selections of its value; empty for a leaf."""
    inline: bool = False
    """Whether the value is read, and everything below it, without waiting for anything."""
    function: str = ""
    """Name of the generated function of ``complete``."""
    complete: Callable[..., list[Any]] | None = None
    """Generated, when only the value itself may have to be waited for: ``(values, run)`` → completed values."""

    @property
    def nodes(self) -> list[FieldNode]:
        return [detail.node for detail in self.details]

    @property
    def type(self) -> Any:
        """The GraphQL type that the field is declared with."""
        return cast(Any, self.definition).type

    @property
    def has_arguments(self) -> bool:
        return bool(self.definition.args)

    @property
    def quick(self) -> bool:
        """Whether nothing follows after the first wait."""
        return self.complete is not None and isinstance(self.plan, Batch)


@dataclass(slots=True, eq=False)
class Level:
    """The selections on objects of one type: executed for all objects of a list, or of many lists, at once."""

    type: GraphQLObjectType
    fields: list[Field]
    waiting: list[Field] = field(default_factory=list[Field])
    """Those that are not inline."""
    function: str = ""
    """Name of the generated function of ``assemble``."""
    assemble: Callable[..., list[Any]] | None = None
    """Generated: ``(sources, run, *columns of the waiting fields)`` → completed objects."""

    def walk(self) -> Iterator[Field]:
        """All fields of this level and below."""
        for one in self.fields:
            yield one
            for level in one.levels.values():
                yield from level.walk()


class TreeBuilder:
    """Builds the tree of one operation. Raises Unsupported."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDetails],
        values: VariableValues,
        planner: Planner,
        most_fields: int,
    ) -> None:
        self._schema = schema
        self._operation = operation
        self._fragments = fragments
        self._values = values
        self._planner = planner
        self._left = most_fields
        self.fields: list[Field] = []

    def build(self) -> Level:
        """The root level."""
        root = self._schema.get_root_type(self._operation.operation)
        if root is None:
            raise Unsupported("no root type")
        collected = collect_fields(self._schema, self._fragments, self._values, root, self._operation)
        return self._level(root, collected, serial=self._operation.operation is OperationType.MUTATION)

    def _level(self, kind: GraphQLObjectType, collected: CollectedFields, *, serial: bool = False) -> Level:
        if collected.new_defer_usages:
            raise Unsupported("@defer")
        fields = [self._field(kind, key, details) for key, details in collected.grouped_field_set.items()]
        if serial:
            for one in fields:
                one.inline = False
        return Level(kind, fields, [one for one in fields if not one.inline])

    def _field(self, parent: GraphQLObjectType, key: str, details: list[FieldDetails]) -> Field:
        self._left -= 1
        if self._left < 0:
            raise Unsupported("too many fields")
        name = details[0].node.name.value
        if name in _INTROSPECTION:
            raise Unsupported("introspection")
        definition = self._schema.get_field(parent, name)
        if definition is None:
            raise Unsupported("unknown field")
        plan = _TYPE_NAME if name == "__typename" else self._planner.plan(parent, name, definition)
        one = Field(len(self.fields), key, name, definition, parent, details, plan)
        self.fields.append(one)
        one.nullable, one.named = _unwrapped(one.type)
        if definition.args and not (isinstance(plan, Call) and plan.prepare is not None):
            keywords: Mapping[str, str] = plan.keywords if isinstance(plan, Call) else {}
            one.given = given_arguments(definition, details[0].node, keywords)
        for kind in self._possible(one.named):
            one.levels[kind.name] = self._level(kind, self._subfields(kind, details))
        below_waits = any(level.waiting for level in one.levels.values())
        one.inline = not (below_waits or _waits(plan))
        return one

    def _subfields(self, kind: GraphQLObjectType, details: list[FieldDetails]) -> CollectedFields:
        return collect_subfields(self._schema, self._fragments, self._values, self._operation, kind, details)

    def _possible(self, named: Any) -> list[GraphQLObjectType]:
        if isinstance(named, GraphQLObjectType):
            return [named]
        if isinstance(named, GraphQLUnionType | GraphQLInterfaceType):
            return list(self._schema.get_possible_types(named))
        if isinstance(named, GraphQLScalarType | GraphQLEnumType):
            return []
        raise Unsupported("unknown kind of type")


_CONSTANTS: Final = (str, int, float, bool, Enum, type(None))


def given_arguments(definition: GraphQLField, node: FieldNode, keywords: Mapping[str, str]) -> dict[str, Given] | None:
    """The arguments of ``node``, when each is a variable as a whole, a simple constant, or left out."""
    nodes = {argument.name.value: argument.value for argument in node.arguments or ()}
    given: dict[str, Given] = {}
    for name, argument in definition.args.items():
        out = argument.out_name or name
        keyword = keywords.get(out, out)
        value = nodes.get(name)
        if isinstance(value, VariableNode):
            given[keyword] = Given(value.name.value, nullable=not isinstance(cast(Any, argument).type, GraphQLNonNull))
            continue
        if value is not None and _has_variables(value):
            return None  # whatever it is coerced to without them
        try:
            alone = GraphQLField(GraphQLString, args={name: argument})
            coerced = get_argument_values(alone, node, VariableValues({}, {}))
        except GraphQLError:
            return None  # it is not right
        if out in coerced:
            if not isinstance(coerced[out], _CONSTANTS):
                return None
            given[keyword] = Given(constant=coerced[out])
    return given


def _has_variables(value: ValueNode) -> bool:
    if isinstance(value, ListValueNode):
        return any(_has_variables(item) for item in value.values)
    if isinstance(value, ObjectValueNode):
        return any(_has_variables(field.value) for field in value.fields)
    return isinstance(value, VariableNode)


def _waits(plan: Plan) -> bool:
    match plan:
        case Batch() | Resolve():
            return True
        case Call():
            return plan.is_async or inspect.iscoroutinefunction(plan.function)
        case _:
            return False


def _unwrapped(kind: Any) -> tuple[tuple[bool, ...], Any]:
    nullable: list[bool] = []
    while True:
        optional = not isinstance(kind, GraphQLNonNull)
        nullable.append(optional)
        if not optional:
            kind = kind.of_type
        if not isinstance(kind, GraphQLList):
            return tuple(nullable), kind
        kind = cast(Any, kind).of_type


def deciding_variables(operation: OperationDefinitionNode, document: DocumentNode) -> tuple[str, ...]:
    """Names of the variables that ``@skip`` and ``@include`` ask. Raises Unsupported for what no plan is made of."""
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    finder = _Directives()
    todo: list[Any] = [operation]
    seen: set[str] = set()
    while todo:
        visit(todo.pop(), finder)
        for name in finder.spreads - seen:
            if name in fragments:
                if fragments[name].variable_definitions:
                    raise Unsupported("fragment variables")
                todo.append(fragments[name])
        seen |= finder.spreads
    if finder.unsupported:
        raise Unsupported(f"@{finder.unsupported}")
    return tuple(sorted(finder.variables))


class _Directives(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.variables: set[str] = set()
        self.spreads: set[str] = set()
        self.unsupported = ""

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: Any) -> None:
        self.spreads.add(node.name.value)

    def enter_directive(self, node: DirectiveNode, *_: Any) -> Any:
        name = node.name.value
        if name in _UNKNOWN_DIRECTIVES:
            self.unsupported = name
            return BREAK
        if name in ("skip", "include"):
            for argument in node.arguments or ():
                if isinstance(argument.value, VariableNode):
                    self.variables.add(argument.value.name.value)
        return None


def flags_of(names: tuple[str, ...], coerced: Mapping[str, Any]) -> tuple[bool, ...] | None:
    """The values of the deciding variables; None when one is neither true nor false."""
    flags: list[bool] = []
    for name in names:
        flag = coerced.get(name)
        if not isinstance(flag, bool):
            return None
        flags.append(flag)
    return tuple(flags)
