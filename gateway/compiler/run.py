"""One execution of a compiled operation.

Generated functions do what goes right. Whatever does not (an error, a null where none may be, a value of an
unexpected kind) is left to graphql-core's executor, for that one value at its own path, so that errors and nulls
come out exactly as it makes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, cast

import graphql
from graphql import (
    Executor,
    FieldNode,
    GraphQLError,
    GraphQLResolveInfo,
    Undefined,
    VariableValues,
    get_argument_values,
    located_error,
)
from graphql.execution.executor import CollectedErrors
from graphql.pyutils import Path

from gateway.compiler.leaves import default_type_resolver, is_awaitable
from gateway.compiler.plans import Attribute, Batch, Call, Itself, Projection, Property, Resolve
from gateway.compiler.skeletons import EXACT, PlaceOf, Places, Spread, rebuilt
from gateway.compiler.tree import Field, Level
from gateway.compiler.waiting import abandon, settle, together

_field_resolver: Final = cast(Any, graphql).default_field_resolver


class Nulled:
    """Instead of a completed value: it is null, and so must be what it is in. ``error`` says why."""

    __slots__ = ("error",)

    def __init__(self, error: GraphQLError) -> None:
        self.error = error


class Run:
    """The state of one execution; what generated code calls ``run``."""

    __slots__ = ("_arguments", "_collected", "_core", "_infos", "context", "nulled", "operation", "root", "values")

    def __init__(self, operation: Any, root: Any, context: Any, values: VariableValues) -> None:
        self.operation = operation
        self.root = root
        self.context = context
        self.values = values
        self.nulled = False
        self._collected: CollectedErrors | None = None
        self._core: Executor[Any] | None = None
        self._infos: dict[int, Any] = {}
        self._arguments: dict[int, dict[str, Any] | Exception] = {}

    @property
    def errors(self) -> list[GraphQLError]:
        return [] if self._collected is None else self._collected.errors

    @property
    def collected(self) -> CollectedErrors:
        if self._collected is None:
            self._collected = CollectedErrors()
        return self._collected

    @property
    def core(self) -> Executor[Any]:
        """graphql-core's executor of the same operation, which collects into the same errors."""
        if self._core is None:
            operation = self.operation
            self._core = Executor(
                operation.schema,
                operation.fragment_definitions,
                operation.fragments,
                self.root,
                self.context,
                operation.node,
                self.values,
                _field_resolver,
                default_type_resolver,
                _field_resolver,
                hide_suggestions=operation.hide_suggestions,
            )
            self._core.collected_errors = self.collected
        return self._core

    def forget(self) -> None:
        """Let go of the infos, which hold what holds them: only the garbage collector would notice."""
        self._infos.clear()

    # -- what generated code asks for

    def info(self, index: int) -> Any:
        """The info of a field, shared by all its sources."""
        found = self._infos.get(index)
        if found is None:
            one: Field = self.operation.fields[index]
            found = self._infos[index] = self.operation.planner.info(SharedInfo(self, one), one.definition)
        return found

    def raw_info(self, one: Field, path: Path) -> GraphQLResolveInfo[Any]:
        operation = self.operation
        return cast(Any, GraphQLResolveInfo)(
            one.name,
            one.nodes,
            one.type,
            one.parent,
            path,
            operation.schema,
            operation.fragment_definitions,
            self.root,
            operation.node,
            self.values,
            self.context,
            is_awaitable,
            None,
            _LazyHelpers(self),
        )

    def arguments(self, index: int) -> dict[str, Any]:
        """The arguments of a field, coerced once. Raises what is wrong with them."""
        found = self._arguments.get(index)
        if found is None:
            try:
                found = self._coerced(self.operation.fields[index])
            except Exception as error:
                found = error
            self._arguments[index] = found
        if isinstance(found, Exception):
            raise found
        return found

    def _coerced(self, one: Field) -> dict[str, Any]:
        if one.given is not None:
            variables = self.values.coerced
            arguments: dict[str, Any] = {}
            for keyword, given in one.given.items():
                if not given.variable:
                    arguments[keyword] = given.constant
                    continue
                value = variables.get(given.variable, Undefined)
                if value is Undefined or (value is None and not given.nullable):
                    break  # a default or an error
                arguments[keyword] = value
            else:
                return arguments
        node = one.details[0].node
        arguments = get_argument_values(one.definition, node, self.values, None, self.operation.hide_suggestions)
        plan = one.plan
        if not isinstance(plan, Call):
            return arguments
        if plan.prepare is not None:
            return plan.prepare(arguments, self.info(one.index))
        return {plan.keywords.get(name, name): value for name, value in arguments.items()}

    # -- levels

    async def level(self, level: Level, rows: list[Any], at: PlaceOf) -> list[Any]:
        """The completed objects of ``rows``; :class:`Nulled` for those that cannot be."""
        waiting = level.waiting
        begun = [self._begin(one, rows, at) for one in waiting]
        if len(waiting) == 1:
            columns = [await self._column(waiting[0], begun[0], len(rows), at)]
        else:
            columns = await self._columns(waiting, begun, len(rows), at)
        assemble = level.assemble
        assert assemble is not None
        if not self.nulled:
            try:
                return assemble(rows, self, *columns)
            except Exception:
                pass
        return await self._piecemeal(level, rows, columns, at)

    async def _piecemeal(self, level: Level, rows: list[Any], columns: Sequence[list[Any]], at: PlaceOf) -> list[Any]:
        """Assemble what can be, one object after the other, and look closer at the others."""
        assemble = level.assemble
        assert assemble is not None
        done: list[Any] = []
        for number, row in enumerate(rows):
            cells = [column[number] for column in columns]
            if len(rows) > 1 and not any(cell.__class__ is Nulled for cell in cells):
                try:
                    done += assemble([row], self, *([cell] for cell in cells))
                    continue
                except Exception:
                    pass
            done.append(await self._row(level, row, at(number), cells))
        return done

    async def _row(self, level: Level, row: Any, place: Path | None, cells: list[Any]) -> Any:
        """One object, field by field."""
        ready = dict(zip((one.index for one in level.waiting), cells, strict=True))
        result: dict[str, Any] = {}
        value: Any
        for one in level.fields:
            if one.index in ready:
                value = ready[one.index]
                if value.__class__ is Nulled:
                    return value
            else:
                try:
                    value = cast(Any, self.core).execute_field(
                        one.parent, row, one.details, Path(place, one.key, one.parent.name), None
                    )
                    if is_awaitable(value):
                        value = await value
                except GraphQLError as error:
                    return self._null(error)
                if value is Undefined:
                    continue
            result[one.key] = value
        return result

    async def _columns(self, waiting: list[Field], begun: list[Any], count: int, at: PlaceOf) -> list[list[Any]]:
        """The completed values of several fields, all waited for together."""
        done: list[Any] = [None] * len(waiting)
        # What a future brings needs no task of its own.
        quick = [k for k, one in enumerate(waiting) if one.quick and isinstance(begun[k], asyncio.Future)]
        slow = [k for k in range(len(waiting)) if k not in quick]
        try:
            results = await together([self._column(waiting[k], begun[k], count, at) for k in slow])
            for k, result in zip(slow, results, strict=True):
                done[k] = result
            for k in quick:
                done[k] = await self._column(waiting[k], begun[k], count, at)
        except BaseException:
            for k in quick:
                begun[k].cancel()
            for k in slow:
                abandon(begun[k])
            raise
        return done

    async def serially(self, level: Level, root: Any) -> Any:
        """The root object of a mutation: one field after the other."""
        cells: list[Any] = []
        for one in level.waiting:
            (cell,) = await self._column(one, self._begin(one, [root], nowhere), 1, nowhere)
            if cell.__class__ is Nulled:
                return cell
            cells.append(cell)
        return (await self._piecemeal(level, [root], [[cell] for cell in cells], nowhere))[0]

    # -- values of one field

    def _begin(self, one: Field, rows: list[Any], at: PlaceOf) -> Any:
        """Call what gives the values: a future of all of them, or a list of values, awaitables and errors."""
        plan = one.plan
        if isinstance(plan, Batch):
            try:
                return plan.load(self.context, rows)
            except Exception as error:
                return [error] * len(rows)
        values: list[Any] = []
        for number, row in enumerate(rows):
            try:
                values.append(self._read(one, row, at, number))
            except Exception as error:
                values.append(error)
        return values

    def _read(self, one: Field, row: Any, at: PlaceOf, number: int) -> Any:
        plan = one.plan
        if isinstance(plan, Call):
            keywords = self.arguments(one.index) if one.has_arguments else {}
            return plan.function(
                *[row if what == "source" else self.info(one.index) for what in plan.takes], **keywords
            )
        if isinstance(plan, Resolve | Property):
            keywords = self.arguments(one.index) if one.has_arguments else {}
            function = plan.function if isinstance(plan, Resolve) else _field_resolver
            path = Path(at(number), one.key, one.parent.name)
            return function(row, self.raw_info(one, path), **keywords)
        if isinstance(plan, Attribute):
            return one.parent.name if one.name == "__typename" else getattr(row, plan.name)
        if isinstance(plan, Itself):
            return row
        if isinstance(plan, Projection):
            return None if plan.null_if is not None and getattr(row, plan.null_if) is None else row
        raise TypeError("a batch is not read by rows")

    async def _column(self, one: Field, begun: Any, count: int, at: PlaceOf) -> list[Any]:
        """The completed values; null for failed ones, or :class:`Nulled` where null is not allowed."""
        values: list[Any]
        try:
            if begun.__class__ is not list:
                values = list(await begun)
                if len(values) != count:
                    raise ValueError(f"{len(values)} values for {count} objects")
            else:
                values = begun
                if count == 1 and is_awaitable(values[0]):
                    values[0] = await values[0]
                elif count > 1:
                    await settle(values)
        except Exception as error:
            values = [error] * count
        complete = one.complete
        if complete is None:
            return await self._descend(one, values, at)
        try:
            if begun.__class__ is not list:
                # What several objects have in common, as orders have their store, is completed once.
                distinct = {id(value): value for value in values}
                if len(distinct) < count:
                    completed = dict(zip(distinct, complete(list(distinct.values()), self), strict=True))
                    return [completed[id(value)] for value in values]
            return complete(values, self)
        except Exception:
            pass
        done: list[Any] = []
        for number, value in enumerate(values):
            if count > 1:
                try:
                    done += complete([value], self)
                    continue
                except Exception:
                    pass
            done.append(await self._exactly(one, value, at(number)))
        return done

    async def _exactly(self, one: Field, value: Any, place: Path | None) -> Any:
        """The value as graphql-core completes it."""
        path = Path(place, one.key, one.parent.name)
        try:
            info = self.raw_info(one, path)
            completed: Any = cast(Any, self.core).complete_value(one.type, one.details, info, path, value, None)
            return await completed if is_awaitable(completed) else completed
        except Exception as error:
            return self._error(one, error, path)

    def _error(self, one: Field, error: Exception, path: Path) -> Any:
        located = located_error(error, one.nodes, path.as_list())
        if not one.nullable[0]:
            return self._null(located)
        self.collected.add(located, path)
        return None

    def _null(self, error: GraphQLError) -> Nulled:
        self.nulled = True
        return Nulled(error)

    async def _descend(self, one: Field, values: list[Any], at: PlaceOf) -> list[Any]:
        """Complete objects whose own fields have to be waited for: those of all values at once."""
        spread = Spread(self, one)
        skeletons = [spread.add(value) for value in values]
        places = Places(one, at, skeletons)
        groups = spread.groups()
        if len(groups) == 1:
            level, _, rows = groups[0]
            found = await self.level(level, rows, places.at)
        else:
            found = [None] * len(spread.items)
            results = await together([self.level(level, rows, places.of(numbers)) for level, numbers, rows in groups])
            for (_, numbers, _), objects in zip(groups, results, strict=True):
                for number, completed in zip(numbers, objects, strict=True):
                    found[number] = completed
        done: list[Any] = []
        for number, skeleton in enumerate(skeletons):
            if skeleton is EXACT:
                done.append(await self._exactly(one, values[number], at(number)))
            elif self.nulled:
                done.append(self._rebuild(one, skeleton, found, 0, Path(at(number), one.key, one.parent.name)))
            else:
                done.append(rebuilt(skeleton, found))
        return done

    def _rebuild(self, one: Field, skeleton: Any, found: list[Any], depth: int, path: Path) -> Any:
        """Like :func:`rebuilt`, with objects that are nulled."""
        value: Any
        if skeleton is None:
            return None
        if isinstance(skeleton, int):
            value = found[skeleton]
        else:
            value = []
            for index, part in enumerate(cast(Sequence[Any], skeleton)):
                item = self._rebuild(one, part, found, depth + 1, path.add_key(index, None))
                if item.__class__ is Nulled:
                    value = item
                    break
                value.append(item)
        if value.__class__ is Nulled and one.nullable[depth]:
            self.collected.add(value.error, path)
            return None
        return value


def nowhere(_number: int) -> None:
    """The place of the root object."""
    return None


class SharedInfo:
    """What graphql-core's ``GraphQLResolveInfo`` tells, for all objects that a field is read of.

    So ``path`` has the names of the fields and no indices of lists.
    """

    __slots__ = ("_field", "_run")

    def __init__(self, run: Run, one: Field) -> None:
        self._run = run
        self._field = one

    @property
    def context(self) -> Any:
        return self._run.context

    @property
    def field_nodes(self) -> list[FieldNode]:
        return self._field.nodes

    def __getattr__(self, name: str) -> Any:
        one = self._field
        return getattr(self._run.raw_info(one, Path(None, one.key, one.parent.name)), name)


class _LazyHelpers:
    """graphql-core's helpers of asynchronous resolvers, made when one is used."""

    __slots__ = ("_run",)

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run.core.async_helpers, name)
