"""Runs an operation on graphql-core and compiled, and says where the two differ.

Equal means: the same bytes of data, the same errors, the same calls of resolvers. The specification leaves freedom in
one place: of the errors below a position that became null because of them, an executor may report any, at least one,
and may cancel what runs there (https://spec.graphql.org/draft/#sec-Handling-Execution-Errors). Which errors can be
there is known from a third run in which nothing propagates.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from inspect import isawaitable
from typing import Any, Final
from weakref import WeakSet

import orjson
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    VariableValues,
    execute,
    get_variable_values,
    parse,
)

from gateway.compiler import OPTIONS, Planner, Unsupported, compile_operation
from gateway.compiler.variables import VariableReader
from gateway.interpreter import SteadyExecutor

UNWRITABLE = b"unwritable"
"""Instead of data that JSON does not have: a scalar gave something strange. Whoever writes the answer fails."""

LEFT_TO_CORE = ("null in @skip or @include", "too many variants")
"""Why a call of a compiled operation may be refused, before anything was called."""

MOST_ERRORS = 5
"""Of variables, that are told."""

_RUNS = itertools.count(1)

_ADDRESS = re.compile(r"0x[0-9a-f]+")
_parsed = lru_cache(maxsize=8)(parse)


@dataclass(frozen=True)
class Case:
    """A request."""

    text: str
    variables: dict[str, Any] = field(default_factory=dict)
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.text}\nvariables {self.variables!r} operation {self.name!r}"


@dataclass
class Answer:
    """What came out of one executor."""

    data: bytes | None
    errors: list[GraphQLError]
    unawaited: int = 0
    """Coroutines that were made and forgotten."""

    def shown(self) -> list[tuple[Any, ...]]:
        return sorted((_shown(error) for error in self.errors), key=repr)


def _shown(error: GraphQLError) -> tuple[Any, ...]:
    original = error.original_error
    while isinstance(original, GraphQLError) and original.original_error is not None:
        original = original.original_error
    return (
        tuple(error.path or ()),
        _ADDRESS.sub("0x", error.message),
        tuple((place.line, place.column) for place in error.locations or ()),
        repr(error.extensions),
        type(original).__name__,
    )


def find_operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    """The operation of the document called ``name``, or its only one."""
    found = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    return next(d for d in found if name is None or (d.name and d.name.value == name))


def coerced(schema: GraphQLSchema, document: DocumentNode, case: Case) -> VariableValues | None:
    """The variables, or None when they are refused before anything runs."""
    node = find_operation(document, case.name)
    values = get_variable_values(schema, node.variable_definitions or (), case.variables)
    return None if isinstance(values, list) else values


def variable_differences(schema: GraphQLSchema, case: Case) -> list[str]:
    """What the compiler's own reader of variables makes of them, where it is not what graphql-core does."""
    node = find_operation(_parsed(case.text), case.name)
    definitions = node.variable_definitions or ()
    core = get_variable_values(schema, definitions, dict(case.variables), MOST_ERRORS, False)
    read = VariableReader(schema, node, hide_suggestions=False).read(case.variables, MOST_ERRORS)
    expected, found = _values_shown(core), _values_shown(read)
    return [] if expected == found else [f"variables\n  core     {expected}\n  compiled {found}"]


def _values_shown(values: VariableValues | list[GraphQLError]) -> str:
    if isinstance(values, list):
        return repr([error.formatted for error in values])
    sources = {name: source.value for name, source in values.sources.items()}
    return _ADDRESS.sub("0x", f"{values.coerced!r} of {sources!r}")


async def run_core(
    schema: GraphQLSchema, document: DocumentNode, case: Case, root: Any, context: Any, *, thorough: bool = False
) -> Answer:
    """graphql-core's answer."""
    with _forgotten(thorough) as count:
        result: Any = execute(schema, document, root, context, case.variables, case.name, executor_class=SteadyExecutor)
        if isawaitable(result):
            result = await result
        await settle()
        assert isinstance(result, ExecutionResult)
        try:
            data = None if result.data is None else orjson.dumps(result.data, option=OPTIONS)
        except TypeError:
            data = UNWRITABLE
        errors = list(result.errors or ())
        del result
        return Answer(data, errors, count())


async def run_compiled(
    compiled: Any,
    schema: GraphQLSchema,
    document: DocumentNode,
    case: Case,
    root: Any,
    context: Any,
    *,
    thorough: bool = False,
) -> Answer:
    """The compiled operation's answer."""
    values = coerced(schema, document, case)
    assert values is not None
    with _forgotten(thorough) as count:
        try:
            outcome = compiled.run(root, context, values)
        except Unsupported:
            assert not context.calls
            raise
        except TypeError:
            return Answer(UNWRITABLE, [])
        if isawaitable(outcome):
            try:
                outcome = await outcome
            except TypeError:
                return Answer(UNWRITABLE, [])
        await settle()
        return Answer(outcome.data, list(outcome.errors), count())


EARLIER: Final[WeakSet[asyncio.Task[Any]]] = WeakSet()
"""Tasks of the loop that were there before the tests of a module, and are no business of theirs."""


def running() -> set[asyncio.Task[Any]]:
    """The tasks that were left behind."""
    return asyncio.all_tasks() - {asyncio.current_task()} - set(EARLIER)  # type: ignore[operator]


async def settle() -> None:
    """Let what was left behind come to its end."""
    for _ in range(100):
        await asyncio.sleep(0)
        if not running():
            return
    raise AssertionError(f"still running: {running()}")


class _forgotten:
    """Counts the warnings about coroutines that nobody awaited.

    Some come only when a cycle is collected, which takes long; ``thorough`` waits for them, and tells those apart that
    graphql-core began, which forgets them when a sibling fails at once: the compiler leaves it objects to complete.
    """

    def __init__(self, thorough: bool) -> None:
        self._thorough = thorough

    def __enter__(self) -> Callable[[], int]:
        if self._thorough:
            gc.collect()
            sys.set_coroutine_origin_tracking_depth(2)
        self._catch = warnings.catch_warnings(record=True)
        self._seen = self._catch.__enter__()
        warnings.simplefilter("always")
        return self._count

    def _count(self) -> int:
        if self._thorough:
            gc.collect()
        # An attribute may be read again when something is wrong with it, and give another coroutine: no harm.
        told = [str(w.message) for w in self._seen or ()]
        if any("Executor." in text for text in told):
            return 0  # graphql-core forgets what it began below something that failed
        told = [text for text in told if "/graphql/execution/" not in text]  # its origin
        return sum("later' was never" not in text and "never awaited" in text for text in told)

    def __exit__(self, *_: object) -> None:
        sys.set_coroutine_origin_tracking_depth(0)
        if next(_RUNS) % 50 == 0:
            gc.collect()  # here, where nobody is told of what graphql-core has forgotten
        self._catch.__exit__(None, None, None)


# -- comparison


def differences(core: Answer, compiled: Answer, possible: Callable[[], list[tuple[Any, ...]]]) -> list[str]:
    """What is wrong with the compiled answer; ``possible`` are the errors of a run without propagation."""
    found: list[str] = []
    if core.data == UNWRITABLE == compiled.data:
        return []
    if core.data != compiled.data:
        found.append(f"data\n  core     {_cut(core.data)}\n  compiled {_cut(compiled.data)}")
        return [*found, f"errors\n  core     {core.shown()}\n  compiled {compiled.shown()}"]
    data = None if core.data is None else orjson.loads(core.data)
    ours, theirs = _by_null(compiled, data), _by_null(core, data)
    for place in ours.keys() | theirs.keys():
        expected, got = theirs.get(place, Counter()), ours.get(place, Counter())
        if expected == got:
            continue
        inside = place is not None and any(len(error[0]) > len(place) for error in expected)
        if not inside or not got:
            found.append(f"errors at {place}\n  core     {list(expected)}\n  compiled {list(got)}")
        elif strange := [e for e in got.keys() - expected.keys() if not _explained(e, [*possible(), *expected])]:
            found.append(f"impossible errors at {place}\n  core     {list(expected)}\n  compiled {strange}")
        elif max(got.values()) > 1:
            found.append(f"repeated errors at {place}: {list(got.elements())}")
    return found


def _explained(error: tuple[Any, ...], others: list[tuple[Any, ...]]) -> bool:
    """Whether it is one of the others, or inside of a value that failed, according to one of them, after its parts."""
    path = error[0]
    return any(error == other or (len(other[0]) < len(path) and path[: len(other[0])] == other[0]) for other in others)


def _cut(data: bytes | None) -> str:
    return repr(data if data is None or len(data) < 1500 else data[:1500] + b"...")


def null_position(path: tuple[Any, ...], data: Any) -> tuple[Any, ...] | None:
    """The outermost null on the way to ``path``, None where there is no null."""
    value = data
    for depth, key in enumerate((*path, None)):
        if value is None:
            return path[:depth]
        if depth == len(path):
            return None
        try:
            value = value[key]
        except (LookupError, TypeError):
            return None
    return None


def _by_null(answer: Answer, data: Any) -> dict[Any, Counter[tuple[Any, ...]]]:
    grouped: dict[Any, Counter[tuple[Any, ...]]] = {}
    for error in answer.shown():
        place = null_position(error[0], data)
        grouped.setdefault(place, Counter())[error] += 1
    return grouped


def call_differences(core: list[tuple[Any, ...]], compiled: list[tuple[Any, ...]], data: bytes | None) -> list[str]:
    """Calls that only one of them made, or that were made twice. ``calls`` begin with their path."""
    found: list[str] = []
    decoded = None if data in (None, UNWRITABLE) else orjson.loads(data)
    counts, expected = Counter(compiled), Counter(core)
    for call, count in counts.items():
        if count > max(1, expected[call]):
            found.append(f"called {count} times, by graphql-core {expected[call]}: {call}")
    for call in counts.keys() ^ expected.keys():
        # Below a null, work may have been cancelled before its turn.
        place = null_position(call[0], decoded)
        if place is None or len(place) == len(call[0]):
            who = "compiled" if call in counts else "graphql-core"
            found.append(f"called by {who} only: {call}")
    return found


def planned_call_differences(core: list[tuple[Any, ...]], compiled: list[tuple[Any, ...]], whole: bool) -> list[str]:
    """The same for calls that do not know their paths. ``whole``: no error, so nothing may have been cancelled.

    With an error, one of two objects of a list may have been read by one of them only; the root is one object.
    """
    counts, expected = Counter(compiled), Counter(core)
    if whole:
        wrong = [call for call in counts.keys() | expected.keys() if counts[call] != expected[call]]
    else:
        # A planned function's call begins with its name, a resolver's with its path.
        names = {call: call[0] if isinstance(call[0], str) else call[1] for call in counts}
        roots = [c for c, name in names.items() if name.partition(".")[0] in ("Query", "Mutation", "Subscription")]
        wrong = [call for call in roots if counts[call] > max(1, expected[call])]
    return [f"called {counts[call]} times, by graphql-core {expected[call]}: {call}" for call in wrong]


def unpropagated(schema: GraphQLSchema, document: DocumentNode, case: Case) -> tuple[DocumentNode, Case]:
    """The same document with the propagation of nulls off, which does not move anything in it."""
    node = find_operation(document, case.name)
    directive: Any = parse("{a @experimental_disableErrorPropagation}").definitions[0]
    directives = directive.selection_set.selections[0].directives
    parts = {key: getattr(node, key) for key in (*node.keys, "loc")}
    changed = OperationDefinitionNode(**parts | {"directives": directives})
    definitions = tuple(changed if d is node else d for d in document.definitions)
    return DocumentNode(definitions=definitions, loc=document.loc), case


async def compare(
    schema: GraphQLSchema,
    case: Case,
    setting: Callable[[], tuple[Any, Any]],
    cache: dict[Any, Any] | None = None,
    planner: Planner | None = None,
) -> list[str] | None:
    """Differences between the two for one request; None when it is not for both of them to execute.

    ``setting`` makes a fresh root and context with ``calls``.
    """
    document = _parsed(case.text)
    if coerced(schema, document, case) is None:
        return None
    key = (id(schema), case.text, case.name)
    compiled = None if cache is None else cache.get(key)
    if compiled is None:
        try:
            compiled = compile_operation(schema, document, find_operation(document, case.name), planner=planner)
        except Unsupported as unsupported:
            return [f"not compiled: {unsupported}"]
        if cache is not None:
            cache[key] = compiled

    async def both(thorough: bool) -> tuple[Answer, Any, Answer, Any]:
        root, core_context = setting()
        core = await run_core(schema, document, case, root, core_context, thorough=thorough)
        root, context = setting()
        ours = await run_compiled(compiled, schema, document, case, root, context, thorough=thorough)
        return core, core_context, ours, context

    try:
        core, core_context, ours, context = await both(False)
    except Unsupported as unsupported:
        if str(unsupported) in LEFT_TO_CORE:
            return None
        return [f"not run: {unsupported}"]
    if ours.unawaited > core.unawaited:
        core, core_context, ours, context = await both(True)
    possible: list[tuple[Any, ...]] | None = None
    if core.shown() != ours.shown():
        root, third = setting()
        free, _ = unpropagated(schema, document, case)
        possible = (await run_core(schema, free, case, root, third)).shown()
    found = differences(core, ours, lambda: possible or [])
    if not found and planner is None:
        found = call_differences(core_context.calls, context.calls, core.data)
    elif not found:
        found = planned_call_differences(core_context.calls, context.calls, not core.errors)
    if not found and ours.unawaited > core.unawaited:
        found = [f"{ours.unawaited} coroutines forgotten, by graphql-core {core.unawaited}"]
    kind = find_operation(document, case.name).operation
    if not found and kind is OperationType.MUTATION and core_context.order != context.order:
        found = [f"order of effects\n  core     {core_context.order}\n  compiled {context.order}"]
    return found
