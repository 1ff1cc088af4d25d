"""Performs plans over a grpc.aio channel. `latens.transport` is the same without `await`."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, TypeVar

import grpc

from latens import health
from latens.calls import METHODS, CallGroup, Plan
from latens.channel import Connection
from latens.errors import CallCancelledError, ClientClosedError, LatensError, from_call
from latens.health import Health
from latens.options import CallOptions
from latens.tls_diagnosis import explained

T = TypeVar("T")


class AsyncTransport:
    """A channel of the event loop of its first call, which performs plans."""

    def __init__(self, connection: Connection, options: CallOptions) -> None:
        connection.location()  # refuses an invalid address now, not at the first call
        self._connection = connection
        self._options = options
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, Any] = {}
        self._closed = False
        self._answered = False

    async def run(self, plan: Plan[T], timeout: float | None = None) -> T:
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
                    await self._perform(group, seconds)
                except LatensError as error:
                    group = plan.throw(error)
                else:
                    group = next(plan)
        except StopIteration as end:
            result: T = end.value
            return result

    async def check(self, service: str, timeout: float | None = None) -> Health:
        """Asks the health service, on a channel that also calls servers that are NOT_SERVING."""
        self._require_open()
        seconds = self._options.timeout_of(timeout)
        async with self._open(health_checked=False) as channel:
            call: Any = channel.unary_unary(health.CHECK_PATH)
            try:
                payload = await call(health.request(service), **self._call_arguments(seconds))
            except grpc.RpcError as error:
                failure = health.failure(error, service, seconds)
                raise await self._explained(failure) from None
        self._answered = True
        return health.answer(payload)

    async def close(self) -> None:
        self._closed = True
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _require_open(self) -> None:
        if self._closed:
            raise ClientClosedError("the client is closed")

    def _open(self, *, health_checked: bool) -> grpc.aio.Channel:
        target = self._connection.location().target
        options = self._connection.options(health_checked=health_checked)
        tls = self._connection.encryption()
        if tls is None:
            return grpc.aio.insecure_channel(target, options)
        return grpc.aio.secure_channel(target, tls.credentials(), options)

    def _method(self, path: str) -> Any:
        self._require_open()
        if self._channel is None:
            self._channel = self._open(health_checked=True)
            self._methods = {
                method.path: self._channel.unary_unary(method.path) for method in METHODS
            }
        return self._methods[path]

    def _call_arguments(self, seconds: float | None) -> dict[str, Any]:
        return {"timeout": seconds, "metadata": self._connection.metadata()}

    async def _perform(self, group: CallGroup, seconds: float | None) -> None:
        self._require_open()
        calls = iter(group.calls)
        pending: deque[tuple[Any, Any]] = deque()
        try:
            while True:
                while len(pending) < self._options.max_in_flight and (call := next(calls, None)):
                    payload = call.payload(self._connection.max_message_bytes)
                    start = self._method(call.method.path)
                    pending.append((call, start(payload, **self._call_arguments(seconds))))
                if not pending:
                    return
                call, handle = pending[0]
                group.take(call.answer(await handle))
                self._answered = True
                pending.popleft()
        except grpc.RpcError as error:
            raise await self._explained(from_call(error, seconds)) from None
        except asyncio.CancelledError:
            if self._closed and not _is_being_cancelled():
                raise CallCancelledError("the client was closed during the call") from None
            raise
        finally:
            for _, handle in pending:
                handle.cancel()

    async def _explained(self, error: LatensError) -> LatensError:
        return await asyncio.to_thread(explained, error, self._connection, answered=self._answered)


def _is_being_cancelled() -> bool:
    """Whether the task itself is cancelled, and not only the call that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
