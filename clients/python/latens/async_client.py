"""The client for asyncio: as `latens.Client`, method by method, with `await`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from latens import operations
from latens.async_transport import AsyncTransport
from latens.channel import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, MAX_MESSAGE_BYTES, Connection, Tls
from latens.chunks import Address, Progress
from latens.health import Health
from latens.models import Model
from latens.operations import Axis, Chain, Kind, Mode, Operation, Scan, Shifts, Walk
from latens.plans import Plans
from latens.results import (
    SCORE_SAMPLES,
    Decoding,
    Encoding,
    Inpainting,
    Models,
    Paths,
    Reconstruction,
    Samples,
    Scores,
    Traversal,
)
from latens.transport import Manners

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
        connection = Connection(address, tls, token, max_message_bytes)
        self._plans = Plans(max_message_bytes, rows_per_call)
        self._transport = AsyncTransport(connection, Manners(timeout, max_in_flight))

    async def models(self) -> Models:
        """See `Client.models`."""
        return await self._transport.run(self._plans.list_models())

    async def model(self, model: str = "", version: str = "") -> Model:
        """See `Client.model`."""
        return await self._transport.run(self._plans.model(Address(model, version)))

    async def encode(
        self,
        images: ArrayLike,
        *,
        draw: bool = False,
        seed: int | None = None,
        model: str = "",
        version: str = "",
        progress: Progress | None = None,
    ) -> Encoding:
        """See `Client.encode`."""
        return await self._run(operations.Encode(images, draw, seed), model, version, progress)

    async def decode(
        self,
        latents: ArrayLike,
        *,
        attributes: Shifts | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
    ) -> Decoding:
        """See `Client.decode`."""
        decode = operations.Decode(latents, attributes, image_dtype)
        return await self._run(decode, model, version, progress)

    async def sample(
        self,
        count: int,
        *,
        seed: int | None = None,
        temperature: float | None = None,
        model: str = "",
        version: str = "",
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
        ends_are: Kind | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
    ) -> Paths:
        """See `Client.interpolate`."""
        walk = operations.Interpolate(starts, ends, Walk(steps, mode, ends_are), image_dtype)
        return await self._run(walk, model, version, progress)

    async def reconstruct(
        self,
        images: ArrayLike,
        *,
        draw: bool = False,
        seed: int | None = None,
        attributes: Shifts | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
    ) -> Reconstruction:
        """See `Client.reconstruct`."""
        reconstruct = operations.Reconstruct(images, draw, seed, attributes, image_dtype)
        return await self._run(reconstruct, model, version, progress)

    async def traverse(
        self,
        bases: ArrayLike | None = None,
        *,
        axes: Sequence[Axis] = (),
        start: float = -3.0,
        stop: float = 3.0,
        steps: int = 11,
        bases_are: Kind | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
    ) -> Traversal:
        """See `Client.traverse`."""
        scan = Scan(axes, start, stop, steps, bases_are)
        return await self._run(
            operations.Traverse(bases, scan, image_dtype), model, version, progress
        )

    async def inpaint(
        self,
        images: ArrayLike,
        masks: ArrayLike,
        *,
        iterations: int = 100,
        average: int = 1,
        seed: int | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
    ) -> Inpainting:
        """See `Client.inpaint`."""
        chain = Chain(iterations, average, seed)
        inpaint = operations.Inpaint(images, masks, chain, image_dtype)
        return await self._run(inpaint, model, version, progress)

    async def score(
        self,
        images: ArrayLike,
        *,
        samples: int = SCORE_SAMPLES,
        seed: int | None = None,
        model: str = "",
        version: str = "",
        progress: Progress | None = None,
    ) -> Scores:
        """See `Client.score`."""
        return await self._run(operations.Score(images, samples, seed), model, version, progress)

    async def health(self, service: str = "") -> Health:
        """See `Client.health`."""
        return await self._transport.check(service)

    async def close(self) -> None:
        """See `Client.close`."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(
        self, operation: Operation[T], model: str, version: str, progress: Progress | None
    ) -> T:
        return await self._transport.run(
            self._plans.run(operation, Address(model, version), progress)
        )
