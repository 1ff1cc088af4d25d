"""The client: numpy in, numpy out."""

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
from latens.errors import CallCancelledError, LatensError, from_call
from latens.exchange import METHODS, Exchange, Plan
from latens.health import Health
from latens.models import Model
from latens.operations import Ends, Mode, Operation, Walk
from latens.plans import Plans
from latens.results import Decoding, Encoding, Models, Paths, Samples

T = TypeVar("T")


class Client:
    """A connection to a server, or to several that serve the same models.

    Every method is safe to call from several threads. A batch of any size may be given: what
    exceeds the server's limits goes in several calls, a bounded number of them at a time, and the
    answer is the same however it was split. Calls that fail for want of a server or of room in its
    queue are tried again (5 times in all, within the timeout), since no call changes anything.

    Args:
        address: `host:port`, or several joined by commas to spread the calls over.
        tls: how to know the server; None for a plain connection.
        token: a bearer token, or a function that gives the present one.
        timeout: seconds that one call may take, retries included; None for no bound. A batch that
            is split makes several calls.
        max_in_flight: how many calls of a split batch may be under way at a time.
        rows_per_call: split batches into calls of at most this many rows, even where the server
            takes more; None to leave it to the server's limits.
        max_message_bytes: the largest message to send or take.

    Raises:
        ValueError: the address is none.
        LatensError: from every method, one class a reason; see `latens.errors`.
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
        self._channel = self._open(health_checked=True)
        self._methods: dict[str, Any] = {
            method.path: self._channel.unary_unary(method.path) for method in METHODS
        }

    def models(self) -> Models:
        """The models that the server holds, those that it refused included."""
        return self._drive(self._plans.list_models())

    def model(self, model: str = "", version: str = "") -> Model:
        """Describes one model: shapes, value ranges, provenance, limits.

        Args:
            model: its name; empty for the server's default.
            version: a decimal integer; empty for the newest that is ready.
        """
        return self._drive(self._plans.model(Address(model, version)))

    def encode(
        self,
        images: ArrayLike,
        *,
        model: str = "",
        version: str = "",
        draw: bool = False,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Encoding:
        """Encodes images to the mean and log-variance of their approximate posterior q(z|x).

        Args:
            images: `[n, channels, height, width]`, uint8 in 0..255 or floating in [0, 1]; of a
                model with one channel also `[n, height, width]`.
            model: see `model`.
            version: see `model`.
            draw: also draw one latent an image from its posterior.
            seed: the seed of the draw (giving one asks for it); chosen and returned if None.
            progress: called with the images done and those in all, after each call.
        """
        return self._run(operations.Encode(images, draw, seed), model, version, progress)

    def decode(
        self,
        latents: ArrayLike,
        *,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
    ) -> Decoding:
        """Decodes latents `[n, *latent_shape]` to images: the mean of p(x|z).

        Args:
            latents: finite numbers.
            model: see `model`.
            version: see `model`.
            image_dtype: float32 for [0, 1], or uint8 for 0..255 in a quarter of the bytes.
            progress: called with the latents done and those in all, after each call.
        """
        return self._run(operations.Decode(latents, image_dtype), model, version, progress)

    def sample(
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
        """Draws latents from the prior N(0, I) and decodes them.

        Args:
            count: how many, 1 or more.
            model: see `model`.
            version: see `model`.
            seed: the same seed gives the same samples; chosen and returned if None.
            temperature: the standard deviation of the latents drawn, 1 if None.
            image_dtype: see `decode`.
            progress: called with the samples done and those in all, after each call.
        """
        sample = operations.Sample(count, seed, temperature, image_dtype)
        return self._run(sample, model, version, progress)

    def interpolate(
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
        return self._run(walk, model, version, progress)

    def health(self, service: str = "") -> Health:
        """What the server says of itself, or of a service such as `latens.v1.LatentService`.

        Asked on a connection of its own, which a server that drains still answers.
        """
        with self._open(health_checked=False) as channel:
            check: Any = channel.unary_unary(health.CHECK_PATH)
            try:
                payload = check(health.request(service), **self._call_options())
            except grpc.RpcError as error:
                raise health.failure(error, service) from None
        return health.answer(payload)

    def close(self) -> None:
        """Closes the connection; calls under way fail with CallCancelledError."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, *, health_checked: bool) -> grpc.Channel:
        target = self._connection.target()
        options = self._connection.options(health_checked=health_checked)
        if self._connection.tls is None:
            return grpc.insecure_channel(target, options)
        return grpc.secure_channel(target, self._connection.tls.credentials(), options)

    def _call_options(self) -> dict[str, Any]:
        return {"timeout": self._timeout, "metadata": self._connection.metadata()}

    def _run(
        self, operation: Operation[T], model: str, version: str, progress: Progress | None
    ) -> T:
        return self._drive(self._plans.run(operation, Address(model, version), progress))

    def _drive(self, plan: Plan[T]) -> T:
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

    def _perform(self, exchange: Exchange) -> None:
        calls = iter(exchange.calls)
        pending: deque[tuple[Any, Any]] = deque()
        try:
            while True:
                while len(pending) < self._max_in_flight and (call := next(calls, None)):
                    payload = call.payload(self._connection.max_message_bytes)
                    start = self._methods[call.method.path].future
                    pending.append((call, start(payload, **self._call_options())))
                if not pending:
                    return
                call, handle = pending[0]
                exchange.take(call.answer(handle.result()))
                pending.popleft()
        except grpc.FutureCancelledError:
            raise CallCancelledError("the client was closed during the call") from None
        except grpc.RpcError as error:
            raise from_call(error) from None
        finally:
            for _, handle in pending:
                handle.cancel()
