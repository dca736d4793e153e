"""The one door: every operation, from HTTP, WebSocket or a test, is admitted and executed here."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NamedTuple, cast

import graphql
import orjson
from graphql import (
    ExecutionResult,
    Executor,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    VariableValues,
)
from prometheus_client import Histogram

from auth.principals import Principal, View
from auth.tokens import Unauthenticated
from core import logs, telemetry
from core.errors import BusinessError
from core.settings import Settings
from gateway import metrics
from gateway.admission import Admission, OperationRequest
from gateway.compiled import CompiledOperations
from gateway.compiler import OPTIONS, Compiled, Outcome, Unsupported
from gateway.contracts import Contract
from gateway.cost import Costing
from gateway.documents import Document, Documents
from gateway.errors import describe, present
from gateway.interpreter import SteadyExecutor
from gateway.limits import Limits, check_variables, too_large
from gateway.manifests import name_of
from gateway.operations import Operations, Registered
from gateway.refusals import INTERNAL, TIMEOUT, Refused
from gateway.throttle import Charge, Throttle
from gateway.timing import TimedOut, within
from models.database import Database
from resolvers.context import Context
from services.columns import Columns

log = logs.get(__name__)

# Typed by graphql-core in terms that pyright cannot complete.
_source_events: Final = cast(Callable[[Executor[Any]], Any], cast(Any, graphql).create_source_event_stream)
_default_field: Final = cast(Any, graphql).default_field_resolver
_default_type: Final = cast(Any, graphql).default_type_resolver

_SHOWN_STATEMENTS: Final = 10
"""Of a slow operation, the slowest ones."""
_TIMED_OUT: Final = {
    "en": "The operation took too long and was stopped; it may or may not have had its effect.",
    "zh-CN": "操作超时已中止，可能已生效，也可能未生效。",
}


_INTERPRETED: Final = Unsupported("compiler off")


@dataclass(slots=True)
class Operation:
    """An admitted operation: valid for its contract, variables coerced. Nobody changes it.

    Not frozen, because one is made for each request, and that would take three times as long.
    """

    contract: Contract
    document: Document
    node: OperationDefinitionNode
    variables: Mapping[str, Any]
    """As they came; ``values`` are what resolvers get."""
    values: VariableValues
    costing: Costing
    cost: int
    """What it may cost; of a subscription, its snapshot, and each event."""
    compiled: Compiled | Unsupported = _INTERPRETED
    """What executes it; graphql-core, where there is nothing compiled."""
    registered: Registered | None = None
    tells_cost: bool = False
    """Whether the answer is to say what it cost."""
    columns: Columns = field(init=False)
    """What it shows of the records it reads."""

    def __post_init__(self) -> None:
        self.columns = self.document.columns[self.name or None]

    @property
    def kind(self) -> OperationType:
        return self.node.operation

    @property
    def name(self) -> str:
        return name_of(self.node)

    @property
    def key(self) -> bytes:
        """Equal for operations that ask the same of the same contract, whoever asks."""
        asked = [self.contract.view, self.document.id, self.name, self.variables]
        return orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)


class Answer(NamedTuple):
    """What an operation, or one event of a subscription, is answered with."""

    body: bytes
    """JSON: ``data`` and, when something failed, ``errors``."""
    codes: tuple[str, ...] = ()
    """``extensions.code`` of each error."""
    has_data: bool = True
    """False when ``data`` is null as a whole."""
    error_id: str = ""
    """Of the first internal error: finds it in the log."""
    cost: int = 0
    """What it cost; what it may have cost, where nobody knows."""


class Interrupted(Exception):
    """A subscription cannot go on for a reason of ours, which is logged under ``error_id``.

    The transport closes the connection so that the client comes back; an error message would look final to it.
    """

    def __init__(self, error_id: str) -> None:
        super().__init__(error_id)
        self.error_id = error_id


class Gateway:
    """Admits and executes operations against the contracts."""

    def __init__(
        self, contracts: dict[View, Contract], settings: Settings, operations: Operations | None = None,
        limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self.contracts = contracts
        self.documents = Documents(introspection=settings.introspection, limits=limits or Limits.of(settings))
        self.operations = operations or Operations()
        self.admission = Admission(settings, self.documents, self.operations)
        self._hide_suggestions = not settings.introspection
        self.compiled = CompiledOperations(hide_suggestions=self._hide_suggestions) if settings.compiler else None
        self._mask = settings.mask_errors
        self._slow = settings.slow_operation.total_seconds()
        self._timeout = settings.operation_timeout.total_seconds()
        self._max_nodes = settings.max_nodes
        self.throttle = Throttle(settings)

    async def follow_registered(self, database: Database) -> None:
        """Take over what was registered since the last time, and write down what was used."""
        await self.operations.follow(database, self.contracts, self.documents)
        self.compile_registered()

    def compile_registered(self) -> None:
        """Compile what is registered and not compiled yet, so that no caller waits for it."""
        if self.compiled is not None:
            for registered in self.operations.all():
                contract = self.contracts[registered.view]
                if not self.compiled.is_registered(registered.view, registered.document.id):
                    self.compiled.register(contract, registered.document)

    # -- admission

    async def admitted(self, principal: Principal, request: OperationRequest) -> Operation:
        """:meth:`admit`, after asking other processes for the text of a document that only they were sent."""
        return self.admit(principal, await self.admission.fetched(principal, request))

    def admit(self, principal: Principal, request: OperationRequest) -> Operation:
        """The operation that ``request`` asks for, within the principal's contract. Raises Refused."""
        try:
            contract = self.contracts[principal.view]
            found = self.admission.document(principal, contract, request)
            registered = found if isinstance(found, Registered) else None
            document = found.document if isinstance(found, Registered) else found
            node = document.operation(request.operation_name or None)
            check_variables(contract.view, request.variables)
            values = document.variables(contract, node, request.variables, hide_suggestions=self._hide_suggestions)
            costing = document.costings[node.name.value if node.name else None]
            cost, nodes = costing.request(values.coerced)
            if nodes > self._max_nodes:
                raise too_large("NODE_LIMIT_EXCEEDED", "objects in the answer", self._max_nodes, nodes)
        except Refused as refused:
            metrics.OPERATIONS_REFUSED.labels(principal.view, refused.code).inc()
            log.info(
                "operation refused",
                view=principal.view,
                name=request.operation_name,
                document=request.document_id,
                errors=[error["extensions"]["code"] for error in refused.errors],
            )
            raise
        compiled = _INTERPRETED if self.compiled is None else self.compiled.find(contract, document, node)
        if registered is not None:
            registered.uses += 1
        metrics.requested_cost(contract.view).observe(cost)
        return Operation(
            contract, document, node, request.variables, values, costing, cost, compiled, registered,
            request.extensions.get("cost") is True,
        )  # fmt: skip

    async def _charge(self, operation: Operation, context: Context) -> Charge:
        """Take the cost from the caller's bucket. Raises Refused."""
        try:
            return await self.throttle.take(
                context.principal, context.client_address, operation.cost, exact=operation.tells_cost
            )
        except Refused as refused:
            metrics.OPERATIONS_REFUSED.labels(operation.contract.view, refused.code).inc()
            log.info(
                "operation refused",
                view=operation.contract.view,
                name=operation.name,
                cost=operation.cost,
                errors=[refused.code],
                request_id=context.request_id,
            )
            raise

    # -- execution

    async def respond(self, operation: Operation, context: Context) -> Answer:
        """Run a query or mutation. Never raises for what goes wrong in it: the answer says so.

        Raises Refused when the caller asked for too much lately.
        """
        if operation.kind is OperationType.SUBSCRIPTION:
            raise ValueError("subscriptions are not executed but subscribed to")
        began = time.perf_counter()
        with telemetry.Noting() as statements:
            answer = await (self._traced if telemetry.tracing() else self._respond)(operation, context)
        seconds = time.perf_counter() - began
        if operation.registered is not None:
            _of_registered(operation.contract.view, operation.name, operation.document.id).observe(seconds)
        if seconds > self._slow:
            self._tell_slow(operation, context, seconds, statements)
        return answer

    async def _traced(self, operation: Operation, context: Context) -> Answer:
        title = f"{operation.kind.value} {operation.name}".strip()
        attributes = {"graphql.document.id": operation.document.id, "graphql.operation.name": operation.name}
        with telemetry.span(title, **attributes):
            answer = await self._respond(operation, context)
            if answer.codes:
                telemetry.failed(", ".join(answer.codes))
        return answer

    async def _respond(self, operation: Operation, context: Context) -> Answer:
        charge = await self._charge(operation, context)
        started = time.perf_counter()
        try:
            pending = self._start(operation, context, None)
            if isinstance(pending, Outcome):
                answer = self._answer(operation, context, started, pending)
            else:
                answer = await self._wait(operation, context, started, pending)
        except Exception as error:
            answer = self._failed(operation, context, started, error)
        self.throttle.settle(charge, answer.cost)
        metrics.actual_cost(operation.contract.view).observe(answer.cost)
        self._record(operation, context, started, answer.codes, answer.cost)
        if operation.tells_cost:
            told = orjson.dumps({"cost": charge.told()})
            answer = answer._replace(body=b'%b,"extensions":%b}' % (answer.body[:-1], told))
        return answer

    async def execute(self, operation: Operation, context: Context) -> dict[str, Any]:
        """:meth:`respond`, read back from JSON."""
        return orjson.loads((await self.respond(operation, context)).body)

    async def source(self, operation: Operation, context: Context) -> AsyncGenerator[Any, None]:
        """The events of a subscription, to be rendered one by one.

        Raises Refused when the source says no (also later, when access ends), and Interrupted when it fails.
        Closing the generator ends the subscription at its source.
        """
        started = time.perf_counter()
        failure: Refused | Interrupted | None = None
        try:
            events = await self.open(operation, context)
            try:
                async for event in events:
                    yield event
            finally:
                close = getattr(events, "aclose", None)
                if close is not None:
                    await close()
        except Exception as error:
            failure = self.failure(error, context)
            raise failure from error
        finally:
            self.ended(operation, context, started, failure)

    async def open(self, operation: Operation, context: Context) -> AsyncIterator[Any]:
        """What the resolver of a subscription follows, as it returned it.

        Raises what the resolver raises. For those who iterate themselves: errors, also later ones, are to be told
        by :meth:`failure`, and the end by :meth:`ended`.
        """
        await self._charge(operation, context)
        stream: Any = _source_events(self._executor(operation, context, None))
        if isinstance(stream, Awaitable):
            stream = cast(Any, await stream)
        if isinstance(stream, ExecutionResult):
            error = (stream.errors or [GraphQLError("no source")])[0]
            raise error.original_error or error
        return aiter(stream)

    def failure(self, error: Exception, context: Context) -> Refused | Interrupted:
        """What an error of a subscription's source means to the subscriber."""
        if isinstance(error, Refused | Interrupted):
            return error
        if isinstance(error, BusinessError | Unauthenticated):
            message, extensions = describe(error, context, mask=self._mask)
            return Refused([{"message": message, "extensions": extensions}], 403)
        _, extensions = describe(error, context, mask=True)
        return Interrupted(extensions.get("errorId", ""))

    def ended(
        self, operation: Operation, context: Context, started: float, failure: Refused | Interrupted | None
    ) -> None:
        """Log a subscription that has ended; ``started`` is of ``time.perf_counter``."""
        code = None if failure is None else failure.code if isinstance(failure, Refused) else INTERNAL
        self._record(operation, context, started, () if code is None else (code,), operation.cost)

    def render(self, operation: Operation, context: Context, event: Any) -> Answer | Awaitable[Answer]:
        """What one event of a subscription is delivered as, with fresh loaders; at once when nothing has to wait."""
        compiled = operation.compiled
        if isinstance(compiled, Compiled):
            # Not timed: this takes less time than to write down how long it took. Nor is anything loaded by it.
            context.columns = operation.columns
            data = compiled.at_once(event, context, operation.values)
            if data is not None:
                _EVENTS_COMPILED.inc()
                return Answer(b'{"data":%b}' % data)
        context = context.fresh()
        started = time.perf_counter()
        try:
            pending = self._start(operation, context, event)
            if isinstance(pending, Outcome):
                return self._answer(operation, context, started, pending)
        except Exception as error:
            return self._failed(operation, context, started, error)
        return self._wait(operation, context, started, pending)

    async def subscribe(self, operation: Operation, context: Context) -> AsyncGenerator[dict[str, Any], None]:
        """:meth:`source` and :meth:`render` for one subscriber, read back from JSON."""
        async with aclosing(self.source(operation, context)) as events:
            async for event in events:
                answer = self.render(operation, context, event)
                yield orjson.loads((await answer if isinstance(answer, Awaitable) else answer).body)

    def _start(self, operation: Operation, context: Context, root: Any) -> Outcome | Awaitable[Outcome]:
        """Begin to execute, with what takes the operation."""
        context.columns = operation.columns
        compiled = operation.compiled
        if isinstance(compiled, Compiled):
            try:
                pending = compiled.run(root, context, operation.values)
            except Unsupported as unsupported:
                compiled = unsupported
            else:
                _COMPILED.inc()
                return pending
        metrics.EXECUTIONS.labels("graphql-core", str(compiled)).inc()
        return self._interpret(operation, context, root)

    async def _interpret(self, operation: Operation, context: Context, root: Any) -> Outcome:
        serially = operation.kind is OperationType.MUTATION
        pending = self._executor(operation, context, root).execute_operation(serially)
        result = cast(ExecutionResult, await pending if isinstance(pending, Awaitable) else pending)
        data = None if result.data is None else orjson.dumps(result.data, option=OPTIONS)
        return Outcome(data, result.errors or [], result.data)

    async def _wait(
        self, operation: Operation, context: Context, started: float, pending: Awaitable[Outcome]
    ) -> Answer:
        try:
            outcome = await within(self._timeout, pending)
        except TimedOut:
            message = _TIMED_OUT.get(context.locale) or _TIMED_OUT["en"]
            limit = {"limit": self._timeout, "value": round(time.perf_counter() - started, 3)}
            return self._nothing(operation, context, started, message, {"code": TIMEOUT, **limit})
        except Exception as error:
            return self._failed(operation, context, started, error)
        finally:
            context.forget()
        return self._answer(operation, context, started, outcome)

    def _answer(self, operation: Operation, context: Context, started: float, outcome: Outcome) -> Answer:
        data = outcome.data
        cost = operation.costing.actual(outcome.tree)
        if not outcome.errors and data is not None:
            self._measure(operation, started)
            return Answer(b'{"data":%b}' % data, cost=cost)
        errors = present(outcome.errors, context, mask=self._mask)
        return self._told(operation, context, started, data, errors, cost)

    def _failed(self, operation: Operation, context: Context, started: float, error: Exception) -> Answer:
        return self._nothing(operation, context, started, *describe(error, context, mask=self._mask))

    def _nothing(
        self, operation: Operation, context: Context, started: float, message: str, extensions: dict[str, Any]
    ) -> Answer:
        errors = [{"message": message, "extensions": extensions}]
        return self._told(operation, context, started, None, errors, operation.cost)

    def _told(
        self, operation: Operation, context: Context, started: float, data: bytes | None, errors: list[dict[str, Any]],
        cost: int,
    ) -> Answer:  # fmt: skip
        """An answer with errors."""
        self._measure(operation, started)
        codes = tuple(error["extensions"]["code"] for error in errors)
        error_id = next((e["extensions"]["errorId"] for e in errors if "errorId" in e["extensions"]), "")
        for code in codes:
            metrics.OPERATION_ERRORS.labels(operation.contract.view, operation.kind.value, code).inc()
        if operation.kind is OperationType.SUBSCRIPTION:
            log.warning("event", name=operation.name, errors=codes, request_id=context.request_id)
        body = b'{"data":%b,"errors":%b}' % (b"null" if data is None else data, orjson.dumps(errors))
        return Answer(body, codes, data is not None, error_id, cost)

    def _measure(self, operation: Operation, started: float) -> None:
        _seconds(operation.contract.view, operation.kind).observe(time.perf_counter() - started)

    def _executor(self, operation: Operation, context: Context, root: Any) -> Executor[Any]:
        """A new executor each time: it remembers sub-selections, which must not outlive one event."""
        document = operation.document
        return SteadyExecutor(
            operation.contract.schema,
            document.fragment_definitions,
            document.fragments,
            root,
            context,
            operation.node,
            operation.values,
            _default_field,
            _default_type,
            _default_field,
            hide_suggestions=self._hide_suggestions,
        )

    def _tell_slow(
        self, operation: Operation, context: Context, seconds: float, statements: telemetry.Statements
    ) -> None:
        slowest = sorted(statements, key=lambda each: each[1], reverse=True)[:_SHOWN_STATEMENTS]
        log.warning(
            "slow operation",
            name=operation.name,
            document=operation.document.id[:16],
            view=operation.contract.view.value,
            ms=round(seconds * 1000, 2),
            statements=len(statements),
            sql_ms=round(sum(each[1] for each in statements) * 1000, 2),
            slowest=[{"ms": round(took * 1000, 2), "sql": telemetry.shown(sql)} for sql, took in slowest],
            request_id=context.request_id,
            trace_id=telemetry.trace_id(),
        )

    def _record(self, operation: Operation, context: Context, started: float, codes: Sequence[str], cost: int) -> None:
        log.info(
            "operation",
            name=operation.name,
            type=operation.kind.value,
            document=operation.document.id[:16],
            view=operation.contract.view.value,
            principal=context.principal.kind.value,
            ms=round((time.perf_counter() - started) * 1000, 2),
            cost=cost,
            errors=list(codes),
            request_id=context.request_id,
            **({"trace_id": telemetry.trace_id()} if telemetry.tracing() else {}),
        )


@cache
def _of_registered(view: View, name: str, id: str) -> Histogram:
    return metrics.REGISTERED_SECONDS.labels(view, name, id[:16])


@cache
def _seconds(view: View, kind: OperationType) -> Histogram:
    return metrics.OPERATION_SECONDS.labels(view, kind.value)


_COMPILED: Final = metrics.EXECUTIONS.labels("compiled", "")
_EVENTS_COMPILED: Final = metrics.Tally(_COMPILED)
