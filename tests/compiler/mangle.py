"""Makes a valid document harder: variables, directives, fragments, merged and aliased fields, several operations."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    ArgumentNode,
    BooleanValueNode,
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    NamedTypeNode,
    NameNode,
    NullValueNode,
    ObjectFieldNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableDefinitionNode,
    VariableNode,
    get_named_type,
    parse,
    parse_type,
    print_ast,
    validate,
    value_from_ast_untyped,
)

from tests.compiler.oracle import Case

ODD_NAMES = (
    "class",
    "None",
    "__proto__"[1:],
    "self",
    "result",
    "data",
    "errors",
    "e",
    "r",
    "_",
    "x0",
    "list",
    "Ʃ"[:0] or "ctx",
)


@dataclass
class _Mangler:
    schema: GraphQLSchema
    rng: random.Random
    strength: float
    variables: dict[str, Any] = field(default_factory=dict)
    definitions: list[VariableDefinitionNode] = field(default_factory=list)
    fragments: list[FragmentDefinitionNode] = field(default_factory=list)
    aliases: int = 0

    def chance(self, share: float) -> bool:
        return self.rng.random() < share * self.strength

    # -- variables

    def _define(self, kind: Any, value: Any, literal: Any) -> VariableNode:
        """A variable that carries ``value``: given, or by default, or not at all."""
        name = NameNode(value=f"v{len(self.definitions)}")
        default = None
        nullable = not isinstance(kind, GraphQLNonNull)
        match self.rng.randrange(6):
            case 0 if nullable:
                self.variables[name.value] = None
            case 1 if nullable:
                pass  # left out
            case 2:
                default = literal
            case 3 if nullable:
                default, self.variables[name.value] = literal, None
            case 4:
                default, self.variables[name.value] = literal, value
            case _:
                self.variables[name.value] = value
        type_node = parse_type(str(kind.of_type if default is not None and not nullable else kind))
        if default is not None and isinstance(default, NullValueNode) and not nullable:
            default = None
            self.variables[name.value] = value
        self.definitions.append(
            VariableDefinitionNode(variable=VariableNode(name=name), type=type_node, default_value=default)
        )
        return VariableNode(name=name)

    def _value(self, kind: Any, node: Any, share: float) -> Any:
        """The value with parts of it taken out into variables."""
        if self.chance(share):
            return self._define(kind, value_from_ast_untyped(node), node)
        inner = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
        if isinstance(node, ListValueNode) and isinstance(inner, GraphQLList):
            values = tuple(self._value(inner.of_type, item, share / 3) for item in node.values)
            if len(values) == 1 and not isinstance(values[0], VariableNode | ListValueNode | NullValueNode):
                return values[0] if self.chance(0.5) else ListValueNode(values=values)
            return ListValueNode(values=values)
        if isinstance(node, ObjectValueNode) and isinstance(inner, GraphQLInputObjectType):
            fields = [
                ObjectFieldNode(name=f.name, value=self._value(inner.fields[f.name.value].type, f.value, share / 3))
                for f in node.fields
                if f.name.value in inner.fields
            ]
            if inner.is_one_of:
                given = [f for f in fields if not isinstance(f.value, NullValueNode | VariableNode)]
                fields = given[:1] or [_choice()]
            self.rng.shuffle(fields)
            return ObjectValueNode(fields=tuple(fields))
        return node

    def break_variable(self) -> None:
        """Give one variable a value that is most likely not of its type."""
        name = self.rng.choice(list(self.variables))
        value = self.variables[name]
        self.variables[name] = self.rng.choice(
            (None, [], {}, "x", 7, -0.5, True, 2**31, 10**400, [value], {"unknown": value}, {"deep": {"n": value}})
        )
        if self.rng.random() < 0.2:
            self.variables["unknown"] = value

    # -- directives

    def _directives(self) -> tuple[DirectiveNode, ...]:
        made = []
        for name in ("skip", "include"):
            if self.chance(0.12):
                flag = self.rng.random() < (0.35 if name == "skip" else 0.75)
                condition: Any = BooleanValueNode(value=flag)
                if self.rng.random() < 0.7:
                    condition = self._flag(flag)
                argument = ArgumentNode(name=NameNode(value="if"), value=condition)
                made.append(DirectiveNode(name=NameNode(value=name), arguments=(argument,)))
        self.rng.shuffle(made)
        return tuple(made)

    def _flag(self, flag: bool) -> VariableNode:
        known = [d for d in self.definitions if d.variable.name.value.startswith("b")]
        if known and self.rng.random() < 0.5:
            return VariableNode(name=self.rng.choice(known).variable.name)
        name = NameNode(value=f"b{len(self.definitions)}")
        literal = BooleanValueNode(value=flag)
        text, default = "Boolean!", None
        match self.rng.randrange(5):
            case 0:
                text, default = "Boolean", literal
            case 1:
                default, self.variables[name.value] = BooleanValueNode(value=not flag), flag
            case 2:  # null where the directive wants a Boolean: an error when it runs
                text, default = "Boolean", literal
                self.variables[name.value] = None if self.rng.random() < 0.3 else flag
            case _:
                self.variables[name.value] = flag
        self.definitions.append(
            VariableDefinitionNode(variable=VariableNode(name=name), type=parse_type(text), default_value=default)
        )
        return VariableNode(name=name)

    # -- selections

    def selections(self, node: SelectionSetNode, parent: Any) -> SelectionSetNode:
        made: list[Any] = [self._selection(item, parent) for item in node.selections]
        composite = isinstance(parent, GraphQLInterfaceType | GraphQLUnionType)
        if self.chance(0.25):
            made.insert(self.rng.randrange(len(made) + 1), self._typename())
        if self.chance(0.25):
            made.append(self._again(self.rng.choice(made), parent))
        if self.chance(0.3):
            made = self._wrap(made, parent)
        if composite and self.chance(0.4):
            made += self._clashing(parent)
        if self.chance(0.1) and self.fragments:
            known = [f for f in self.fragments if f.type_condition.name.value == parent.name]
            if known:
                made.insert(0, _spread(self.rng.choice(known).name, self._directives()))
        if self.chance(0.1):
            self.rng.shuffle(made)
        return SelectionSetNode(selections=tuple(made))

    def _selection(self, node: Any, parent: Any) -> Any:
        if isinstance(node, InlineFragmentNode):
            kind = self.schema.type_map[node.type_condition.name.value] if node.type_condition else parent
            return InlineFragmentNode(
                type_condition=node.type_condition,
                directives=self._directives(),
                selection_set=self.selections(node.selection_set, kind),
            )
        if not isinstance(node, FieldNode):
            return node
        declared = self.schema.get_field(parent, node.name.value)
        assert declared is not None
        arguments = []
        for argument in node.arguments or ():
            wanted = declared.args[argument.name.value]
            required = isinstance(wanted.type, GraphQLNonNull) and wanted.default is None
            if not required and self.chance(0.1):
                continue
            arguments.append(ArgumentNode(name=argument.name, value=self._value(wanted.type, argument.value, 0.5)))
        self.rng.shuffle(arguments)
        inner = None
        if node.selection_set is not None:
            inner = self.selections(node.selection_set, get_named_type(declared.type))
        alias = node.alias
        if self.chance(0.1):
            self.aliases += 1
            odd = self.rng.choice(ODD_NAMES) if self.rng.random() < 0.4 else "a"
            alias = NameNode(value=f"{odd}{self.aliases}" if self.rng.random() < 0.7 else odd)
        return FieldNode(
            alias=alias,
            name=node.name,
            arguments=tuple(arguments),
            directives=self._directives(),
            selection_set=inner,
        )

    def _typename(self) -> FieldNode:
        alias = None
        if self.rng.random() < 0.3:
            self.aliases += 1
            alias = NameNode(value=f"t{self.aliases}")
        return FieldNode(alias=alias, name=NameNode(value="__typename"), arguments=(), directives=self._directives())

    def _again(self, node: Any, parent: Any) -> Any:
        """The same selection once more, perhaps with a part of its selections or under other conditions."""
        if not isinstance(node, FieldNode):
            return node
        inner = node.selection_set
        if inner is not None and self.rng.random() < 0.7:
            chosen = [s for s in inner.selections if self.rng.random() < 0.6] or [self._typename()]
            inner = SelectionSetNode(selections=tuple(chosen))
        again = FieldNode(
            alias=node.alias,
            name=node.name,
            arguments=node.arguments,
            directives=self._directives(),
            selection_set=inner,
        )
        return self._wrap([again], parent)[0] if self.rng.random() < 0.4 else again

    def _wrap(self, made: list[Any], parent: Any) -> list[Any]:
        """A run of selections moved into a fragment, which sometimes is spread twice."""
        start = self.rng.randrange(len(made))
        stop = self.rng.randrange(start + 1, len(made) + 1)
        inside = SelectionSetNode(selections=tuple(made[start:stop]))
        condition = self._condition(parent)
        if self.rng.random() < 0.5:
            inline = InlineFragmentNode(
                type_condition=condition if self.rng.random() < 0.7 else None,
                directives=self._directives(),
                selection_set=inside,
            )
            return [*made[:start], inline, *made[stop:]]
        name = NameNode(value=f"F{len(self.fragments)}")
        self.fragments.append(
            FragmentDefinitionNode(
                name=name,
                variable_definitions=(),
                type_condition=NamedTypeNode(name=NameNode(value=parent.name)),
                directives=(),
                selection_set=inside,
            )
        )
        spreads = [_spread(name, self._directives()) for _ in range(self.rng.choice((1, 1, 2)))]
        return [*made[:start], *spreads, *made[stop:]]

    def _condition(self, parent: Any) -> NamedTypeNode:
        names = [parent.name, *(i.name for i in getattr(parent, "interfaces", ()))]
        return NamedTypeNode(name=NameNode(value=self.rng.choice(names)))

    def _clashing(self, parent: Any) -> list[InlineFragmentNode]:
        """One response key for different fields of different types, where that is allowed."""
        self.aliases += 1
        made = []
        for kind in self.schema.get_possible_types(parent):
            leaves = [n for n, f in kind.fields.items() if str(f.type) in ("String", "Int", "Int!", "Boolean", "ID!")]
            leaves = [n for n in leaves if not kind.fields[n].args]
            chosen = self.rng.choice(leaves) if leaves else "__typename"
            same = FieldNode(
                alias=NameNode(value=f"same{self.aliases}"), name=NameNode(value=chosen), arguments=(), directives=()
            )
            made.append(
                InlineFragmentNode(
                    type_condition=NamedTypeNode(name=NameNode(value=kind.name)),
                    directives=self._directives(),
                    selection_set=SelectionSetNode(selections=(same,)),
                )
            )
        return made


def _choice() -> ObjectFieldNode:
    """What chooses something of the one-of input of the schema."""
    return ObjectFieldNode(name=NameNode(value="a"), value=IntValueNode(value="1"))


def _spread(name: NameNode, directives: tuple[DirectiveNode, ...]) -> FragmentSpreadNode:
    return FragmentSpreadNode(name=name, arguments=(), directives=directives)


def mangle(schema: GraphQLSchema, text: str, seed: int) -> Case | None:
    """A harder document of the same operation with variables for it; ``text`` itself where that came out invalid.

    None when ``text`` is invalid too.
    """
    rng = random.Random(seed)
    document = parse(text)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    root = schema.get_root_type(operation.operation)
    assert isinstance(root, GraphQLObjectType)
    for strength in (rng.choice((0.3, 1.0, 1.6)), 0.3, 0.1):
        mangler = _Mangler(schema, rng, strength)
        selections = mangler.selections(operation.selection_set, root)
        name = NameNode(value="Op") if rng.random() < 0.5 else None
        definitions: list[Any] = [
            OperationDefinitionNode(
                operation=operation.operation,
                name=name,
                variable_definitions=tuple(mangler.definitions),
                directives=(),
                selection_set=selections,
            )
        ]
        if name is not None and rng.random() < 0.3:
            definitions.insert(rng.randrange(2), _other())
        definitions += mangler.fragments
        if rng.random() < 0.3:
            rng.shuffle(definitions)
        made = print_ast(DocumentNode(definitions=tuple(definitions)))
        if is_valid(schema, parse(made)):
            if mangler.variables and rng.random() < 0.1:
                mangler.break_variable()
            return Case(made, mangler.variables, name.value if name else None)
    return Case(text) if is_valid(schema, document) else None


def is_valid(schema: GraphQLSchema, document: DocumentNode) -> bool:
    """Whether the document may be executed."""
    errors = validate(schema, document, max_errors=0)
    for error in errors:
        error.with_traceback(None)  # one object for all times, which would keep all frames that it was raised in
    return not errors


def _other() -> OperationDefinitionNode:
    typename = FieldNode(name=NameNode(value="__typename"), arguments=(), directives=())
    return OperationDefinitionNode(
        operation=parse("{a}").definitions[0].operation,  # type: ignore[attr-defined]
        name=NameNode(value="Other"),
        variable_definitions=(),
        directives=(),
        selection_set=SelectionSetNode(selections=(typename,)),
    )


def operations(texts: Iterable[str]) -> list[Case]:
    """Hand-written documents without variables."""
    return [Case(text) for text in texts]
