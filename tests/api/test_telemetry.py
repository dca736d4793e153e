"""What operators see of an operation: spans from the request down to its SQL, slow ones with their statements."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from core import telemetry
from tests.api.city import City
from tests.realtime.log import until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
STORE = "query Named($id: ID!) { store(id: $id) { name } }"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = telemetry.configure(None, processor=SimpleSpanProcessor(exporter))
    assert provider is not None
    yield exporter
    telemetry.configure(None)
    provider.shutdown()


async def named(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    """The only span of that name; it may end a moment after the answer is there."""

    def found() -> list[ReadableSpan]:
        return [span for span in spans.get_finished_spans() if span.name == name]

    await until(found)
    (span,) = found()
    return span


def parent_of(span: ReadableSpan) -> str:
    return format(span.parent.span_id, "016x") if span.parent else ""


async def test_a_request_is_one_trace_from_http_to_sql(city: City, spans: InMemorySpanExporter) -> None:
    body = {"query": STORE, "variables": {"id": city.store}}
    status, _ = await city.post(body, city.tokens["consumer"], traceparent=f"00-{TRACE}-{PARENT}-01")
    assert status == 200
    await named(spans, "POST /graphql")
    found = [s for s in spans.get_finished_spans() if format(s.context.trace_id, "032x") == TRACE]
    (request,) = [s for s in found if s.name == "POST /graphql"]
    assert parent_of(request) == PARENT and dict(request.attributes or {})["http.response.status_code"] == 200
    (operation,) = [s for s in found if s.name == "query Named"]
    assert parent_of(operation) == format(request.context.span_id, "016x")
    inside = [s for s in found if parent_of(s) == format(operation.context.span_id, "016x")]
    assert any("FROM store" in str(dict(s.attributes or {}).get("db.query.text")) for s in inside), found
    assert city.store not in str([dict(s.attributes or {}) for s in inside]), "values are no part of spans"


async def test_an_operation_with_errors_is_a_failed_span(city: City, spans: InMemorySpanExporter) -> None:
    await city.post({"query": "query Wrong { myOrders(first: 0) { nodes { id } } }"}, city.tokens["consumer"])
    operation = await named(spans, "query Wrong")
    assert operation.status.description == "INVALID_INPUT"


async def test_without_a_collector_there_are_no_spans(city: City) -> None:
    assert not telemetry.tracing() and telemetry.trace_id() == ""
    with telemetry.span("x"), telemetry.request_span("y", {}):
        pass
    assert (await city.post({"query": "{ cities { slug } }"}))[0] == 200


async def test_a_slow_operation_is_logged_with_its_statements(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(city.program.gateway, "_slow", timedelta(0).total_seconds())
    with structlog.testing.capture_logs() as logs:
        await city.post({"query": STORE, "variables": {"id": city.store}}, city.tokens["consumer"])
        await until(lambda: any(entry["event"] == "slow operation" for entry in logs))
    (told,) = [entry for entry in logs if entry["event"] == "slow operation"]
    assert told["name"] == "Named" and told["statements"] >= 1 and told["sql_ms"] > 0
    assert any("FROM store" in each["sql"] for each in told["slowest"])
    assert city.store not in str(told)


async def test_registered_operations_are_measured_by_their_name(city: City) -> None:
    operation = next(o for o in city.program.gateway.operations.all() if o.name == "Cities")
    await city.post({"documentId": operation.document.id}, city.tokens["consumer"])
    async with city.http.get(f"{city.url}/metrics") as response:
        text = await response.text()
    assert f'hutong_registered_operation_seconds_count{{document="{operation.document.id[:16]}",name="Cities"' in text


async def test_the_functions_of_services_are_spans(
    tmp_path: Path, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "traced_services"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "work.py").write_text(
        "async def public(x):\n    return await _private(x)\n\n"
        "async def _private(x):\n    return x + 1\n\ndef plain(): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert telemetry.trace_functions(import_module("traced_services")) == 1
    work = sys.modules["traced_services.work"]
    assert await work.public(1) == 2
    assert telemetry.trace_functions(import_module("traced_services")) == 0, "once"
    assert [s.name for s in spans.get_finished_spans()] == ["traced_services.work.public"]
