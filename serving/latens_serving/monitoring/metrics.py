"""All metrics of the server.

They use base units. The values of labels come from the server, never from a caller's text.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from latens_serving.engine.batcher import BatchReport
from latens_serving.models.repository import Entry, Repository, State
from latens_serving.monitoring.call_metrics import CallCounts, GraphWaits
from latens_serving.monitoring.model_metrics import ModelCollector

# The creation times of the series would double their number, and process_start_time has the same
# information.
disable_created_metrics()

_GRAPH_LABELS = ("model", "graph")
_FAST = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_KL_NATS = (0.5, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 60, 100, 300)
_ERROR_NATS = (10, 25, 50, 75, 100, 125, 150, 175, 200, 250, 300, 400, 600, 1000, 3000, 10000)
_POWERS_OF_TWO = tuple(2**power for power in range(14))


class Metrics:
    """The metrics of one server process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._make_call_metrics()
        self._make_engine_metrics()
        self._make_drift_metrics()
        self._make_model_metrics()

    def _make_call_metrics(self) -> None:
        self.calls = CallCounts(self.registry, _FAST)
        self.refused = self._counter(
            "latens_refused_calls", "Calls that ended in an error, by its reason.", ("reason",)
        )

    def _make_engine_metrics(self) -> None:
        self._runs: dict[tuple[str, str, str], tuple[Histogram, Histogram]] = {}
        self.batch_rows = Histogram(
            "latens_batch_rows",
            "Rows of one run of an engine.",
            _GRAPH_LABELS,
            buckets=_POWERS_OF_TWO,
            registry=self.registry,
        )
        self.queue_wait = GraphWaits(self.registry, _FAST)
        self.inference = Histogram(
            "latens_inference_seconds",
            "Time of one run of an engine.",
            (*_GRAPH_LABELS, "provider"),
            buckets=_FAST,
            registry=self.registry,
        )
        self.failed_runs = self._counter(
            "latens_failed_runs", "Runs of an engine that failed.", _GRAPH_LABELS
        )
        self.recomputed_rows = self._counter(
            "latens_recomputed_rows",
            "Rows that were not finite in float16 and were computed again in float32.",
            _GRAPH_LABELS,
        )

    def _make_drift_metrics(self) -> None:
        self.posterior_kl = Histogram(
            "latens_posterior_kl_nats",
            "KL of the posterior to the prior, for a sample of the encoded images.",
            ("model",),
            buckets=_KL_NATS,
            registry=self.registry,
        )
        self.reconstruction = Histogram(
            "latens_reconstruction_error_nats",
            "Negative log-likelihood of an image given its posterior's mean, for the same sample.",
            ("model",),
            buckets=_ERROR_NATS,
            registry=self.registry,
        )

    def _make_model_metrics(self) -> None:
        self.ready = self._gauge(
            "latens_ready", "1 when the server answers calls, 0 before and after."
        )
        self.loop_lag = Histogram(
            "latens_event_loop_lag_seconds",
            "How late the event loop was, measured once a second.",
            buckets=_FAST,
            registry=self.registry,
        )
        self.loads = self._counter(
            "latens_model_loads", "Attempts to load a version of a model.", ("model", "result")
        )

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def ran(self, model: str, graph: str, provider: str, report: BatchReport) -> None:
        """Records one run of an engine."""
        key = (model, graph, provider)
        histograms = self._runs.get(key)
        if histograms is None:  # to look them up by their labels costs each run microseconds
            rows, seconds = self.batch_rows.labels(model, graph), self.inference.labels(*key)
            histograms = self._runs[key] = (rows, seconds)
        rows, seconds = histograms
        rows.observe(report.rows)
        seconds.observe(report.run_seconds)
        self.queue_wait.add(model, graph, report.wait_seconds)
        if report.failed:
            self.failed_runs.labels(model, graph).inc()

    def recomputed(self, model: str, graph: str, rows: int) -> None:
        """Counts rows that float16 could not hold."""
        self.recomputed_rows.labels(model, graph).inc(rows)

    def watch(self, models: Repository) -> None:
        """Exports the models of a repository, and counts their loads."""
        self.registry.register(ModelCollector(models))
        models.on_change(self._entry_changed)

    def _entry_changed(self, entry: Entry) -> None:
        if entry.state in (State.READY, State.FAILED):
            self.loads.labels(entry.name, "failed" if entry.reason else "ok").inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
