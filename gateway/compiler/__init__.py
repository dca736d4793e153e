"""Operations compiled to Python: GraphQL without interpreting the document again for every request.

``(schema, validated document, operation name)`` become generated functions that read plain fields in straight lines,
and a small runtime that waits: for whole levels at once, so that a loader gets all keys of a list in one call. The
package knows GraphQL and nothing of what is asked; a :class:`Planner` tells it how the fields of a schema are read.

graphql-core is the reference. Values that are not as expected are completed by its executor, and operations that
the compiler does not take (:class:`Unsupported`: introspection, ``@defer`` and ``@stream``, fragment variables,
disabled error propagation, more than a set size or number of variants) are left to it as a whole.
"""

from __future__ import annotations

import marshal
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, Final

import orjson
from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    VariableValues,
)
from graphql.execution.collect_fields import FragmentDetails

from gateway.compiler.plans import Attribute, Batch, Call, Itself, Native, Plan, Planner, Projection, Property, Resolve
from gateway.compiler.run import Nulled, Run, nowhere
from gateway.compiler.source import SourceWriter
from gateway.compiler.tree import Field, Level, TreeBuilder, Unsupported, deciding_variables, flags_of

__all__ = [
    "OPTIONS",
    "Attribute",
    "Batch",
    "Call",
    "Compiled",
    "Itself",
    "Limits",
    "Native",
    "Outcome",
    "Plan",
    "Planner",
    "Projection",
    "Property",
    "Resolve",
    "Unsupported",
    "compile_operation",
]

OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS
"""How orjson writes data: instants of UTC end with Z. Dataclasses are no values of GraphQL; one that has a slot without
a value, as records that were read in part have, would end the process by a fault."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one operation may cost to compile."""

    source: int = 400_000
    """Characters of generated source."""
    fields: int = 4_000
    """Fields of the tree, where an abstract type counts the fields of each of its object types."""
    variants: int = 8
    """Combinations of the variables that ``@skip`` and ``@include`` ask."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``data`` as JSON, None when it is null as a whole; errors with messages, paths and locations."""

    data: bytes | None
    errors: list[GraphQLError]
    tree: Any = None
    """``data`` before it became JSON."""


@dataclass(slots=True)
class Variant:
    """The plan for one combination of the deciding variables."""

    schema: GraphQLSchema
    node: OperationDefinitionNode
    fragment_definitions: dict[str, FragmentDefinitionNode]
    fragments: dict[str, FragmentDetails]
    planner: Planner
    hide_suggestions: bool
    fields: list[Field]
    root: Level
    source: str
    size: int
    """Bytes of the compiled code, about a third of what it takes in memory."""

    @property
    def waits(self) -> bool:
        return bool(self.root.waiting)


@dataclass(slots=True)
class Compiled:
    """A compiled operation. Get one from :func:`compile_operation`."""

    schema: GraphQLSchema
    node: OperationDefinitionNode
    fragment_definitions: dict[str, FragmentDefinitionNode]
    planner: Planner
    limits: Limits
    hide_suggestions: bool
    deciding: tuple[str, ...]
    """Variables that ``@skip`` and ``@include`` ask."""
    fragments: dict[str, FragmentDetails] = field(default_factory=dict[str, FragmentDetails])
    variants: dict[tuple[bool, ...], Variant | Unsupported] = field(
        default_factory=dict[tuple[bool, ...], "Variant | Unsupported"]
    )
    seconds: float = 0.0
    """Time spent on compilation so far."""

    @property
    def size(self) -> int:
        """Bytes of code of all variants."""
        return sum(variant.size for variant in self.variants.values() if isinstance(variant, Variant))

    def variant(self, values: VariableValues) -> Variant:
        """The plan for these variables, made when it is the first such call. Raises Unsupported."""
        flags: tuple[bool, ...] | None = ()
        if self.deciding:
            flags = flags_of(self.deciding, values.coerced)
            if flags is None:
                raise Unsupported("null in @skip or @include")
        found = self.variants.get(flags)
        if found is None:
            found = self._make(flags, values)
        if isinstance(found, Unsupported):
            raise Unsupported(*found.args)  # another one: each raise adds its frames to those of the one before
        return found

    def _make(self, flags: tuple[bool, ...], values: VariableValues) -> Variant | Unsupported:
        if len(self.variants) >= self.limits.variants:
            return Unsupported("too many variants")
        began = time.perf_counter()
        made: Variant | Unsupported
        try:
            builder = TreeBuilder(self.schema, self.node, self.fragments, values, self.planner, self.limits.fields)
            root = builder.build()
            written = SourceWriter(self.planner, self.limits.source).write(root)
            name = f"<operation {id(self):x} {len(self.variants)}>"
            code = compile(written.text, name, "exec", dont_inherit=True)
            _bind(code, written.names, root, builder.fields)
            made = Variant(
                self.schema, self.node, self.fragment_definitions, self.fragments, self.planner, self.hide_suggestions,
                builder.fields, root, written.text, len(marshal.dumps(code)),
            )  # fmt: skip
        except Unsupported as unsupported:
            made = Unsupported(*unsupported.args)
        except (RecursionError, SyntaxError, GraphQLError) as error:  # Python's own limits of nesting are syntax errors
            made = Unsupported(type(error).__name__)
        self.seconds += time.perf_counter() - began
        self.variants[flags] = made
        return made

    def at_once(self, root: Any, context: Any, values: VariableValues) -> bytes | None:
        """The data, where nothing has to be waited for and nothing goes wrong; None: see what :meth:`run` says."""
        try:
            variant = self.variant(values)
            root_level = variant.root
            assemble = root_level.assemble
            if assemble is None or root_level.waiting:
                return None
            return orjson.dumps(assemble((root,), Run(variant, root, context, values))[0], option=OPTIONS)
        except Exception:
            return None

    def run(self, root: Any, context: Any, values: VariableValues) -> Outcome | Awaitable[Outcome]:
        """Execute; at once when nothing has to be waited for. Raises Unsupported before anything has happened."""
        variant = self.variant(values)
        run = Run(variant, root, context, values)
        if not variant.root.waiting:
            assemble = variant.root.assemble
            assert assemble is not None
            try:
                (data,) = assemble([root], run)
            except Exception:
                return _finish(run, variant.root, root)
            run.forget()
            return Outcome(orjson.dumps(data, option=OPTIONS), [], data)
        if self.node.operation is OperationType.MUTATION:
            return _finish_one(run, variant.root, root)
        return _finish(run, variant.root, root)


async def _finish(run: Run, level: Level, root: Any) -> Outcome:
    return _outcome(run, (await run.level(level, [root], nowhere))[0])


async def _finish_one(run: Run, level: Level, root: Any) -> Outcome:
    return _outcome(run, await run.serially(level, root))


def _outcome(run: Run, data: Any) -> Outcome:
    run.forget()
    if data.__class__ is Nulled:
        run.collected.add(data.error, None)
        return Outcome(None, run.errors)
    return Outcome(orjson.dumps(data, option=OPTIONS), run.errors, data)


def _bind(code: CodeType, names: dict[str, Any], root: Level, fields: list[Field]) -> None:
    """Run the generated module and hand its functions to the tree."""
    scope = dict(names)
    exec(code, scope)
    root.assemble = scope[root.function]
    for one in fields:
        if one.function:
            one.complete = scope[one.function]
        for level in one.levels.values():
            if level.function:
                level.assemble = scope[level.function]


def compile_operation(
    schema: GraphQLSchema,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    *,
    planner: Planner | None = None,
    limits: Limits | None = None,
    hide_suggestions: bool = False,
) -> Compiled:
    """Compile ``operation`` of a ``document`` that is valid for ``schema``. Raises Unsupported.

    What depends on variables of ``@skip`` and ``@include`` is compiled at the first call with each combination.
    """
    definitions = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    compiled = Compiled(
        schema, operation, definitions, planner or Planner(), limits or Limits(), hide_suggestions,
        deciding_variables(operation, document),
        {name: FragmentDetails(definition) for name, definition in definitions.items()},
    )  # fmt: skip
    if not compiled.deciding:
        compiled.variant(VariableValues({}, {}))
    return compiled
