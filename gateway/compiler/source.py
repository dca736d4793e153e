"""Python source for a tree: one function per level and per field whose value is completed after a wait.

Only names of the schema and escaped literals get into the source, never text of a document or a variable.
"""

from __future__ import annotations

import itertools
import keyword
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    GraphQLEnumType,
    GraphQLObjectType,
    GraphQLScalarType,
    specified_scalar_types,
)

from gateway.compiler.leaves import NAMES, default_type_resolver
from gateway.compiler.plans import Attribute, Call, Itself, Plan, Planner, Projection, Property
from gateway.compiler.tree import Field, Level, Unsupported

_TESTS: Final = {
    "String": "{v}.__class__ is str",
    "ID": "{v}.__class__ is str",
    "Boolean": "{v}.__class__ is bool",
    "Int": "{v}.__class__ is int and -1000000000 < {v} < 1000000000",
    "Float": "{v}.__class__ is float and isfinite({v})",
}
"""When a value of a built-in scalar is what its serialisation would give; others are serialised.

Integers of one machine digit are compared twice as fast as those at the bounds of Int.
"""


@dataclass(slots=True)
class Generated:
    """Source of a module, and what is in its scope besides builtins."""

    text: str
    names: dict[str, Any]


class SourceWriter:
    """Writes the functions of one operation."""

    def __init__(self, planner: Planner, longest: int) -> None:
        self._planner = planner
        self._longest = longest
        self._lines: list[str] = []
        self._size = 0
        self._names: dict[str, Any] = dict(NAMES)
        self._enums: dict[str, bool] = {}
        self._count = 0
        self._used: dict[str, str] = {}

    def write(self, root: Level) -> Generated:
        """Everything that is needed from ``root`` down. Raises Unsupported when it gets too long."""
        todo = [root]
        for number in itertools.count():
            if not todo:
                break
            level = todo.pop(0)
            level.function = f"level_{number}"
            self._level(level)
            for one in level.waiting:
                below = list(one.levels.values())
                if any(inner.waiting for inner in below):
                    todo += below
                else:
                    one.function = f"value_{one.index}"
                    self._completion(one)
        return Generated("\n".join(self._lines) + "\n", self._names)

    # -- functions

    def _level(self, level: Level) -> None:
        columns = {one.index: f"x{one.index}" for one in level.waiting}
        rows = ", ".join(["r", *columns.values()])
        lists = "".join(f", c{index}" for index in columns)
        body = self._object_body(level, "r", 2, columns)
        self._begin(f"def {level.function}(rows, run{lists}):  # {level.type.name}")
        source = f"zip(rows{lists})" if columns else "rows"
        for one in level.waiting:
            self._put(1, f"# x{one.index}: {level.type.name}.{one.name}, {type(one.plan).__name__.lower()}")
        self._put(1, f"for {rows} in {source}:")
        self._finish(body)

    def _completion(self, one: Field) -> None:
        body: list[tuple[int, str]] = []
        if one.levels:
            # Objects of a list often share what they belong to: the same object again is the same result.
            self._used |= {"before": "run", "result": "None"}
            body += [(2, "if v is before:"), (3, "add(result)"), (3, "continue"), (2, "before = v")]
        self._value(one, "v", 2, body, 0)
        if one.levels:
            body.append((2, "result = v"))
        body.append((2, "add(v)"))
        self._begin(f"def {one.function}(values, run):  # {one.parent.name}.{one.name}")
        self._put(1, "for v in values:")
        self._finish(body)

    def _begin(self, head: str) -> None:
        self._put(0, head)
        for name, expression in sorted(self._used.items()):
            self._put(1, f"{name} = {expression}")
        self._used = {}
        self._put(1, "done = []")
        self._put(1, "add = done.append")

    def _finish(self, body: list[tuple[int, str]]) -> None:
        for indent, line in body:
            self._put(indent, line)
        self._put(1, "return done")
        self._put(0, "")

    def _put(self, indent: int, line: str) -> None:
        text = "    " * indent + line
        self._size += len(text) + 1
        if self._size > self._longest:
            raise Unsupported("too large")
        self._lines.append(text)

    # -- objects and values

    def _object_body(self, level: Level, source: str, indent: int, columns: dict[int, str]) -> list[tuple[int, str]]:
        body: list[tuple[int, str]] = []
        body.append((indent, f"add({self._object(level, source, indent, body, columns)})"))
        return body

    def _object(
        self, level: Level, source: str, indent: int, body: list[tuple[int, str]], columns: dict[int, str]
    ) -> str:
        """The expression of an object of ``level``, after the lines that it needs in ``body``."""
        parts: list[str] = []
        for one in level.fields:
            value = columns.get(one.index)
            if value is None:
                value = self._inline(one, source, indent, body)
            parts.append(f"{one.key!r}: {value}")
        return "{" + ", ".join(parts) + "}"

    def _inline(self, one: Field, source: str, indent: int, body: list[tuple[int, str]]) -> str:
        if one.name == "__typename":
            return repr(one.parent.name)
        if isinstance(one.plan, Projection):
            return self._projection(one, one.plan, source, indent, body)
        name = self._new()
        body.append((indent, f"{name} = {self._read(one, one.plan, source)}"))
        self._value(one, name, indent, body, 0)
        return name

    def _read(self, one: Field, plan: Plan, source: str) -> str:
        if isinstance(plan, Attribute):
            return _attribute(source, plan.name)
        if isinstance(plan, Itself):
            return source
        if isinstance(plan, Property):
            if one.has_arguments:  # which may be wrong even when nobody uses them
                self._used[f"a{one.index}"] = f"run.arguments({one.index})"
            return f"prop({source}, {plan.name!r})"
        if isinstance(plan, Call):
            name = f"f{one.index}"
            self._names[name] = plan.function
            given = [source if what == "source" else self._info(one) for what in plan.takes]
            if one.has_arguments:
                self._used[f"a{one.index}"] = f"run.arguments({one.index})"
                given.append(f"**a{one.index}")
            return f"{name}({', '.join(given)})"
        raise TypeError(f"{type(plan).__name__} is not inline")

    def _info(self, one: Field) -> str:
        self._used[f"i{one.index}"] = f"run.info({one.index})"
        return f"i{one.index}"

    def _projection(self, one: Field, plan: Projection, source: str, indent: int, body: list[tuple[int, str]]) -> str:
        level = next(iter(one.levels.values()))
        name = self._new()
        if plan.null_if is not None:
            body.append((indent, f"{name} = {_attribute(source, plan.null_if)}"))
            if one.nullable[0]:
                body.append((indent, f"if {name} is not None:"))
                indent += 1
            else:
                body.append((indent, f"if {name} is None: refuse()"))
        parts: list[str] = []
        for inner in level.fields:
            if inner.name == "__typename":
                parts.append(f"{inner.key!r}: {level.type.name!r}")
                continue
            attribute = plan.attributes[inner.name]
            value = self._new()
            body.append((indent, f"{value} = {name if attribute == plan.null_if else _attribute(source, attribute)}"))
            self._value(inner, value, indent, body, 0)
            parts.append(f"{inner.key!r}: {value}")
        body.append((indent, f"{name} = {{{', '.join(parts)}}}"))
        return name

    def _value(self, one: Field, name: str, indent: int, body: list[tuple[int, str]], depth: int) -> None:
        """Lines that complete the value in the variable ``name``, inside ``depth`` lists."""
        nullable = one.nullable[depth]
        if depth < len(one.nullable) - 1:
            self._list(one, name, indent, body, depth)
        elif not one.levels:
            self._leaf(one.named, name, indent, body, nullable)
        else:
            if nullable:
                body.append((indent, f"if {name} is not None:"))
                indent += 1
            if isinstance(one.named, GraphQLObjectType):
                self._plain(name, indent, body)
                self._one_type(one, one.levels[one.named.name], name, indent, body)
            else:
                self._abstract(one, name, indent, body)

    def _list(self, one: Field, name: str, indent: int, body: list[tuple[int, str]], depth: int) -> None:
        if one.nullable[depth]:
            body.append((indent, f"if {name} is not None:"))
            indent += 1
        body.append((indent, f"if {name}.__class__ is not list: sequence({name})"))
        result, item = self._new(), self._new()
        body.append((indent, f"{result} = []"))
        body.append((indent, f"for {item} in {name}:"))
        self._value(one, item, indent + 1, body, depth + 1)
        body.append((indent + 1, f"{result}.append({item})"))
        body.append((indent, f"{name} = {result}"))

    def _plain(self, name: str, indent: int, body: list[tuple[int, str]]) -> None:
        """Make sure that the value is a plain object; those of a list are mostly of the class of the one before."""
        known = f"k{name}"
        self._used[known] = "None"
        body.append((indent, f"if {name}.__class__ is not {known}: {known} = plain({name})"))

    def _one_type(self, one: Field, level: Level, name: str, indent: int, body: list[tuple[int, str]]) -> None:
        if level.type.is_type_of is not None:
            kind = self._type(level.type)
            body.append((indent, f"is_of({name}, {self._info(one)}, {kind})"))
        body.append((indent, f"{name} = {self._object(level, name, indent, body, {})}"))

    def _abstract(self, one: Field, name: str, indent: int, body: list[tuple[int, str]]) -> None:
        kind, chosen = self._type(one.named), self._new()
        self._names["default_type"] = default_type_resolver
        self._plain(name, indent, body)
        body.append((indent, f"{chosen} = type_name({name}, {self._info(one)}, {kind}, default_type)"))
        word = "if"
        for type_name, level in one.levels.items():
            body.append((indent, f"{word} {chosen} == {type_name!r}:"))
            self._one_type(one, level, name, indent + 1, body)
            word = "elif"
        body.append((indent, "else: refuse()"))

    def _leaf(self, kind: Any, name: str, indent: int, body: list[tuple[int, str]], nullable: bool) -> None:
        slow = f"{name} = leaf({self._type(kind)}, {name})"
        accepted: str | None = None
        if isinstance(kind, GraphQLScalarType):
            if kind.name in self._planner.natives:
                native = self._planner.natives[kind.name]
                self._names.update(native.names)
                accepted = native.test.format(v=name)
            elif specified_scalar_types.get(kind.name) is kind:
                accepted = _TESTS[kind.name].format(v=name)
        elif self._is_python_enum(kind):
            body.append((indent, f"if {name}.__class__ is C{kind.name}: {name} = E{kind.name}[{name}]"))
            body.append((indent, f"elif {name} is not None: {slow}" if nullable else f"else: {slow}"))
            return
        conditions = [f"not ({accepted})"] if accepted is not None else []
        conditions += [f"{name} is not None"] if nullable else []
        body.append((indent, f"if {' and '.join(conditions)}: {slow}" if conditions else slow))

    def _is_python_enum(self, kind: GraphQLEnumType) -> bool:
        """Whether all values are members of one Python enumeration, which can then be looked up."""
        if kind.name not in self._enums:
            cls: Any = getattr(kind, "wrapped_cls", None)
            if cls is not None:
                self._names[f"C{kind.name}"] = cls
                self._names[f"E{kind.name}"] = {member: kind.coerce_output_value(member) for member in cls}
            self._enums[kind.name] = cls is not None
        return self._enums[kind.name]

    def _type(self, kind: Any) -> str:
        self._names[f"T{kind.name}"] = kind
        return f"T{kind.name}"

    def _new(self) -> str:
        self._count += 1
        return f"v{self._count}"


def _attribute(source: str, name: str) -> str:
    if name.isascii() and name.isidentifier() and not keyword.iskeyword(name):
        return f"{source}.{name}"
    return f"getattr({source}, {name!r})"
