"""A loaded model: a batcher per graph, and the spec."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from latens_serving.bundle.conditional import joined
from latens_serving.bundle.prior import FittedPrior
from latens_serving.bundle.probe import Probe
from latens_serving.bundle.schema import BundleManifest
from latens_serving.bundle.spec import ModelSpec
from latens_serving.bundle.test_embeddings import Embeddings
from latens_serving.engine.batcher import Batcher
from latens_serving.engine.onnx import Engine
from latens_serving.errors import DrainingError
from latens_serving.models.overflow import Outputs, OverflowGuard
from latens_serving.models.pixels import as_bytes, as_floats
from latens_serving.models.statistics import GraphStatistics
from latens_serving.models.tiles import NO_LIMIT, TileLimits, Tiler

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
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

    mean: NDArray[Any]
    """float32; or the codes, int64, of a model with a codebook."""
    log_var: Floats | None


@dataclass(frozen=True, slots=True)
class Encoded:
    """A few rows that a caller encoded, with their posteriors."""

    images: Floats
    mean: NDArray[Any]
    log_var: Floats | None
    labels: Labels | None = None


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
        recomputed: Callable[[str, int], None] = lambda graph, rows: None,
        tiles: TileLimits = NO_LIMIT,
    ) -> None:
        self.manifest = manifest
        self.name = manifest.name
        self.version = str(manifest.version)
        self.spec = manifest.spec
        self.batchers = batchers
        """By graph: `encoder`, `decoder`; those for bytes and in float32, where there are any."""
        self.encoder = batchers["encoder"]
        self.decoder = batchers["decoder"]
        self._encoder_uint8 = batchers.get("encoder_uint8")
        # Bytes would not show that float16 overflows.
        is_half = self.spec.precision == "float16"
        self._decoder_uint8 = None if is_half else batchers.get("decoder_uint8")
        self.statistics = statistics
        """By graph: `encoder` and `decoder`."""
        self.limits = limits
        self.provider = engines[0].provider
        self.device_fallback = any(engine.device_fallback for engine in engines)
        self.test_embeddings = test_embeddings
        self.probe = probe
        self.fitted_prior = fitted_prior
        self._tilers = {graph: Tiler(self.spec, graph, tiles) for graph in ("encoder", "decoder")}
        self._guards = {
            graph: OverflowGuard(
                graph, field, self.spec.precision, batchers.get(f"{graph}_float32"), recomputed
            )
            for graph, field in (
                ("encoder", self.spec.data_field),
                ("decoder", self.spec.latent_field),
            )
        }
        self._engines = engines
        self._sample: Encoded | None = None
        self._leases = 0
        self._retiring = False

    async def encode(
        self, images: NDArray[Any], deadline: float | None, labels: Labels | None = None
    ) -> PosteriorRows:
        """Data `[n, *data_shape]` to the parameters of their posteriors.

        Items are float32. Images are float32 in [0, 1] or uint8; the bundle's graph for bytes runs
        the latter, if any. A conditional model takes the class of each row, `[n]`.
        """
        if self._tilers["encoder"].is_needed(images.shape[1:]):
            outputs = await self._tilers["encoder"].run(
                images, lambda part: self._encoded(part, deadline)
            )
        else:
            given = images if labels is None else await _joined(images, labels)
            outputs = await self._encoded(given, deadline)
        rows = PosteriorRows(outputs[0], outputs[1] if len(outputs) > 1 else None)
        if self._sample is None:
            self._sample = _first_rows(images, rows, labels)
        return rows

    async def _encoded(self, images: NDArray[Any], deadline: float | None) -> Outputs:
        if self._encoder_uint8 is not None and images.dtype == np.uint8:
            outputs = await self._encoder_uint8.submit(images, deadline)
        else:
            floats = await _away_if_long(as_floats, images)
            outputs = await self.encoder.submit(floats, deadline)
        return await self._guards["encoder"].finite(outputs, images, deadline)

    def take_sample(self) -> Encoded | None:
        """Returns and clears the first rows of the first `encode` since the last `take_sample`."""
        sample, self._sample = self._sample, None
        return sample

    async def decode(
        self, latents: NDArray[Any], deadline: float | None, labels: Labels | None = None
    ) -> Floats:
        """Latents or codes `[n, *latent_shape]` to data `[n, *data_shape]` in their range.

        A conditional model takes the class of each row, `[n]`.
        """
        if self._is_tiled(latents):
            run = self._tilers["decoder"].run
            (data,) = await run(latents, lambda part: self._decoded(part, deadline))
        else:
            rows = latents if labels is None else joined(latents, labels)
            (data,) = await self._decoded(rows, deadline)
        return data

    async def _decoded(self, latents: NDArray[Any], deadline: float | None) -> Outputs:
        outputs = await self.decoder.submit(latents, deadline)
        return await self._guards["decoder"].finite(outputs, latents, deadline)

    def _is_tiled(self, latents: NDArray[Any]) -> bool:
        tiler = self._tilers["decoder"]
        return tiler.is_bounded and tiler.is_needed(self.spec.data_shape_of(latents.shape[1:]))

    async def decode_bytes(
        self, latents: NDArray[Any], deadline: float | None, labels: Labels | None = None
    ) -> NDArray[np.uint8]:
        """As `decode`, to uint8 images: rounded to 0..255, where a tie may go either way."""
        if (
            self._decoder_uint8 is None
            or self._is_tiled(latents)
            or not (self.spec.has_codes or np.abs(latents).max() <= _FARTHEST)
        ):
            return await _away_if_long(as_bytes, await self.decode(latents, deadline, labels))
        rows = latents if labels is None else joined(latents, labels)
        (images,) = await self._decoder_uint8.submit(rows, deadline)
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


async def _joined(images: NDArray[Any], labels: Labels) -> NDArray[Any]:
    if images.size <= _LONG_CONVERSION:
        return joined(images, labels)
    return await asyncio.to_thread(joined, images, labels)


def _first_rows(images: NDArray[Any], rows: PosteriorRows, labels: Labels | None) -> Encoded:
    # Copies: a view would keep the whole call's arrays.
    few = slice(max(1, min(_SAMPLE_ROWS, _SAMPLE_ELEMENTS // images[0].size)))
    log_var = None if rows.log_var is None else rows.log_var[few].copy()
    return Encoded(
        as_floats(images[few].copy()),
        rows.mean[few].copy(),
        log_var,
        None if labels is None else labels[few].copy(),
    )
