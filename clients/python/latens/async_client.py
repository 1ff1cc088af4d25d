"""The client for asyncio: as `latens.Client`, method by method, with `await`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from latens import health, operations
from latens.channel import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, MAX_MESSAGE_BYTES, Connection, Tls
from latens.chunks import Address, Progress
from latens.errors import LatensError, from_call
from latens.exchange import METHODS, Exchange, Plan
from latens.health import Health
from latens.models import Model
from latens.operations import Ends, Mode, Operation, Walk
from latens.plans import Plans
from latens.results import Decoding, Encoding, Models, Paths, Samples

T = TypeVar("T")


class AsyncClient:
    """A connection to a server for asyncio; see `Client`, whose arguments and methods it shares.

    Made anywhere, it belongs to the event loop of its first call. A task that is cancelled cancels
    its calls.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        tls: Tls | None = None,
        token: str | Callable[[], str] | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        max_in_flight: int = 4,
        rows_per_call: int | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._connection = Connection(address, tls, token, max_message_bytes)
        self._plans = Plans(max_message_bytes, rows_per_call)
        self._timeout = timeout
        self._max_in_flight = max_in_flight
        self._connection.target()  # a wrong address is told here, not at the first call
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, Any] = {}

    async def models(self) -> Models:
        """See `Client.models`."""
        return await self._drive(self._plans.list_models())

    async def model(self, model: str = "", version: str = "") -> Model:
        """See `Client.model`."""
        return await self._drive(self._plans.model(Address(model, version)))

    async def encode(
        self,
        images: ArrayLike,
        *,
        model: str = "",
        version: str = "",
        draw: bool = False,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Encoding:
        """See `Client.encode`."""
        return await self._run(operations.Encode(images, draw, seed), model, version, progress)

    async def decode(
        self,
        latents: ArrayLike,
        *,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
    ) -> Decoding:
        """See `Client.decode`."""
        return await self._run(operations.Decode(latents, image_dtype), model, version, progress)

    async def sample(
        self,
        count: int,
        *,
        model: str = "",
        version: str = "",
        seed: int | None = None,
        temperature: float | None = None,
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
    ) -> Samples:
        """See `Client.sample`."""
        sample = operations.Sample(count, seed, temperature, image_dtype)
        return await self._run(sample, model, version, progress)

    async def interpolate(
        self,
        starts: ArrayLike,
        ends: ArrayLike,
        steps: int,
        *,
        mode: Mode = "linear",
        ends_are: Ends | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
    ) -> Paths:
        """Decodes a path of latents between each pair of ends.

        Args:
            starts: latents `[n, *latent_shape]`, or images, which stand for their posterior's mean.
            ends: as many rows as `starts`.
            steps: points on each path, both ends included: 2 or more.
            mode: `linear` for a straight line, `spherical` for an arc of constant angular speed.
            ends_are: `latents` or `images`; told by type and shape if None.
            model: see `model`.
            version: see `model`.
            image_dtype: see `decode`.
            progress: called with the paths done and those in all, after each call.
        """
        walk = operations.Interpolate(starts, ends, Walk(steps, mode, ends_are), image_dtype)
        return await self._run(walk, model, version, progress)

    async def health(self, service: str = "") -> Health:
        """See `Client.health`."""
        async with self._open(health_checked=False) as channel:
            check: Any = channel.unary_unary(health.CHECK_PATH)
            try:
                payload = await check(health.request(service), **self._call_options())
            except grpc.RpcError as error:
                raise health.failure(error, service) from None
        return health.answer(payload)

    async def close(self) -> None:
        """See `Client.close`."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _method(self, path: str) -> Any:
        """The callable of an RPC, on the channel of the running event loop."""
        if self._channel is None:
            self._channel = self._open(health_checked=True)
            self._methods = {
                method.path: self._channel.unary_unary(method.path) for method in METHODS
            }
        return self._methods[path]

    def _open(self, *, health_checked: bool) -> grpc.aio.Channel:
        target = self._connection.target()
        options = self._connection.options(health_checked=health_checked)
        if self._connection.tls is None:
            return grpc.aio.insecure_channel(target, options)
        return grpc.aio.secure_channel(target, self._connection.tls.credentials(), options)

    def _call_options(self) -> dict[str, Any]:
        return {"timeout": self._timeout, "metadata": self._connection.metadata()}

    async def _run(
        self, operation: Operation[T], model: str, version: str, progress: Progress | None
    ) -> T:
        return await self._drive(self._plans.run(operation, Address(model, version), progress))

    async def _drive(self, plan: Plan[T]) -> T:
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

    async def _perform(self, exchange: Exchange) -> None:
        calls = iter(exchange.calls)
        pending: deque[tuple[Any, Any]] = deque()
        try:
            while True:
                while len(pending) < self._max_in_flight and (call := next(calls, None)):
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
