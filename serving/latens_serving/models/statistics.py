"""What a graph has done since it was loaded: counts and durations, as inference protocols ask."""

from __future__ import annotations

import time

from latens_serving.engine.batch import BatchReport

_NANOSECONDS = 1e9


class GraphStatistics:
    """Sums over the runs of one graph. Touched by the event loop alone.

    Attributes:
        calls: parts of calls that were run, whatever protocol brought them.
        rows: rows that were run.
        runs: times that the graph ran.
        queue_ns: what the calls waited, in all, nanoseconds.
        infer_ns: the run's duration for each call of it, in all, nanoseconds.
        input_ns: reading and checking inputs, where the protocol measures it, nanoseconds.
        output_ns: writing outputs, where the protocol measures it, nanoseconds.
        failed_calls: calls whose run failed.
        failed_ns: what those took, nanoseconds.
        last_run_ms: when the last run ended, milliseconds since 1970.
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
