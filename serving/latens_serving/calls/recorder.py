"""What is written down of every call, whatever carried it: metrics, a log line, incidents."""

from __future__ import annotations

import logging
import secrets
import time

import grpc
from google.rpc import status_pb2

from latens_serving.calls import status
from latens_serving.calls.context import CallContext
from latens_serving.monitoring.metrics import Metrics

log = logging.getLogger("latens_serving.calls")


class MethodAccount:
    """The account of one RPC method."""

    def __init__(self, method: str, kind: str, metrics: Metrics, log_calls: str) -> None:
        """Opens it.

        Args:
            method: the full name, `/package.Service/Method`.
            kind: `unary`, `server_stream` or `bidi_stream`.
            metrics: where it is counted.
            log_calls: which calls get a line: `all`, `failures` or `none`.
        """
        _, service, self._name = method.rsplit("/", 2)
        self.method = method
        self._metrics = metrics
        self._log_calls = log_calls
        self._tally = metrics.calls.of(kind, service, self._name)

    def begin(self) -> float:
        """A call begins; returns when, for `end`."""
        self._tally.started += 1
        self._tally.in_flight += 1
        return time.monotonic()

    def end(self, call: CallContext, begun: float, code: grpc.StatusCode, reason: str) -> None:
        """A call ends; `reason` is the error's, empty if there was none."""
        tally = self._tally
        tally.in_flight -= 1
        seconds = time.monotonic() - begun
        tally.duration.add(seconds)
        ok = code is grpc.StatusCode.OK
        if ok:
            tally.handled_well += 1
        else:
            tally.count_handled(code.name)
        if reason:
            self._metrics.refused.labels(reason).inc()
        elif call.rows and ok:
            tally.count_rows(call.model, call.rows)
        if self._log_calls == "all" or (self._log_calls == "failures" and not ok):
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

    def incident(self, call: CallContext, error: BaseException) -> status_pb2.Status:
        """Logs a failure of ours under a new name; the caller is told that name and no more."""
        name = secrets.token_hex(8)
        facts = {"incident": name, "method": self.method, "request_id": call.request_id}
        log.error("internal error", exc_info=error, extra={"facts": facts})
        return status.status_of_incident(name)
