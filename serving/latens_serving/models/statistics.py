"""Counts the runs of a graph: sums since it was loaded, and reports to an observer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from latens_serving.engine.batch import BatchReport

_NANOSECONDS = 1e9


class GraphStatistics:
    """Sums over the runs of one graph. Belongs to the event loop.

    Attributes:
        calls: parts of calls that were run, over every protocol.
        rows: rows that were run.
        runs: runs of the graph.
        queue_ns: the sum of the calls' waits, nanoseconds.
        infer_ns: the sum over the calls of the duration of their run, nanoseconds.
        input_ns: reading and checking inputs, where the protocol measures it, nanoseconds.
        output_ns: writing outputs, where the protocol measures it, nanoseconds.
        failed_calls: calls whose run failed.
        failed_ns: the time of those calls, nanoseconds.
        last_run_ms: the end of the last run, milliseconds since 1970.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.rows = 0
        self.runs = 0
        self.queue_ns = 0
        self.infer_ns = 0
        self.input_ns = 0
        self.output_ns = 0
        self.failed_calls = 0
        self.failed_ns = 0
        self.last_run_ms = 0

    def add(self, report: BatchReport) -> None:
        """Counts one run."""
        calls = len(report.wait_seconds)
        waited = int(sum(report.wait_seconds) * _NANOSECONDS)
        ran = int(report.run_seconds * _NANOSECONDS) * calls
        self.last_run_ms = time.time_ns() // 1_000_000
        if report.failed:
            self.failed_calls += calls
            self.failed_ns += waited + ran
            return
        self.runs += 1
        self.calls += calls
        self.rows += report.rows
        self.queue_ns += waited
        self.infer_ns += ran


class ModelObserver(Protocol):
    """Receives the events of loaded models."""

    def ran(self, model: str, graph: str, provider: str, report: BatchReport) -> None:
        """Called after each run."""

    def recomputed(self, model: str, graph: str, rows: int) -> None:
        """Called when rows are computed again in float32, since float16 could not hold them."""

    def lost(self, model: str, graph: str, error: BaseException) -> None:
        """Called when an engine is lost; only a new process helps."""


@dataclass(frozen=True, slots=True)
class GraphRecorder:
    """Records the runs of one graph of one model."""

    model: str
    graph: str
    provider: str
    statistics: GraphStatistics
    observer: ModelObserver

    def ran(self, report: BatchReport) -> None:
        self.statistics.add(report)
        self.observer.ran(self.model, self.graph, self.provider, report)

    def lost(self, error: BaseException) -> None:
        self.observer.lost(self.model, self.graph, error)
