"""Whether the graphs compute what the network computes: torch against ONNX Runtime."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from latens_export.checks.inputs import Floats, values_of
from latens_export.errors import ParityError
from latens_export.graphs.sessions import session
from latens_serving.bundle.conditional import joined, labels_of
from latens_serving.bundle.spec import Prior

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from latens_export.network import Network

SMALL_BATCHES = (1, 2, 3)
LARGE_BATCH = 1000
LARGEST_SHARE_OF_CODES = 1e-3
"""Where two codes are nearly equally near, rounding decides: so few may differ."""
MOST_ELEMENTS = 1 << 20
"""Elements of the data of one run."""
LARGE_ROW = 1 << 15
"""Elements: rows above it, whose networks take seconds, are compared alone and in pairs only."""
_SEED = 0

Outputs = dict[str, NDArray[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Parity:
    """Largest absolute differences between torch and ONNX Runtime, over all rows and elements."""

    batch_sizes: tuple[int, ...]
    differences: dict[str, float]
    """By output: those of the encoder, and the data. Of codes: the share that differs."""
    data_shapes: tuple[tuple[int, ...], ...] = ()
    """The shapes of the rows that were compared."""

    @property
    def largest(self) -> float:
        """The largest difference of all."""
        return max(self.differences.values())


def measure(
    network: Network, encoder: bytes, decoder: bytes, data: Tensor | Sequence[Tensor]
) -> Parity:
    """Runs network and graphs on batches of 1, 2, 3 and many rows of real data, and compares.

    Args:
        network: the network, in eval mode.
        encoder: its encoder's graph.
        decoder: its decoder's graph.
        data: a batch per size, see `Inputs.batches`. The decoder gets their means, and as many
            other latents.

    Raises:
        ParityError: an output of a graph is not finite, or has the wrong shape.
    """
    encode, decode = session(encoder), session(decoder)
    data_field, latent_field = network.spec.data_field, network.spec.latent_field

    def graphs(values: Floats, latents: NDArray[Any]) -> Outputs:
        names = [output.name for output in encode.get_outputs()]
        found = dict(zip(names, encode.run(names, {data_field: values}), strict=True))
        return {**found, data_field: decode.run([data_field], {latent_field: latents})[0]}

    return _compare(network, graphs, data)


def measure_network(network: Network, other: Network, data: Tensor | Sequence[Tensor]) -> Parity:
    """As `measure`, for another network of the same shapes in place of the graphs."""

    def answers(values: Floats, latents: NDArray[Any]) -> Outputs:
        posterior = reference_posterior(other, values)
        return {**posterior, network.spec.data_field: reference_data(other, latents)}

    return _compare(network, answers, data)


def larger(first: Parity, second: Parity) -> Parity:
    """The larger difference of each output."""
    differences = {
        name: max(value, second.differences[name]) for name, value in first.differences.items()
    }
    return dataclasses.replace(first, differences=differences)


def _compare(
    network: Network,
    other: Callable[[Floats, NDArray[Any]], Outputs],
    data: Tensor | Sequence[Tensor],
) -> Parity:
    batches = [data] if isinstance(data, torch.Tensor) else data
    differences: dict[str, float] = {}
    sizes: set[int] = set()
    for batch in batches:
        for size in _batch_sizes(batch):
            sizes.add(size)
            values = values_of(batch[:size])
            posterior = reference_posterior(network, values)
            means = next(iter(posterior.values()))
            latents = probing_latents(network, means, values)
            decoded = reference_data(network, latents)
            expected = {**posterior, network.spec.data_field: decoded}
            found = other(values, latents)
            for name in expected:
                difference = largest_difference(name, found[name], expected[name])
                differences[name] = max(differences.get(name, 0.0), difference)
    shapes = tuple(tuple(batch.shape[1:]) for batch in batches)
    return Parity(tuple(sorted(sizes)), differences, shapes)


def _batch_sizes(batch: Tensor) -> list[int]:
    elements = batch[0].numel()
    if elements > LARGE_ROW:
        return sorted({1, min(2, len(batch))})
    most = max(1, min(len(batch), MOST_ELEMENTS // elements))
    return sorted({min(size, most) for size in (*SMALL_BATCHES, LARGE_BATCH)})


def require(parity: Parity, tolerance: float) -> None:
    """Refuses graphs that differ from the network by more than the tolerance.

    Raises:
        ParityError: they do; the text names each output that does.
    """
    allowed = {"codes": LARGEST_SHARE_OF_CODES}
    over = {
        name: value
        for name, value in parity.differences.items()
        if value > allowed.get(name, tolerance)
    }
    if over:
        found = ", ".join(f"{name} by {value:.2g}" for name, value in over.items())
        raise ParityError(
            f"parity: the graphs differ from the network ({found}), "
            f"which is more than the tolerance {tolerance:g}"
        )


def largest_difference(name: str, found: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest absolute difference between two arrays of one shape; of codes the share.

    Raises:
        ParityError: the shapes differ, or what was found is not finite.
    """
    if found.shape != expected.shape:
        raise ParityError(f"parity: {name} is {found.shape}, the network gives {expected.shape}")
    if not np.isfinite(found).all():
        raise ParityError(f"parity: {name} has values that are not finite")
    if expected.dtype == np.int64:
        return float((found != expected).mean())
    return float(np.abs(found.astype(np.float64) - expected).max())


def draws(network: Network, means: NDArray[Any]) -> NDArray[Any]:
    """Latents besides the means of real data, like `means` in shape: always the same ones.

    From the prior if it is N(0, I); else spread about the means, channel by channel. Codes are
    drawn from the whole codebook.
    """
    generator = np.random.default_rng(_SEED)
    if network.spec.codebook_size is not None:
        return generator.integers(network.spec.codebook_size, size=means.shape)
    noise = generator.standard_normal(means.shape).astype(np.float32)
    if network.spec.prior is Prior.STANDARD_NORMAL:
        return noise
    axes = (0, *range(2, means.ndim))
    spread: Floats = means.mean(axes, keepdims=True) + noise * means.std(axes, keepdims=True)
    return spread.astype(np.float32)


def probing_latents(network: Network, means: NDArray[Any], values: Floats) -> NDArray[Any]:
    """The means of data and as many other latents, as the decoder takes them."""
    latents = np.concatenate([means, draws(network, means)])
    if network.spec.label_count is None:
        return latents
    labels = labels_of(values)
    # The drawn latents get the labels of other rows.
    return joined(latents, np.concatenate([labels, np.roll(labels, 1)]))


def reference_posterior(network: Network, values: Floats) -> dict[str, NDArray[Any]]:
    """What torch gives for data, by the names of the encoder's outputs."""
    with torch.inference_mode():
        found = network.encode(torch.from_numpy(values))
    arrays = [tensor.numpy() for tensor in found if tensor is not None]
    return dict(zip(network.spec.encoded_fields, arrays, strict=True))


def reference_latents(network: Network, values: Floats) -> NDArray[Any]:
    """The means, or the codes, that torch gives for data."""
    return next(iter(reference_posterior(network, values).values()))


def reference_data(network: Network, latents: NDArray[Any]) -> Floats:
    """What torch gives for latents: data in the spec's range."""
    with torch.inference_mode():
        data: Floats = network.decode(torch.from_numpy(latents)).numpy()
    return data
