"""A loaded model: a batcher per graph, and the spec."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from latens_serving.bundle.prior import FittedPrior
from latens_serving.bundle.probe import Probe
from latens_serving.bundle.schema import BundleManifest
from latens_serving.bundle.spec import ModelSpec
from latens_serving.bundle.test_embeddings import Embeddings
from latens_serving.engine.batcher import Batcher
from latens_serving.engine.onnx import Engine
from latens_serving.errors import DrainingError, InvalidInputError
from latens_serving.models.pixels import as_bytes, as_floats
from latens_serving.models.statistics import GraphStatistics

Floats = NDArray[np.float32]
Converted = TypeVar("Converted", bound=NDArray[Any])

# An upper bound of a message's bytes besides its arrays: names, shapes, tags.
_MESSAGE_OVERHEAD = 4096
_SAMPLE_ROWS = 16
_SAMPLE_ELEMENTS = 1 << 18
_LONG_CONVERSION = 1 << 18  # elements
# Meaningful coordinates of a latent are nearer to 0. Beyond, a graph may overflow, which shows in
# floats and not in bytes.
_FARTHEST = 16.0


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Limits of one call."""

    max_rows: int
    """Rows of the smallest size; of larger ones, `rows_of` as many."""
    max_message_bytes: int
    max_row_passes: int
    """Rows times repetitions that a call may send through the graphs."""
    usual_rows: int = 0
    """Rows of the usual size."""

    @classmethod
    def for_spec(
        cls, spec: ModelSpec, rows: int, message_bytes: int, row_passes: int
    ) -> CallLimits:
        """Lowers the row limit until float32 images with their latents fit into a message."""
        limits = cls(rows, message_bytes, row_passes)
        fitting = limits.rows_of(spec.row_bytes(spec.smallest_data_shape))
        usual = limits.rows_of(spec.row_bytes(spec.usual_data_shape))
        return cls(fitting, message_bytes, row_passes, usual)

    def rows_of(self, row_bytes: int) -> int:
        """The most rows of so many bytes each, data and latents together."""
        fitting = (self.max_message_bytes - _MESSAGE_OVERHEAD) // row_bytes
        return max(1, min(self.max_rows, fitting))


def smallest_row_bytes(spec: ModelSpec, data_shape: Sequence[int]) -> int:
    """Bytes of a row of data in its smallest element type, with the parameters of its posterior."""
    floats = spec.row_bytes(data_shape)
    return floats - 3 * math.prod(data_shape) if spec.is_image else floats


# Not frozen, as a call makes one: each field of a frozen one is set by a call.
@dataclass(slots=True)
class PosteriorRows:
    """The parameters of q(z|x), `[n, *latent_shape]` each; log_var is None if deterministic."""

    mean: Floats
    log_var: Floats | None


@dataclass(frozen=True, slots=True)
class Encoded:
    """A few rows that a caller encoded, with their posteriors."""

    images: Floats
    mean: Floats
    log_var: Floats | None


class LoadedModel:
    """One version of one model, ready to answer."""

    def __init__(
        self,
        manifest: BundleManifest,
        batchers: Mapping[str, Batcher],
        statistics: dict[str, GraphStatistics],
        limits: CallLimits,
        *,
        engines: tuple[Engine, ...],
        test_embeddings: Embeddings | None = None,
        probe: Probe | None = None,
        fitted_prior: FittedPrior | None = None,
    ) -> None:
        self.manifest = manifest
        self.name = manifest.name
        self.version = str(manifest.version)
        self.spec = manifest.spec
        self.batchers = batchers
        """By graph: `encoder`, `decoder`, and those for bytes, where the bundle has them."""
        self.encoder = batchers["encoder"]
        self.decoder = batchers["decoder"]
        self._encoder_uint8 = batchers.get("encoder_uint8")
        self._decoder_uint8 = batchers.get("decoder_uint8")
        self.statistics = statistics
        """By graph: `encoder` and `decoder`."""
        self.limits = limits
        self.provider = engines[0].provider
        self.device_fallback = any(engine.device_fallback for engine in engines)
        self.test_embeddings = test_embeddings
        self.probe = probe
        self.fitted_prior = fitted_prior
        self._engines = engines
        self._sample: Encoded | None = None
        self._leases = 0
        self._retiring = False

    async def encode(self, images: NDArray[Any], deadline: float | None) -> PosteriorRows:
        """Images `[n, *image_shape]` to the parameters of their posteriors.

        Images are float32 in [0, 1] or uint8; the bundle's graph for bytes runs the latter, if any.
        """
        if self._encoder_uint8 is not None and images.dtype == np.uint8:
            outputs = await self._encoder_uint8.submit(images, deadline)
        else:
            floats = await _away_if_long(as_floats, images)
            outputs = await self.encoder.submit(floats, deadline)
        _refuse_overflow(outputs, "images", "the encoder")
        rows = PosteriorRows(outputs[0], outputs[1] if len(outputs) > 1 else None)
        if self._sample is None:
            self._sample = _first_rows(images, rows)
        return rows

    def take_sample(self) -> Encoded | None:
        """Returns and clears the first rows of the first `encode` since the last `take_sample`."""
        sample, self._sample = self._sample, None
        return sample

    async def decode(self, latents: Floats, deadline: float | None) -> Floats:
        """Latents `[n, *latent_shape]` to images `[n, *image_shape]` in [0, 1]."""
        outputs = await self.decoder.submit(latents, deadline)
        _refuse_overflow(outputs, "latents", "the decoder")
        return outputs[0]

    async def decode_bytes(self, latents: Floats, deadline: float | None) -> NDArray[np.uint8]:
        """As `decode`, to uint8 images: rounded to 0..255, where a tie may go either way."""
        if self._decoder_uint8 is None or not np.abs(latents).max() <= _FARTHEST:
            return await _away_if_long(as_bytes, await self.decode(latents, deadline))
        (images,) = await self._decoder_uint8.submit(latents, deadline)
        return images

    def hold(self) -> None:
        """Holds the model open for a call: a retiring model closes when its last call ends."""
        self._leases += 1

    def release(self) -> None:
        """Ends the lease that `hold` began."""
        self._leases -= 1
        self._close_if_idle()

    def retire(self) -> None:
        """Closes the engines once the calls that hold a lease have ended."""
        self._retiring = True
        self._close_if_idle()

    @property
    def is_idle(self) -> bool:
        return self._leases == 0

    def close(self) -> None:
        """Closes the engines at once."""
        for engine in self._engines:
            engine.close()

    def _close_if_idle(self) -> None:
        if self._retiring and self._leases == 0:
            for batcher in self.batchers.values():
                batcher.close(lambda: DrainingError("the model was unloaded"))
            self.close()


async def _away_if_long(
    convert: Callable[[NDArray[Any]], Converted], images: NDArray[Any]
) -> Converted:
    """Converts images: in a thread if the event loop would wait more than about a millisecond."""
    if images.size <= _LONG_CONVERSION:
        return convert(images)
    return await asyncio.to_thread(convert, images)


def _first_rows(images: NDArray[Any], rows: PosteriorRows) -> Encoded:
    # Copies: a view would keep the whole call's arrays.
    few = slice(max(1, min(_SAMPLE_ROWS, _SAMPLE_ELEMENTS // images[0].size)))
    log_var = None if rows.log_var is None else rows.log_var[few].copy()
    return Encoded(as_floats(images[few].copy()), rows.mean[few].copy(), log_var)


def _refuse_overflow(outputs: tuple[Floats, ...], field: str, graph: str) -> None:
    for array in outputs:
        # The sum of squares is not finite when an element is not, and BLAS computes it fast. It may
        # also overflow by itself; then each element is checked.
        if not math.isfinite(np.vdot(array, array)) and not np.isfinite(array).all():
            raise InvalidInputError.at(field, f"{graph} overflows float32 at these values")
