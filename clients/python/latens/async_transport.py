"""Performs plans over a grpc.aio channel. `latens.transport` is the same without `await`."""

from __future__ import annotations

from collections import deque
from typing import Any, TypeVar

import grpc

from latens import health
from latens.channel import Connection
from latens.errors import LatensError, from_call
from latens.exchange import METHODS, Exchange, Plan
from latens.health import Health
from latens.transport import Manners

T = TypeVar("T")


class AsyncTransport:
    """A channel of the event loop of its first call, and what runs plans on it."""

    def __init__(self, connection: Connection, manners: Manners) -> None:
        connection.target()  # a wrong address is told here, not at the first call
        self._connection = connection
        self._manners = manners
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, Any] = {}

    async def run(self, plan: Plan[T]) -> T:
        """Performs a plan's exchanges, and throws what fails into it."""
        try:
            exchange = next(plan)
            while True:
                try:
                    await self._perform(exchange)
                except LatensError as error:
                    exchange = plan.throw(error)
                else:
                    exchange = next(plan)
        except StopIteration as end:
            result: T = end.value
            return result

    async def check(self, service: str) -> Health:
        """The answer of the health service, on a channel that also calls who is NOT_SERVING."""
        async with self._open(health_checked=False) as channel:
            call: Any = channel.unary_unary(health.CHECK_PATH)
            try:
                payload = await call(health.request(service), **self._call_options())
            except grpc.RpcError as error:
                raise health.failure(error, service) from None
        return health.answer(payload)

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _open(self, *, health_checked: bool) -> grpc.aio.Channel:
        target = self._connection.target()
        options = self._connection.options(health_checked=health_checked)
        if self._connection.tls is None:
            return grpc.aio.insecure_channel(target, options)
        return grpc.aio.secure_channel(target, self._connection.tls.credentials(), options)

    def _method(self, path: str) -> Any:
        if self._channel is None:
            self._channel = self._open(health_checked=True)
            self._methods = {
                method.path: self._channel.unary_unary(method.path) for method in METHODS
            }
        return self._methods[path]

    def _call_options(self) -> dict[str, Any]:
        return {"timeout": self._manners.timeout, "metadata": self._connection.metadata()}

    async def _perform(self, exchange: Exchange) -> None:
        calls = iter(exchange.calls)
        pending: deque[tuple[Any, Any]] = deque()
        try:
            while True:
                while len(pending) < self._manners.max_in_flight and (call := next(calls, None)):
                    payload = call.payload(self._connection.max_message_bytes)
                    start = self._method(call.method.path)
                    pending.append((call, start(payload, **self._call_options())))
                if not pending:
                    return
                call, handle = pending[0]
                exchange.take(call.answer(await handle))
                pending.popleft()
        except grpc.RpcError as error:
            raise from_call(error) from None
        finally:
            for _, handle in pending:
                handle.cancel()
