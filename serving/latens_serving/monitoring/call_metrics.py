"""Cheap counts of calls, which are converted to metrics when they are read.

A counter of prometheus_client takes a lock for each increment; six of them take a tenth of a call's
time. These counts are plain numbers that only the event loop changes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry


class Durations:
    """A histogram of seconds."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Creates an empty histogram with these upper bounds, and infinity."""
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._total += seconds

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Adds what was counted to a metric."""
        buckets: list[tuple[str, float]] = []
        sofar = 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            sofar += count
            buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), sofar))
        family.add_metric(labels, buckets, self._total)


class MethodCounts:
    """The calls of one RPC method."""

    __slots__ = ("duration", "handled", "handled_well", "in_flight", "rows", "started")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.started = 0
        self.in_flight = 0
        self.handled_well = 0
        self.handled: dict[str, int] = {}
        """Calls that ended with an error, by the name of the status code."""
        self.rows: dict[str, int] = {}
        """Rows answered, by model."""
        self.duration = Durations(bounds)

    def count_handled(self, code: str) -> None:
        self.handled[code] = self.handled.get(code, 0) + 1

    def count_rows(self, model: str, rows: int) -> None:
        self.rows[model] = self.rows.get(model, 0) + rows


MethodLabels = tuple[str, str, str]  # kind, service, method


class CallCounts(Collector):
    """The counts of all methods, as metrics."""

    def __init__(self, registry: CollectorRegistry, bounds: Sequence[float]) -> None:
        """Registers itself; `bounds` are those of the durations, in seconds."""
        self._bounds = bounds
        self._methods: dict[MethodLabels, MethodCounts] = {}
        registry.register(self)

    def of(self, kind: str, service: str, method: str) -> MethodCounts:
        """The counts of one method, created at the first request."""
        return self._methods.setdefault((kind, service, method), MethodCounts(self._bounds))

    def collect(self) -> Iterator[Metric]:
        methods = sorted(self._methods.items())
        labels = ("grpc_type", "grpc_service", "grpc_method")
        started = CounterMetricFamily(
            "grpc_server_started", "RPCs started on the server.", labels=labels
        )
        handled = CounterMetricFamily(
            "grpc_server_handled", "RPCs completed on the server.", labels=(*labels, "grpc_code")
        )
        duration = HistogramMetricFamily(
            "grpc_server_handling_seconds",
            "Time from the start of an RPC's handler to its end.",
            labels=labels,
        )
        rows = CounterMetricFamily(
            "latens_rows", "Rows answered, by model and method.", labels=("model", "grpc_method")
        )
        in_flight = GaugeMetricFamily(
            "latens_calls_in_flight",
            "Calls that were accepted and not yet answered.",
            value=sum(counts.in_flight for _, counts in methods),
        )
        for names, counts in methods:
            started.add_metric(names, counts.started)
            for code, count in {"OK": counts.handled_well, **counts.handled}.items():
                if count:
                    handled.add_metric((*names, code), count)
            counts.duration.add_to(duration, names)
        for model, method, count in _rows_by_method(methods):
            rows.add_metric((model, method), count)
        return iter((started, handled, duration, rows, in_flight))


def _rows_by_method(
    methods: Iterable[tuple[MethodLabels, MethodCounts]],
) -> Iterator[tuple[str, str, int]]:
    """Rows by model and method; a method of the same name may be in two services."""
    sums: dict[tuple[str, str], int] = {}
    for (_, _, method), counts in methods:
        for model, rows in counts.rows.items():
            sums[model, method] = sums.get((model, method), 0) + rows
    for (model, method), rows in sums.items():
        yield model, method, rows


class GraphWaits(Collector):
    """How long calls waited for an engine, by model and graph."""

    def __init__(self, registry: CollectorRegistry, bounds: Sequence[float]) -> None:
        """Registers itself; `bounds` in seconds."""
        self._bounds = bounds
        self._graphs: dict[tuple[str, str], Durations] = {}
        registry.register(self)

    def add(self, model: str, graph: str, waits: Iterable[float]) -> None:
        """Counts the calls of one run."""
        durations = self._graphs.get((model, graph))
        if durations is None:
            durations = self._graphs[model, graph] = Durations(self._bounds)
        for seconds in waits:
            durations.add(seconds)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(
            "latens_queue_wait_seconds",
            "Time that a call waited for the engine.",
            labels=("model", "graph"),
        )
        for labels, durations in sorted(self._graphs.items()):
            durations.add_to(family, labels)
        yield family
