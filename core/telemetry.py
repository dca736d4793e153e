"""What an operation did, for operators: spans for OpenTelemetry, and the statements of slow operations.

Spans cost nothing while no collector is configured. Statements of an operation are always noted, by reference, so that
the log can show them when it was slow.
"""

from __future__ import annotations

import functools
import inspect
import pkgutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

MOST_STATEMENTS: Final = 500
"""Of one operation that are noted."""

Statements = list[tuple[str, float]]
"""``(SQL, seconds)``."""

STATEMENTS: Final[ContextVar[Statements | None]] = ContextVar("statements", default=None)
"""Where the statements of the operation that runs are noted."""

_tracer: trace.Tracer | None = None


def configure(endpoint: str | None, *, processor: SpanProcessor | None = None) -> TracerProvider | None:
    """Send spans to an OTLP collector over HTTP, or to ``processor``; the provider, to be shut down at the end."""
    global _tracer
    if endpoint is None and processor is None:
        _tracer = None
        return None
    provider = TracerProvider(resource=Resource.create({"service.name": "hutong"}), shutdown_on_exit=False)
    provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/v1/traces")))
    _tracer = provider.get_tracer("hutong")
    return provider


def tracing() -> bool:
    """Whether spans go anywhere."""
    return _tracer is not None


def trace_id() -> str:
    """Of the span that is open, as collectors show it; empty without one."""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else ""


_NOTHING: Final = nullcontext()


def span(name: str, **attributes: str | int) -> AbstractContextManager[Any]:
    """A span around a block; an exception that leaves it is recorded."""
    return _NOTHING if _tracer is None else _tracer.start_as_current_span(name, attributes=attributes)


def request_span(name: str, headers: Mapping[str, str]) -> AbstractContextManager[Any]:
    """The span of a request, in the trace that its caller says it belongs to (W3C Trace Context)."""
    if _tracer is None:
        return _NOTHING
    return _tracer.start_as_current_span(name, context=propagate.extract(headers), kind=SpanKind.SERVER)


def ran(sql: str, began: float) -> None:
    """A statement has run since ``began`` of ``time.perf_counter``."""
    seconds = time.perf_counter() - began
    statements = STATEMENTS.get()
    if statements is not None and len(statements) < MOST_STATEMENTS:
        statements.append((sql, seconds))
    if _tracer is not None:
        ended = time.time_ns()
        verb = sql.split(None, 1)[0].upper() if sql.strip() else "SQL"
        one = _tracer.start_span(
            verb,
            kind=SpanKind.CLIENT,
            start_time=ended - round(seconds * 1e9),
            attributes={"db.system.name": "postgresql", "db.query.text": shown(sql, 2_000)},
        )
        one.end(ended)


def shown(sql: str, longest: int = 300) -> str:
    """A statement in one line, shortened. Values are parameters and so not in it."""
    text = " ".join(sql.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


class Noting:
    """Notes the statements that run inside, also in tasks that are started there."""

    __slots__ = ("_token",)

    def __enter__(self) -> Statements:
        statements: Statements = []
        self._token = STATEMENTS.set(statements)
        return statements

    def __exit__(self, *_: object) -> None:
        STATEMENTS.reset(self._token)


def trace_functions(package: ModuleType) -> int:
    """Give every public coroutine function of a package's modules a span; how many there are.

    They are replaced where they are defined, so this works for callers that name the module. Done once, and only
    when spans go somewhere.
    """
    traced = 0
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        module = import_module(found.name)
        for name, value in list(vars(module).items()):
            own = inspect.iscoroutinefunction(value) and value.__module__ == module.__name__
            if own and not name.startswith("_") and not hasattr(value, "__wrapped__"):
                setattr(module, name, _traced(value, f"{module.__name__}.{name}"))
                traced += 1
    return traced


def _traced(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        with span(name):
            return await function(*args, **kwargs)

    return run


def failed(reason: str) -> None:
    """Mark the span that is open as failed."""
    if _tracer is not None:
        trace.get_current_span().set_status(StatusCode.ERROR, reason)
