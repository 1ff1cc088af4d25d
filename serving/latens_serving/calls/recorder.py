"""What is recorded of every call, whatever transport carried it: metrics, a log line, incidents."""

from __future__ import annotations

import logging
import secrets
import time

import grpc
from google.rpc import status_pb2

from latens_serving.calls import status
from latens_serving.calls.context import CallContext
from latens_serving.monitoring.call_metrics import MethodCounts
from latens_serving.monitoring.metrics import Metrics

log = logging.getLogger("latens_serving.calls")

_HEALTH = "/grpc.health.v1.Health/"


class CallRecorder:
    """Records the calls of one RPC method."""

    def __init__(
        self,
        method: str,
        counts: MethodCounts,
        metrics: Metrics,
        log_calls: str,
        *,
        is_stream: bool = False,
    ) -> None:
        """Creates the recorder of a method.

        Args:
            method: the full name, `/package.Service/Method`.
            counts: the counts of the method; what begins a call counts it there.
            metrics: where errors are counted.
            log_calls: which calls get a line: `all`, `failures` or `none`.
            is_stream: whether its calls last until the caller ends them.
        """
        self.method = method
        self._metrics = metrics
        self._log_calls = log_calls
        self._counts = counts
        is_health = method.startswith(_HEALTH)
        self._daily = {grpc.StatusCode.OK}
        """Codes that are no failure of such a method: watches end, and probes name services."""
        if is_stream or is_health:
            self._daily.add(grpc.StatusCode.CANCELLED)
        if is_health:
            self._daily.add(grpc.StatusCode.NOT_FOUND)

    def end(self, call: CallContext, code: grpc.StatusCode, reason: str) -> None:
        """A call ends; `reason` is the error's, empty if there was none."""
        counts = self._counts
        counts.in_flight -= 1
        seconds = time.monotonic() - call.begun
        counts.duration.add(seconds)
        ok = code is grpc.StatusCode.OK
        if ok:
            counts.handled_well += 1
            if call.rows:
                counts.count_rows(call.model, call.rows)
        else:
            counts.count_handled(code.name)
        if reason:
            self.count_refusal(reason)
        if self._log_calls == "all" or (self._log_calls == "failures" and code not in self._daily):
            facts = {
                "method": self.method,
                "code": code.name,
                "reason": reason,
                "model": call.model,
                "version": call.version,
                "rows": call.rows,
                "seconds": round(seconds, 6),
                "request_id": call.request_id,
            }
            log.info("call", extra={"facts": facts})

    def count_rows(self, call: CallContext) -> None:
        """Counts the rows of an answer."""
        if call.rows:
            self._counts.count_rows(call.model, call.rows)

    def count_refusal(self, reason: str) -> None:
        """Counts an error by its reason."""
        self._metrics.refused.labels(reason).inc()

    def incident(self, call: CallContext, error: BaseException) -> status_pb2.Status:
        """Logs an error of the server itself under a new name, which is all that callers see."""
        name = secrets.token_hex(8)
        facts = {"incident": name, "method": self.method, "request_id": call.request_id}
        log.error("internal error", exc_info=error, extra={"facts": facts})
        return status.status_of_incident(name)
