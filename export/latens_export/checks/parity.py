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
from latens_serving.bundle.spec import Prior

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from latens_export.network import Network

SMALL_BATCHES = (1, 2, 3)
LARGE_BATCH = 1000
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
    """By output: mean, log_var (unless the posterior is deterministic), images."""
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

    def graphs(values: Floats, latents: Floats) -> Outputs:
        names = [output.name for output in encode.get_outputs()]
        found = dict(zip(names, encode.run(names, {"images": values}), strict=True))
        return {**found, "images": decode.run(["images"], {"latents": latents})[0]}

    return _compare(network, graphs, data)


def measure_network(network: Network, other: Network, data: Tensor | Sequence[Tensor]) -> Parity:
    """As `measure`, for another network of the same shapes in place of the graphs."""

    def answers(values: Floats, latents: Floats) -> Outputs:
        return {**reference_posterior(other, values), "images": reference_data(other, latents)}

    return _compare(network, answers, data)


def larger(first: Parity, second: Parity) -> Parity:
    """The larger difference of each output."""
    differences = {
        name: max(value, second.differences[name]) for name, value in first.differences.items()
    }
    return dataclasses.replace(first, differences=differences)


def _compare(
    network: Network,
    other: Callable[[Floats, Floats], Outputs],
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
            latents = np.concatenate([posterior["mean"], draws(network, posterior["mean"])])
            expected = {**posterior, "images": reference_data(network, latents)}
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
    over = {name: value for name, value in parity.differences.items() if value > tolerance}
    if over:
        found = ", ".join(f"{name} by {value:.2g}" for name, value in over.items())
        raise ParityError(
            f"parity: the graphs differ from the network ({found}), "
            f"which is more than the tolerance {tolerance:g}"
        )


def largest_difference(name: str, found: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest absolute difference between two arrays of one shape.

    Raises:
        ParityError: the shapes differ, or what was found is not finite.
    """
    if found.shape != expected.shape:
        raise ParityError(f"parity: {name} is {found.shape}, the network gives {expected.shape}")
    if not np.isfinite(found).all():
        raise ParityError(f"parity: {name} has values that are not finite")
    return float(np.abs(found.astype(np.float64) - expected).max())


def draws(network: Network, means: Floats) -> Floats:
    """Latents besides the means of real data, like `means` in shape: always the same ones.

    From the prior if it is N(0, I); else spread about the means, channel by channel.
    """
    generator = np.random.default_rng(_SEED)
    noise = generator.standard_normal(means.shape).astype(np.float32)
    if network.spec.prior is Prior.STANDARD_NORMAL:
        return noise
    axes = (0, *range(2, means.ndim))
    spread: Floats = means.mean(axes, keepdims=True) + noise * means.std(axes, keepdims=True)
    return spread.astype(np.float32)


def reference_posterior(network: Network, values: Floats) -> dict[str, Floats]:
    """What torch gives for data: mean and, unless it is deterministic, log_var."""
    with torch.inference_mode():
        mean, log_var = network.encode(torch.from_numpy(values))
    return _arrays({"mean": mean, "log_var": log_var}.items())


def reference_data(network: Network, latents: Floats) -> Floats:
    """What torch gives for latents: data in the spec's range."""
    with torch.inference_mode():
        data: Floats = network.decode(torch.from_numpy(latents)).numpy()
    return data


def _arrays(outputs: Iterable[tuple[str, Tensor | None]]) -> dict[str, Floats]:
    return {name: tensor.numpy() for name, tensor in outputs if tensor is not None}
