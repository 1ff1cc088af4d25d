"""What can be known of an encoder and a decoder by running shapes through them.

The networks run on torch's meta device, where a tensor has a shape and no values, so that many
sizes are tried in little time: which axes are free, in steps of what, from what size on.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import torch
from torch import nn

from latens_export.errors import GraphError
from latens_export.folding import parts_of
from latens_export.sources.recording import ROWS, last_range, on_meta, require_deterministic
from latens_serving.bundle.spec import Axis, LatentAxis, Modality, Posterior

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from latens_serving.bundle.spec import Range

LARGEST_IMAGE = 2048
LARGEST_SERIES = 1 << 20
USUAL_SIZES = (256, 64, 32, 128, 28, 224, 512, 96, 48, 16)
USUAL_LENGTHS = (16_384, 4096, 1024, 256, 64)
MULTIPLES = tuple(2**power for power in range(9)) + tuple(
    odd * 2**power for odd in (3, 5, 7) for power in range(7)
)

_MOST_STEPS_TO_MINIMUM = 16
_AXIS_NAMES = {1: ("features",), 2: ("channels", "time"), 3: ("channels", "height", "width")}
_MODALITIES = {1: Modality.TABULAR, 2: Modality.AUDIO, 3: Modality.IMAGE}


@dataclasses.dataclass(frozen=True, slots=True)
class Inferred:
    """What was found; an axis that is not free has the size that was tried."""

    modality: Modality
    data_axes: tuple[Axis, ...]
    latent_axes: tuple[LatentAxis, ...]
    posterior: Posterior
    graph_range: Range | None
    """Of a last sigmoid or tanh; None where the decoder has none."""
    has_codes: bool = False
    """Whether the encoder gives int64 codes."""


class ShapeRunner:
    """Runs shapes through an encoder and a decoder."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        self.encoder = encoder
        self.decoder = decoder

    def encoded(self, shape: Sequence[int]) -> tuple[torch.Size, ...]:
        """The shapes of what the encoder gives for a row of data."""
        with torch.no_grad():
            found = parts_of(on_meta(self.encoder, torch.empty(ROWS, *shape, device="meta")))
        return tuple(part.shape[1:] for part in found)

    def has_codes(self, shape: Sequence[int]) -> bool:
        """Whether a row of data encodes to codes."""
        with torch.no_grad():
            found = parts_of(on_meta(self.encoder, torch.empty(ROWS, *shape, device="meta")))
        return found[0].dtype == torch.int64

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...] | None:
        """The shape of the latent of a row of data that decodes to the same shape; else None."""
        try:
            with torch.no_grad():
                data = torch.empty(ROWS, *shape, device="meta")
                latent = parts_of(on_meta(self.encoder, data))[0]
                decoded = on_meta(self.decoder, latent)
        except Exception:
            return None
        return tuple(latent.shape[1:]) if decoded.shape == data.shape else None


def infer(
    encoder: nn.Module,
    decoder: nn.Module,
    shape: Sequence[int] | None = None,
    usual: Sequence[int] | None = None,
) -> Inferred:
    """Finds the axes, the posterior and the range of a pair of modules.

    Args:
        encoder: data `[n, ...]` to `z`, `(mean, log_var)` or `(mean, None)`.
        decoder: latents to data.
        shape: of one row of data, where it is known; else taken from the first layer, and by
            trying usual sizes.
        usual: the first shape to try, where the shape is not known.

    Raises:
        GraphError: no size is found that decodes to the shape that was encoded, or the modules
            draw random numbers.
    """
    runner = ShapeRunner(encoder, decoder)
    tried = [tuple(usual)] if usual else []
    shape = _usual_shape(
        runner, [tuple(shape)] if shape else itertools.chain(tried, _shapes_to_try(encoder))
    )
    latent = runner.latent_shape(shape)
    assert latent is not None
    require_deterministic(encoder, decoder, shape)
    names = _AXIS_NAMES.get(len(shape)) or tuple(f"axis{place}" for place in range(len(shape)))
    data_axes = [Axis(name=name, size=size) for name, size in zip(names, shape, strict=True)]
    has_codes = runner.has_codes(shape)
    # The codes of an image are [height, width].
    latent_names = names[len(shape) - len(latent) :] if has_codes else names
    if len(latent_names) != len(latent):
        latent_names = ()
    latent_axes = _fixed_latent_axes(latent, latent_names)
    for place in range(1, len(shape)):
        if found := _free_axis(runner, shape, latent, place):
            many, stride, where = found
            data_axes[place] = _bounded(runner, shape, place, names[place], many)
            latent_axes[where] = LatentAxis(
                name=latent_axes[where].name, of=names[place], stride=stride
            )
    return Inferred(
        _MODALITIES.get(len(shape), Modality.OTHER),
        tuple(data_axes),
        tuple(latent_axes),
        Posterior.DETERMINISTIC if len(runner.encoded(shape)) == 1 else Posterior.DIAGONAL_GAUSSIAN,
        last_range(decoder, latent, torch.int64 if has_codes else torch.float32),
        has_codes,
    )


def _shapes_to_try(encoder: nn.Module) -> Iterator[tuple[int, ...]]:
    """Shapes by the encoder's first layer with weights: images, series or features."""
    for layer in encoder.modules():
        if isinstance(layer, nn.Conv2d):
            yield from ((layer.in_channels, size, size) for size in USUAL_SIZES)
            return
        if isinstance(layer, nn.Conv1d):
            yield from ((layer.in_channels, size) for size in USUAL_LENGTHS)
            return
        if isinstance(layer, nn.Linear):
            yield (layer.in_features,)
            return


def _usual_shape(runner: ShapeRunner, candidates: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    tried = []
    for shape in candidates:
        if runner.latent_shape(shape) is not None:
            return shape
        tried.append(shape)
    found = ", ".join("x".join(map(str, shape)) for shape in tried) or "none: no first layer found"
    reason = f" ({_failure(runner, tried[0])})" if tried else ""
    raise GraphError(
        f"no data size is found that decode(encode(x)) keeps; tried {found}{reason}; "
        "give the shape as `data` in a card (--card)"
    )


def _failure(runner: ShapeRunner, shape: Sequence[int]) -> str:
    """Why a shape was not taken, in one line."""
    try:
        with torch.no_grad():
            latent = parts_of(on_meta(runner.encoder, torch.empty(ROWS, *shape, device="meta")))[0]
            decoded = on_meta(runner.decoder, latent)
    except Exception as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"it comes back as {list(decoded.shape[1:])}"


def _fixed_latent_axes(latent: Sequence[int], names: Sequence[str]) -> list[LatentAxis]:
    if not names:
        names = _AXIS_NAMES.get(len(latent), ()) or [f"axis{place}" for place in range(len(latent))]
    return [LatentAxis(name=name, size=size) for name, size in zip(names, latent, strict=True)]


def _free_axis(
    runner: ShapeRunner, shape: Sequence[int], latent: Sequence[int], place: int
) -> tuple[int, int, int] | None:
    """The multiple and stride of a free axis, and the latent's axis that follows it."""
    for many in MULTIPLES:
        if shape[place] % many:
            continue
        grown = [
            runner.latent_shape(_with(shape, place, shape[place] + steps * many))
            for steps in (1, 2, 3, 5)
        ]
        if any(found is None or len(found) != len(latent) for found in grown):
            continue
        moved = {
            axis for found in grown for axis, size in enumerate(found or ()) if size != latent[axis]
        }
        if len(moved) != 1:
            continue
        (where,) = moved
        if shape[place] % latent[where] == 0 and many % (shape[place] // latent[where]) == 0:
            stride = shape[place] // latent[where]
            if all(
                found is not None and found[where] * stride == shape[place] + steps * many
                for found, steps in zip(grown, (1, 2, 3, 5), strict=True)
            ):
                return many, stride, where
    return None


def _bounded(runner: ShapeRunner, shape: Sequence[int], place: int, name: str, many: int) -> Axis:
    """A free axis with the least size that works, and the largest that is worth offering."""
    least = next(
        (
            steps * many
            for steps in range(1, _MOST_STEPS_TO_MINIMUM)
            if runner.latent_shape(_with(shape, place, steps * many)) is not None
        ),
        shape[place],
    )
    most = (LARGEST_IMAGE if len(shape) == 3 else LARGEST_SERIES) // many * many
    while most > shape[place] and runner.latent_shape(_with(shape, place, most)) is None:
        most = most // 2 // many * many  # as where positions are a table of fixed length
    return Axis(
        name=name,
        multiple=many,
        minimum=least,
        maximum=max(most, shape[place]),
        usual=shape[place],
    )


def _with(shape: Sequence[int], place: int, size: int) -> tuple[int, ...]:
    return (*shape[:place], size, *shape[place + 1 :])
