"""Variables of one operation, coerced by functions that are made once.

They take what is right. For anything else graphql-core coerces again and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from math import isfinite
from typing import Any, Final, TypeAlias, cast

from graphql import (
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    VariableValues,
    get_variable_values,
    specified_scalar_types,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValueSource
from graphql.type import is_required_input_field

Read: TypeAlias = Callable[[Any], Any]


_coercion: Final = cast(Any, import_module("graphql.utilities.coerce_input_value"))
_coerce: Final[Callable[[Any, Any], Any]] = _coercion.coerce_input_value
_coerce_default: Final[Callable[[Any], Any]] = _coercion.coerce_default_value


class _Unexpected(Exception):
    """A value that is not simply right."""


class VariableReader:
    """Coerces the variables of one operation of a valid document."""

    def __init__(self, schema: GraphQLSchema, node: OperationDefinitionNode, *, hide_suggestions: bool) -> None:
        self._schema = schema
        self._node = node
        self._hide_suggestions = hide_suggestions
        kinds: dict[str, Read] = {}
        self._variables: list[tuple[str, GraphQLVariableSignature, Read, bool]] | None = []
        for definition in node.variable_definitions or ():
            signature = get_variable_signature(schema, definition)
            if not isinstance(signature, GraphQLVariableSignature):
                self._variables = None
                return
            kind: Any = cast(Any, signature).type
            optional = not isinstance(kind, GraphQLNonNull) and definition.default_value is None
            self._variables.append((signature.name, signature, _reader(kind, kinds), optional))

    def read(self, inputs: Mapping[str, Any], most_errors: int) -> VariableValues | list[Any]:
        """The coerced variables, or the errors of ``inputs``."""
        quick = self._quick(inputs)
        if quick is not None:
            return quick
        definitions = self._node.variable_definitions or ()
        return get_variable_values(self._schema, definitions, dict(inputs), most_errors, self._hide_suggestions)

    def _quick(self, inputs: Mapping[str, Any]) -> VariableValues | None:
        if self._variables is None:
            return None
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        try:
            for name, signature, read, optional in self._variables:
                value = inputs.get(name, Undefined)
                if value is not Undefined:
                    sources[name] = VariableValueSource(signature, value)
                    coerced[name] = read(value)
                elif optional:
                    sources[name] = VariableValueSource(signature)
                else:
                    return None  # a default, or an error
        except Exception:
            return None  # graphql-core finds out what is wrong, and says it
        return VariableValues(sources, coerced)


def _reader(kind: Any, known: dict[str, Read]) -> Read:
    if isinstance(kind, GraphQLNonNull):
        required = _nullless(cast(Any, kind).of_type, known)

        def read_required(value: Any) -> Any:
            if value is None:
                raise _Unexpected
            return required(value)

        return read_required
    inner = _nullless(kind, known)

    def read(value: Any) -> Any:
        return None if value is None else inner(value)

    return read


def _nullless(kind: Any, known: dict[str, Read]) -> Read:
    """What reads a value that is not null."""
    if isinstance(kind, GraphQLList):
        return _list(_reader(cast(Any, kind).of_type, known))
    if isinstance(kind, GraphQLInputObjectType):
        if kind.name not in known:
            known[kind.name] = lambda value: known[kind.name](value)  # types may contain themselves
            known[kind.name] = _object(kind, known)
        return known[kind.name]
    if isinstance(kind, GraphQLEnumType):
        return _enum(kind)
    special = _SIMPLE.get(kind.name) if specified_scalar_types.get(kind.name) is kind else None
    return special or _scalar(kind)


def _list(item: Read) -> Read:
    def read(value: Any) -> Any:
        if value.__class__ is not list:
            raise _Unexpected
        return [item(each) for each in value]

    return read


def _object(kind: GraphQLInputObjectType, known: dict[str, Read]) -> Read:
    fields = [
        (name, field.out_name or name, _reader(cast(Any, field).type, known), _default(field))
        for name, field in cast("dict[str, GraphQLInputField]", cast(Any, kind).fields).items()
    ]
    make: Callable[[dict[str, Any]], Any] = cast(Any, kind).out_type

    def read(value: Any) -> Any:
        if value.__class__ is not dict:
            raise _Unexpected
        coerced: dict[str, Any] = {}
        given = 0
        for name, out, read_field, default in fields:
            if name in value:
                given += 1
                coerced[out] = read_field(value[name])
            elif default is _REQUIRED:
                raise _Unexpected
            elif default is not Undefined:
                coerced[out] = default
        if given != len(value):
            raise _Unexpected
        return make(coerced)

    if kind.is_one_of:
        return _scalar(kind)  # seldom, and with rules of its own
    return read


_REQUIRED: Final = object()


def _default(field: GraphQLInputField) -> Any:
    if is_required_input_field(field):
        return _REQUIRED
    try:
        return _coerce_default(field)
    except Exception:
        return _REQUIRED  # it is wrong, and graphql-core says so when it is needed


def _enum(kind: GraphQLEnumType) -> Read:
    values: dict[str, Any] = {name: kind.coerce_input_value(name) for name in cast(Any, kind).values}

    def read(value: Any) -> Any:
        found = values.get(value, Undefined) if value.__class__ is str else Undefined
        if found is Undefined:
            raise _Unexpected
        return found

    return read


def _scalar(kind: GraphQLScalarType | GraphQLInputObjectType) -> Read:
    def read(value: Any) -> Any:
        coerced = _coerce(value, kind)
        if coerced is Undefined:
            raise _Unexpected
        return coerced

    return read


def _text(value: Any) -> Any:
    if value.__class__ is not str:
        raise _Unexpected
    return value


def _boolean(value: Any) -> Any:
    if value.__class__ is not bool:
        raise _Unexpected
    return value


def _integer(value: Any) -> Any:
    if value.__class__ is not int or not -1_000_000_000 < value < 1_000_000_000:
        raise _Unexpected
    return value


def _float(value: Any) -> Any:
    if value.__class__ is int:
        return _coerce_number(value)
    if value.__class__ is not float or not isfinite(value):
        raise _Unexpected
    return value


_coerce_number: Final = _scalar(GraphQLFloat)


_SIMPLE: Final[dict[str, Read]] = {
    "String": _text,
    "ID": _text,
    "Boolean": _boolean,
    "Int": _integer,
    "Float": _float,
}
"""Of the built-in scalars, the values that stay as they are."""
