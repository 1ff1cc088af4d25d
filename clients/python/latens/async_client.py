"""The client for asyncio: the methods of `latens.Client` with `await`."""
# The clients share their signatures, and a timeout is per call where a batch makes several:

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from latens import operations
from latens.async_transport import AsyncTransport
from latens.channel import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, MAX_MESSAGE_BYTES, Tls
from latens.chunks import Progress, model_ref
from latens.health import Health
from latens.labels import Labels
from latens.models import Model
from latens.operations import Axis, Chain, Kind, Mode, Operation, Scan, Shifts, Walk
from latens.options import ClientSettings
from latens.picture_rows import PictureArgument
from latens.plans import Plans
from latens.results import (
    SCORE_SAMPLES,
    Codes,
    Decoding,
    Encoding,
    Inpainting,
    Models,
    Paths,
    Reconstruction,
    Result,
    Samples,
    Scores,
    Traversal,
)

T = TypeVar("T", bound=Result)


class AsyncClient:
    """A connection to a server for asyncio, with the arguments and methods of `Client`.

    It belongs to the event loop of its first call. A task that is cancelled cancels its calls.
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
        self._settings = ClientSettings(
            address, tls, token, timeout, max_in_flight, rows_per_call, max_message_bytes
        )
        self._plans = Plans(max_message_bytes, rows_per_call)
        self._transport = AsyncTransport(self._settings.connection(), self._settings.call_options())

    def __repr__(self) -> str:
        return self._settings.describe(type(self).__name__)

    def __getstate__(self) -> dict[str, Any]:
        return self._settings.arguments()

    def __setstate__(self, arguments: dict[str, Any]) -> None:
        self.__init__(**arguments)  # type: ignore[misc]

    async def models(self, *, timeout: float | None = None) -> Models:
        """See `Client.models`."""
        return await self._transport.run(self._plans.list_models(), timeout)

    async def model(
        self, model: str = "", version: str = "", *, timeout: float | None = None
    ) -> Model:
        """See `Client.model`."""
        return await self._transport.run(self._plans.model(model_ref(model, version)), timeout)

    async def encode(
        self,
        images: ArrayLike | PictureArgument,
        *,
        draw: bool = False,
        seed: int | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Encoding:
        """See `Client.encode`."""
        encode = operations.Encode(images, draw, seed, labels)
        return await self._run(encode, model, version, progress, timeout)

    async def encode_codes(
        self,
        images: ArrayLike | PictureArgument,
        *,
        model: str = "",
        version: str = "",
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Codes:
        """See `Client.encode_codes`."""
        encode = operations.EncodeCodes(images)
        return await self._run(encode, model, version, progress, timeout)

    async def decode(
        self,
        latents: ArrayLike,
        *,
        attributes: Shifts | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Decoding:
        """See `Client.decode`."""
        decode = operations.Decode(latents, attributes, image_dtype, labels)
        return await self._run(decode, model, version, progress, timeout)

    async def sample(
        self,
        count: int,
        *,
        seed: int | None = None,
        temperature: float | None = None,
        latent_shape: Sequence[int] | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Samples:
        """See `Client.sample`."""
        sample = operations.Sample(count, seed, temperature, latent_shape, image_dtype, labels)
        return await self._run(sample, model, version, progress, timeout)

    async def interpolate(
        self,
        starts: ArrayLike | PictureArgument,
        ends: ArrayLike | PictureArgument,
        steps: int,
        *,
        mode: Mode = "linear",
        ends_are: Kind | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Paths:
        """See `Client.interpolate`."""
        walk = operations.Interpolate(
            starts, ends, Walk(steps, mode, ends_are), image_dtype, labels
        )
        return await self._run(walk, model, version, progress, timeout)

    async def reconstruct(
        self,
        images: ArrayLike | PictureArgument,
        *,
        draw: bool = False,
        seed: int | None = None,
        attributes: Shifts | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Reconstruction:
        """See `Client.reconstruct`."""
        reconstruct = operations.Reconstruct(images, draw, seed, attributes, image_dtype, labels)
        return await self._run(reconstruct, model, version, progress, timeout)

    async def traverse(
        self,
        bases: ArrayLike | PictureArgument | None = None,
        *,
        axes: Sequence[Axis] = (),
        start: float = -3.0,
        stop: float = 3.0,
        steps: int = 11,
        bases_are: Kind | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Traversal:
        """See `Client.traverse`."""
        scan = Scan(axes, start, stop, steps, bases_are)
        traverse = operations.Traverse(bases, scan, image_dtype, labels)
        return await self._run(traverse, model, version, progress, timeout)

    async def inpaint(
        self,
        images: ArrayLike | PictureArgument,
        masks: ArrayLike,
        *,
        iterations: int = 100,
        average: int = 1,
        seed: int | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        image_dtype: DTypeLike = np.float32,
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Inpainting:
        """See `Client.inpaint`."""
        chain = Chain(iterations, average, seed)
        inpaint = operations.Inpaint(images, masks, chain, image_dtype, labels)
        return await self._run(inpaint, model, version, progress, timeout)

    async def score(
        self,
        images: ArrayLike | PictureArgument,
        *,
        samples: int = SCORE_SAMPLES,
        seed: int | None = None,
        labels: Labels | None = None,
        model: str = "",
        version: str = "",
        progress: Progress | None = None,
        timeout: float | None = None,
    ) -> Scores:
        """See `Client.score`."""
        score = operations.Score(images, samples, seed, labels)
        return await self._run(score, model, version, progress, timeout)

    async def health(self, service: str = "", *, timeout: float | None = None) -> Health:
        """See `Client.health`."""
        return await self._transport.check(service, timeout)

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
        self,
        operation: Operation[T],
        model: str,
        version: str,
        progress: Progress | None,
        timeout: float | None,
    ) -> T:
        plan = self._plans.run(operation, model_ref(model, version), progress)
        return await self._transport.run(plan, timeout)
