"""What Prometheus reads at ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
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
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from services import jobs, webhooks
from subscriptions import signals, tail

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
REGISTERED_SECONDS: Final = Histogram(
    "hutong_registered_operation_seconds",
    "Time to answer a registered query or mutation, by its name and the beginning of its document's id.",
    ["view", "name", "document"],
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
    "hutong_compiled_bytes", "Estimated memory of the operations that are kept compiled; of those that are not "
    "registered, with their syntax trees.", ["kind"], registry=REGISTRY,
)  # fmt: skip
NOT_COMPILED: Final = Counter(
    "hutong_operations_not_compiled_total", "Operations that the compiler does not take.", ["reason"], registry=REGISTRY
)
UNREGISTERED: Final = Counter(
    "hutong_unregistered_documents_total",
    "Documents that nobody registered, in views whose policy is to log them.",
    ["view"],
    registry=REGISTRY,
)
_POINTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
REQUESTED_COST: Final = Histogram(
    "hutong_requested_cost",
    "What admitted operations may cost, in points; of subscriptions, one event.",
    ["view"],
    buckets=_POINTS,
    registry=REGISTRY,
)
ACTUAL_COST: Final = Histogram(
    "hutong_actual_cost", "What queries and mutations did cost.", ["view"], buckets=_POINTS, registry=REGISTRY
)
EVENT_POINTS: Final = Counter(
    "hutong_event_points_total", "What delivered events of subscriptions did cost.", registry=REGISTRY
)
OPERATIONS_REFUSED: Final = Counter(
    "hutong_operations_refused_total", "Operations not executed, by code.", ["view", "code"], registry=REGISTRY
)
for metric in (jobs.RUNS, *webhooks.METRICS, *signals.METRICS, *tail.METRICS):
    REGISTRY.register(metric)


class Tally:
    """Counts for a counter what is too frequent to take its lock each time."""

    __slots__ = ("_counter", "_unsaid")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._unsaid = 0
        _tallies.append(self)

    def inc(self) -> None:
        self._unsaid += 1

    def say(self) -> None:
        """Bring the counter up to date."""
        unsaid, self._unsaid = self._unsaid, 0
        self._counter.inc(unsaid)


_tallies: Final[list[Tally]] = []


@cache
def requested_cost(view: str) -> Histogram:
    """The series of :data:`REQUESTED_COST` of a view."""
    return REQUESTED_COST.labels(view)


@cache
def actual_cost(view: str) -> Histogram:
    """The series of :data:`ACTUAL_COST` of a view."""
    return ACTUAL_COST.labels(view)


def exposition(worker: str | None = None) -> bytes:
    """All metrics of this process in the Prometheus text format; with ``worker``, every series has that label."""
    for tally in _tallies:
        tally.say()
    return generate_latest(REGISTRY if worker is None else _Labelled(worker))


class _Labelled(Collector):
    """The registry, with one label more."""

    def __init__(self, worker: str) -> None:
        self._label = {"worker": worker}

    def collect(self) -> Iterator[Metric]:
        for metric in REGISTRY.collect():
            metric.samples = [sample._replace(labels=sample.labels | self._label) for sample in metric.samples]
            yield metric


def merge(expositions: Iterable[str]) -> str:
    """One exposition of several whose series differ by a label: each family's header once, then its series."""
    families: dict[str, list[str]] = {}
    for text in expositions:
        header = ""
        for line in text.splitlines(keepends=True):
            if line.startswith("# HELP "):
                header = line
            elif line.startswith("# TYPE "):
                header += line
                families.setdefault(header, [])
            else:
                families[header].append(line)
    return "".join(header + "".join(series) for header, series in families.items())
