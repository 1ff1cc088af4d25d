"""Whether a network is local, and how much memory a pass of it takes: for large images in tiles."""

from __future__ import annotations

import dataclasses
import math
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from latens_export.folding import FoldedDecoder, FoldedEncoder, parts_of
from latens_export.graphs.onnx_files import OnnxModule
from latens_export.sources.recording import on_meta
from latens_serving.bundle.spec import Tiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from latens_export.network import Network
    from latens_serving.bundle.spec import ModelSpec

LARGEST_TRIED = 256
"""Elements of the axis along which a network is looked at; of the only free one four times that."""
ACROSS = 64
"""Elements of the other free axes."""

_LEAST_EFFECT = 1e-6
"""Relative to the largest value; what is smaller may be rounding."""
_DIFFERING_CODES = 1e-3
_VERIFIED = 1e-5
"""The largest difference of exact tiles from the whole, relative to the largest value."""


@dataclasses.dataclass(frozen=True, slots=True)
class Locality:
    """What a server needs to compute large rows in parts.

    Attributes:
        tiles: whether parts give the values of the whole.
        halo: data elements that a part needs on each side, where they do.
        activation_bytes: of encoder and decoder, that exist at a time, per element of the data.
    """

    tiles: Tiles
    halo: int = 0
    activation_bytes: tuple[float, float] | None = None


def measure_locality(network: Network) -> Locality:
    """Finds how far an input reaches: values are changed at a few places, and the effect is seen.

    A halo that is found is tried: tiles of random data must equal the whole.
    """
    spec = network.spec
    if not spec.is_free or isinstance(network.encoder, OnnxModule):
        return Locality(Tiles.NONE)
    memory = _activation_bytes(network)
    pairs = [FreeAxes.of(spec, place) for place, axis in enumerate(spec.data_axes) if axis.is_free]
    with torch.inference_mode():
        reaches = [_reach(network, pair) for pair in pairs]
        known = [reach for reach in reaches if reach is not None]
        halo = max(known, default=0)
        if len(known) == len(pairs) and all(_is_exact(network, pair, halo) for pair in pairs):
            return Locality(Tiles.EXACT, halo, memory)
    return Locality(Tiles.APPROXIMATE, 0, memory)


class FreeAxes(NamedTuple):
    """A free axis of the data, with the axis of the latent that follows it."""

    data: int
    latent: int
    stride: int
    multiple: int

    @classmethod
    def of(cls, spec: ModelSpec, place: int) -> FreeAxes:
        """The axis of the data at a place."""
        axis = spec.data_axes[place]
        latent = next(at for at, one in enumerate(spec.latent_axes) if one.of == axis.name)
        return cls(place, latent, spec.latent_axes[latent].stride, axis.multiple)


def _reach(network: Network, axes: FreeAxes) -> int | None:
    """How many data elements a change reaches along an axis; None if it reaches all of them."""
    data = _random(network.spec, axes, LARGEST_TRIED, seed=0)
    mean = network.encode(data)[0]
    decoded = network.decode(mean)
    cells, stride, reach = mean.shape[axes.latent + 1], axes.stride, 0
    for cell in (0, cells // 2, cells - 1):
        changed = data.clone()
        place = changed.narrow(axes.data + 1, cell * stride, stride)
        place.copy_(1 - place)
        found = _extent(network.encode(changed)[0] - mean, mean, axes.latent)
        moved = _with_other_latent(network.spec, mean, axes.latent, cell)
        seen = _extent(network.decode(moved) - decoded, decoded, axes.data)
        if cells in (_length(found), _length(seen) // stride) and cell != cells // 2:
            return None
        if found is not None:
            reach = max(reach, (cell - found[0]) * stride, (found[1] - cell) * stride)
        if seen is not None:
            reach = max(reach, cell * stride - seen[0], seen[1] + 1 - (cell + 1) * stride)
    return reach


def _with_other_latent(spec: ModelSpec, mean: Tensor, axis: int, cell: int) -> Tensor:
    """Latents with those of one place along an axis changed."""
    moved = mean.clone()
    place = moved.narrow(axis + 1, cell, 1)
    if spec.codebook_size is not None:
        place.copy_((place + 1) % spec.codebook_size)
    else:
        place.add_(3 * mean.std() + 1)
    return moved


def _extent(difference: Tensor, values: Tensor, axis: int) -> tuple[int, int] | None:
    """The first and the last place along an axis where something changed; None for nowhere."""
    changed = difference.abs() > _LEAST_EFFECT * max(float(values.abs().max()), 1e-30)
    others = [place for place in range(changed.dim()) if place != axis + 1]
    places = changed.any(dim=others).nonzero().flatten()
    return None if not len(places) else (int(places[0]), int(places[-1]))


def _length(extent: tuple[int, int] | None) -> int:
    return 0 if extent is None else extent[1] - extent[0] + 1


def _is_exact(network: Network, axes: FreeAxes, halo: int) -> bool:
    """Whether two tiles along an axis, read with the halo, give the values of the whole."""
    beyond = math.ceil(halo / axes.multiple) * axes.multiple
    data = _random(network.spec, axes, max(LARGEST_TRIED, 4 * beyond), seed=1)
    mean = network.encode(data)[0]
    decoded = network.decode(mean)
    size = data.shape[axes.data + 1]
    middle = size // axes.multiple // 2 * axes.multiple
    for start, stop in ((0, middle), (middle, size)):
        first, last = max(0, start - beyond), min(size, stop + beyond)

        def cells(latents: Tensor, begin: int, end: int) -> Tensor:
            begin, end = begin // axes.stride, end // axes.stride
            return latents.narrow(axes.latent + 1, begin, end - begin)

        part = network.encode(data.narrow(axes.data + 1, first, last - first))[0]
        own = cells(part, start - first, stop - first)
        pixels = network.decode(cells(mean, first, last))
        pixels = pixels.narrow(axes.data + 1, start - first, stop - start)
        wanted = decoded.narrow(axes.data + 1, start, stop - start)
        if not (_are_equal(own, cells(mean, start, stop)) and _are_equal(pixels, wanted)):
            return False
    return True


def _are_equal(found: Tensor, wanted: Tensor) -> bool:
    if not wanted.is_floating_point():
        return bool((found != wanted).float().mean() < _DIFFERING_CODES)
    largest = max(float(wanted.abs().max()), 1e-30)
    return float((found - wanted).abs().max()) <= _VERIFIED * largest


def _random(spec: ModelSpec, axes: FreeAxes, size: int, seed: int) -> Tensor:
    """A row of data that is long along one axis."""
    long = size if len([axis for axis in spec.data_axes if axis.is_free]) > 1 else 4 * size
    shape = [axis.size or axis.nearest(ACROSS) for axis in spec.data_axes]
    shape[axes.data] = spec.data_axes[axes.data].nearest(long)
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed))


def _activation_bytes(network: Network) -> tuple[float, float]:
    """The peak of the tensors that exist at a time, per element of the data, at the usual size."""
    spec = network.spec
    elements = math.prod(spec.usual_data_shape)
    latents = torch.int64 if spec.has_codes else torch.float32
    return (
        _peak(
            FoldedEncoder(network.encoder, network.folding), spec.graph_shape(spec.usual_data_shape)
        )
        / elements,
        _peak(
            FoldedDecoder(network.decoder, network.folding),
            spec.graph_shape(spec.usual_latent_shape),
            latents,
        )
        / elements,
    )


def _peak(module: nn.Module, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> float:
    with torch.no_grad(), _AliveBytes() as alive:
        parts_of(on_meta(module, torch.empty(1, *shape, device="meta", dtype=dtype)))
    return max(float(alive.peak), 1.0)


class _AliveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch types it not
    """Sums the bytes of the tensors that operators make and that are not freed yet."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._alive = 0
        self._counted: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return output

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata  # noqa: SLF001 - torch's own key of a storage
        if key in self._counted:
            return
        size = storage.nbytes()
        self._counted.add(key)
        self._alive += size
        self.peak = max(self.peak, self._alive)
        weakref.finalize(tensor, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._counted.discard(key)
        self._alive -= size
