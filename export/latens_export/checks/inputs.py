"""The real inputs that prove a bundle, at every size that is tried."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from latens_export.errors import GraphError, UsageError
from latens_serving.bundle.spec import Posterior, SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from latens_export.network import Network
    from latens_serving.bundle.axes import Axis, Shape
    from latens_serving.bundle.spec import ModelSpec

LARGEST_PROBE = 3 * 256 * 256
"""Elements of one row: of a model of free sizes, larger rows are cut to prove it more quickly."""

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class Inputs:
    """Real data: those that prove the graphs, their labels, and those that calibrate.

    Attributes:
        batches: uint8 images `[n, c, h, w]`, or float32 values `[n, *data_shape]` of data that
            are no images; one batch per size, all that is known of the first.
        labels: of the first batch, int64 `[n]`; None where there are none.
        calibration: as the first batch, from which the ranges of integers are taken.
    """

    batches: tuple[Tensor, ...]
    labels: Tensor | None
    calibration: Tensor

    @property
    def first(self) -> Tensor:
        return self.batches[0]


def inputs_of(
    spec: ModelSpec,
    given: Tensor | Sequence[Tensor],
    labels: Tensor | None = None,
    calibration: Tensor | None = None,
) -> Inputs:
    """Takes the inputs to sizes of the spec: as given where they fit, else resized.

    A model of free sizes is tried at three: the given or usual one, another with both sides
    changed, and the smallest.

    Raises:
        UsageError: the inputs do not fit a model of fixed size.
    """
    batches = [given] if isinstance(given, torch.Tensor) else list(given)
    if not batches or not len(batches[0]):
        raise UsageError("probe inputs: expected at least one row, got none")
    if spec.is_free:
        first = _fitting(batches[0], spec)
        shapes = _sizes_to_try(spec, tuple(first.shape[1:]))
        batches = [first, *(batch for batch in batches[1:])]
        known = {tuple(batch.shape[1:]) for batch in batches}
        batches += [resized(first, shape) for shape in shapes if shape not in known]
    for batch in batches:
        try:
            spec.check_data_shape(spec.row_shape(tuple(batch.shape[1:])))
        except SpecError as error:
            raise UsageError(f"probe inputs: {error}") from error
    return Inputs(tuple(batches), labels, batches[0] if calibration is None else calibration)


def require_shapes(network: Network, batches: Sequence[Tensor]) -> None:
    """Refuses a spec that does not describe the network, at the sizes that are tried.

    Raises:
        GraphError: a size is not taken, or an answer has another shape than the spec says.
    """
    spec = network.spec
    for batch in batches:
        values = torch.from_numpy(values_of(batch[:1]))
        shape = list(spec.row_shape(tuple(values.shape[1:])))
        try:
            with torch.inference_mode():
                mean, log_var = network.encode(values)
                decoded = network.decode(network.decodable(mean, values))
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise GraphError(f"data of shape {shape} are not taken: {reason}") from error
        if (log_var is None) is not (spec.posterior is Posterior.DETERMINISTIC):
            raise GraphError(
                f"posterior: the encoder gives {'z alone' if log_var is None else 'a log_var'}, "
                f"the spec says {spec.posterior}"
            )
        expected = list(spec.latent_shape_of(shape))
        if spec.codebook_size is not None:
            _require_codes(mean, spec.codebook_size)
        if list(mean.shape[1:]) != expected:
            raise GraphError(
                f"data of shape {shape} encode to {list(mean.shape[1:])}, the spec says {expected}"
            )
        if list(decoded.shape[1:]) != shape:
            raise GraphError(
                f"data of shape {shape} come back as {list(decoded.shape[1:])}; "
                "is a multiple or a stride of the spec wrong?"
            )


def _require_codes(codes: Tensor, size: int) -> None:
    if codes.dtype != torch.int64:
        raise GraphError(f"codebook_size: the encoder gives {codes.dtype}, expected int64 codes")
    least, most = int(codes.min()), int(codes.max())
    if least < 0 or most >= size:
        raise GraphError(f"codebook_size: {size}, but the encoder gives codes {least} to {most}")


def values_of(data: Tensor) -> Floats:
    """What a graph gets: pixels uint8 as float32 in [0, 1], other values as they are."""
    if data.dtype == torch.uint8:
        return data.numpy().astype(np.float32) / np.float32(255)
    return data.numpy().astype(np.float32, copy=False)


def resized(batch: Tensor, shape: Shape) -> Tensor:
    """Rows of another size: images are interpolated, other data are cut or repeated."""
    if tuple(batch.shape[1:]) == shape:
        return batch
    if batch.dtype == torch.uint8 and len(shape) == 3:
        floats = functional.interpolate(
            batch.float(), size=shape[1:], mode="bilinear", antialias=True
        )
        return floats.round().clamp(0, 255).to(torch.uint8)
    for axis, size in enumerate(shape, 1):
        repeats = [1] * batch.dim()
        repeats[axis] = math.ceil(size / batch.shape[axis])
        batch = batch.repeat(repeats).narrow(axis, 0, size)
    return batch.contiguous()


def _fitting(batch: Tensor, spec: ModelSpec) -> Tensor:
    """The batch at the nearest size that the spec allows and that is quickly computed."""
    shape = [axis.nearest(size) for axis, size in zip(spec.data_axes, batch.shape[1:], strict=True)]
    free = [place for place, axis in enumerate(spec.data_axes) if axis.is_free]
    excess = math.prod(shape) / LARGEST_PROBE
    if excess > 1:
        for place in free:
            smaller = int(shape[place] / excess ** (1 / len(free)))
            shape[place] = spec.data_axes[place].nearest(smaller)
    return resized(batch, tuple(shape))


def _sizes_to_try(spec: ModelSpec, first: Shape) -> list[Shape]:
    """Two more sizes: each free axis a step up or down from the first; the smallest."""
    other = list(first)
    for count, place in enumerate(_free_places(spec)):
        axis = spec.data_axes[place]
        step = axis.multiple if count % 2 == 0 else -axis.multiple
        other[place] = _within(axis, first[place] + step, first[place] - step)
    least = tuple(
        axis.smallest_size if axis.is_free else size
        for axis, size in zip(spec.data_axes, first, strict=True)
    )
    return [tuple(other), least]


def _free_places(spec: ModelSpec) -> list[int]:
    return [place for place, axis in enumerate(spec.data_axes) if axis.is_free]


def _within(axis: Axis, *sizes: int) -> int:
    """The first of the sizes that the axis allows."""
    return next(
        (size for size in sizes if axis.minimum <= size <= axis.maximum), axis.smallest_size
    )
