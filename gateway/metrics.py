"""What Prometheus reads at ``/metrics``."""

from __future__ import annotations

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from services import jobs

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

OPERATION_SECONDS: Final = Histogram(
    "hutong_operation_seconds",
    "Time to execute an operation; for subscriptions, one event.",
    ["view", "type"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
    registry=REGISTRY,
)
OPERATION_ERRORS: Final = Counter(
    "hutong_operation_errors_total", "Errors in answers, by code.", ["view", "type", "code"], registry=REGISTRY
)
EXECUTIONS: Final = Counter(
    "hutong_executions_total",
    "Operations executed, events included, by what executed them: compiled code, or graphql-core for a reason.",
    ["engine", "reason"],
    registry=REGISTRY,
)
COMPILATION_SECONDS: Final = Histogram(
    "hutong_compilation_seconds",
    "Time to compile an operation.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1),
    registry=REGISTRY,
)
COMPILED_BYTES: Final = Gauge(
    "hutong_compiled_bytes", "Code of the operations that are kept compiled.", ["kind"], registry=REGISTRY
)
NOT_COMPILED: Final = Counter(
    "hutong_operations_not_compiled_total", "Operations that the compiler does not take.", ["reason"], registry=REGISTRY
)
OPERATIONS_REFUSED: Final = Counter(
    "hutong_operations_refused_total", "Operations not executed, by code.", ["view", "code"], registry=REGISTRY
)
REGISTRY.register(jobs.RUNS)


def exposition() -> bytes:
    """All metrics in the Prometheus text format."""
    return generate_latest(REGISTRY)
