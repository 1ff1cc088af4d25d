"""Performs plans over a gRPC channel. `latens.async_transport` is the same with `await`."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from latens import health
from latens.channel import Connection
from latens.errors import CallCancelledError, LatensError, from_call
from latens.exchange import METHODS, Call, Exchange, Plan
from latens.health import Health

T = TypeVar("T")


@dataclass(frozen=True)
class Manners:
    """How calls are made."""

    timeout: float | None
    """Seconds for each."""
    max_in_flight: int
    """How many calls of one batch may be under way at a time."""


class Transport:
    """A channel, and what runs plans on it."""

    def __init__(self, connection: Connection, manners: Manners) -> None:
        self._connection = connection
        self._manners = manners
        self._channel = self._open(health_checked=True)
        self._methods: dict[str, Any] = {
            method.path: self._channel.unary_unary(method.path) for method in METHODS
        }

    def run(self, plan: Plan[T]) -> T:
        """Performs a plan's exchanges, and throws what fails into it."""
        try:
            exchange = next(plan)
            while True:
                try:
                    self._perform(exchange)
                except LatensError as error:
                    exchange = plan.throw(error)
                else:
                    exchange = next(plan)
        except StopIteration as end:
            result: T = end.value
            return result

    def check(self, service: str) -> Health:
        """The answer of the health service, on a channel that also calls who is NOT_SERVING."""
        with self._open(health_checked=False) as channel:
            call: Any = channel.unary_unary(health.CHECK_PATH)
            try:
                payload = call(health.request(service), **self._call_options())
            except grpc.RpcError as error:
                raise health.failure(error, service) from None
        return health.answer(payload)

    def close(self) -> None:
        self._channel.close()

    def _open(self, *, health_checked: bool) -> grpc.Channel:
        target = self._connection.target()
        options = self._connection.options(health_checked=health_checked)
        if self._connection.tls is None:
            return grpc.insecure_channel(target, options)
        return grpc.secure_channel(target, self._connection.tls.credentials(), options)

    def _call_options(self) -> dict[str, Any]:
        return {"timeout": self._manners.timeout, "metadata": self._connection.metadata()}

    def _perform(self, exchange: Exchange) -> None:
        calls = iter(exchange.calls)
        leading = list(itertools.islice(calls, 2))
        try:
            if len(leading) == 1:
                self._perform_alone(leading[0], exchange)
            else:
                self._perform_together(itertools.chain(leading, calls), exchange)
        except grpc.FutureCancelledError:
            raise CallCancelledError("the client was closed during the call") from None
        except grpc.RpcError as error:
            raise from_call(error) from None

    def _perform_alone(self, call: Call, exchange: Exchange) -> None:
        """A call that blocks takes half the time of one that may be waited for from anywhere."""
        payload = call.payload(self._connection.max_message_bytes)
        ask = self._methods[call.method.path]
        exchange.take(call.answer(ask(payload, **self._call_options())))

    def _perform_together(self, calls: Iterator[Call], exchange: Exchange) -> None:
        pending: deque[tuple[Call, Any]] = deque()
        try:
            while True:
                while len(pending) < self._manners.max_in_flight and (call := next(calls, None)):
                    payload = call.payload(self._connection.max_message_bytes)
                    start = self._methods[call.method.path].future
                    pending.append((call, start(payload, **self._call_options())))
                if not pending:
                    return
                call, handle = pending[0]
                exchange.take(call.answer(handle.result()))
                pending.popleft()
        finally:
            for _, handle in pending:
                handle.cancel()
