"""Performs plans over a gRPC channel. `latens.async_transport` is the same with `await`."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Any, TypeVar

import grpc

from latens import health
from latens.calls import METHODS, Call, CallGroup, Plan
from latens.channel import Connection
from latens.errors import CallCancelledError, ClientClosedError, LatensError, from_call
from latens.health import Health
from latens.options import CallOptions
from latens.tls_diagnosis import explained

T = TypeVar("T")


class Transport:
    """A channel that performs plans."""

    def __init__(self, connection: Connection, options: CallOptions) -> None:
        self._connection = connection
        self._options = options
        self._closed = False
        self._answered = False
        self._channel = self._open(health_checked=True)
        self._methods: dict[str, Any] = {
            method.path: self._channel.unary_unary(method.path) for method in METHODS
        }

    def run(self, plan: Plan[T], timeout: float | None = None) -> T:
        """Performs a plan's calls, and throws failures into it.

        Args:
            plan: of a method of the client.
            timeout: seconds for each call; None for the client's.
        """
        seconds = self._options.timeout_of(timeout)
        try:
            group = next(plan)
            while True:
                try:
                    self._perform(group, seconds)
                except LatensError as error:
                    group = plan.throw(error)
                else:
                    group = next(plan)
        except StopIteration as end:
            result: T = end.value
            return result

    def check(self, service: str, timeout: float | None = None) -> Health:
        """Asks the health service, on a channel that also calls servers that are NOT_SERVING."""
        self._require_open()
        seconds = self._options.timeout_of(timeout)
        with self._open(health_checked=False) as channel:
            call: Any = channel.unary_unary(health.CHECK_PATH)
            try:
                payload = call(health.request(service), **self._call_arguments(seconds))
            except grpc.RpcError as error:
                failure = health.failure(error, service, seconds)
                raise self._explained(failure) from None
        self._answered = True
        return health.answer(payload)

    def close(self) -> None:
        self._closed = True
        self._channel.close()

    def _require_open(self) -> None:
        if self._closed:
            raise ClientClosedError("the client is closed")

    def _explained(self, error: LatensError) -> LatensError:
        return explained(error, self._connection, answered=self._answered)

    def _open(self, *, health_checked: bool) -> grpc.Channel:
        target = self._connection.location().target
        options = self._connection.options(health_checked=health_checked)
        tls = self._connection.encryption()
        if tls is None:
            return grpc.insecure_channel(target, options)
        return grpc.secure_channel(target, tls.credentials(), options)

    def _call_arguments(self, seconds: float | None) -> dict[str, Any]:
        return {"timeout": seconds, "metadata": self._connection.metadata()}

    def _perform(self, group: CallGroup, seconds: float | None) -> None:
        self._require_open()
        calls = iter(group.calls)
        leading = list(itertools.islice(calls, 2))
        try:
            if len(leading) == 1:
                self._perform_alone(leading[0], group, seconds)
            else:
                self._perform_together(itertools.chain(leading, calls), group, seconds)
            self._answered = True
        except grpc.FutureCancelledError:
            raise CallCancelledError("the client was closed during the call") from None
        except grpc.RpcError as error:
            raise self._explained(from_call(error, seconds)) from None
        except ValueError as error:
            if self._closed:  # by another thread, between two calls
                raise ClientClosedError("the client was closed during the call") from error
            raise

    def _perform_alone(self, call: Call, group: CallGroup, seconds: float | None) -> None:
        """Blocks on a call, which takes half the time of a future."""
        payload = call.payload(self._connection.max_message_bytes)
        ask = self._methods[call.method.path]
        group.take(call.answer(ask(payload, **self._call_arguments(seconds))))

    def _perform_together(
        self, calls: Iterator[Call], group: CallGroup, seconds: float | None
    ) -> None:
        pending: deque[tuple[Call, Any]] = deque()
        try:
            while True:
                while len(pending) < self._options.max_in_flight and (call := next(calls, None)):
                    payload = call.payload(self._connection.max_message_bytes)
                    start = self._methods[call.method.path].future
                    pending.append((call, start(payload, **self._call_arguments(seconds))))
                if not pending:
                    return
                call, handle = pending[0]
                group.take(call.answer(handle.result()))
                pending.popleft()
        finally:
            for _, handle in pending:
                handle.cancel()
