"""Whether the graphs compute what the network computes: torch against ONNX Runtime."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from latens_export.errors import ParityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from latens_export.network import Network

SMALL_BATCHES = (1, 2, 3)
LARGE_BATCH = 1000
_PRIOR_SEED = 0

Floats = NDArray[np.float32]
Outputs = dict[str, NDArray[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Parity:
    """Largest absolute differences between torch and ONNX Runtime, over all rows and elements."""

    batch_sizes: tuple[int, ...]
    differences: dict[str, float]
    """By output: mean, log_var (unless the posterior is a point), images."""

    @property
    def largest(self) -> float:
        """The largest difference of all."""
        return max(self.differences.values())


def measure(model: Network, encoder: bytes, decoder: bytes, images: Tensor) -> Parity:
    """Runs network and graphs on batches of 1, 2, 3 and many test images, and compares.

    Args:
        model: the network, in eval mode.
        encoder: its encoder's graph.
        decoder: its decoder's graph.
        images: real test images, uint8 [n, c, h, w]. The decoder gets their means, and as many
            draws from the prior.

    Raises:
        ParityError: an output of a graph is not finite, or has the wrong shape.
    """
    encode, decode = session(encoder), session(decoder)

    def graphs(pixels: Floats, latents: Floats) -> Outputs:
        names = [output.name for output in encode.get_outputs()]
        found = dict(zip(names, encode.run(names, {"images": pixels}), strict=True))
        return {**found, "images": decode.run(["images"], {"latents": latents})[0]}

    return _compare(model, graphs, images)


def measure_network(model: Network, other: Network, images: Tensor) -> Parity:
    """As `measure`, for another network of the same shapes in place of the graphs."""

    def network(pixels: Floats, latents: Floats) -> Outputs:
        return {**reference_posterior(other, pixels), "images": reference_images(other, latents)}

    return _compare(model, network, images)


def larger(first: Parity, second: Parity) -> Parity:
    """The larger difference of each output."""
    return Parity(
        first.batch_sizes,
        {name: max(value, second.differences[name]) for name, value in first.differences.items()},
    )


def _compare(model: Network, other: Callable[[Floats, Floats], Outputs], images: Tensor) -> Parity:
    sizes = tuple(sorted({min(size, len(images)) for size in (*SMALL_BATCHES, LARGE_BATCH)}))
    differences: dict[str, float] = {}
    for size in sizes:
        pixels = pixels_of(images[:size])
        posterior = reference_posterior(model, pixels)
        latents = np.concatenate([posterior["mean"], prior_draws(model, size)])
        expected = {**posterior, "images": reference_images(model, latents)}
        found = other(pixels, latents)
        for name in expected:
            difference = largest_difference(name, found[name], expected[name])
            differences[name] = max(differences.get(name, 0.0), difference)
    return Parity(sizes, differences)


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


def pixels_of(images: Tensor) -> Floats:
    """Images uint8 [n, c, h, w] as float32 in [0, 1]."""
    return images.numpy().astype(np.float32) / np.float32(255)


def prior_draws(model: Network, count: int) -> Floats:
    """Latents [count, *latent_shape] from N(0, I): always the same ones."""
    generator = np.random.default_rng(_PRIOR_SEED)
    return generator.standard_normal((count, *model.latent_shape)).astype(np.float32)


def reference_posterior(model: Network, pixels: Floats) -> dict[str, Floats]:
    """What torch gives for images [n, c, h, w]: mean and, unless it is a point, log_var."""
    with torch.inference_mode():
        mean, log_var = model.encode(torch.from_numpy(pixels))
    return _arrays({"mean": mean, "log_var": log_var}.items())


def reference_images(model: Network, latents: Floats) -> Floats:
    """What torch gives for latents [n, *latent_shape]: images in [0, 1]."""
    with torch.inference_mode():
        images: Floats = torch.sigmoid(model.decode(torch.from_numpy(latents))).numpy()
    return images


def _arrays(outputs: Iterable[tuple[str, Tensor | None]]) -> dict[str, Floats]:
    return {name: tensor.numpy() for name, tensor in outputs if tensor is not None}


def session(graph: bytes) -> ort.InferenceSession:
    """A graph made ready to run on the CPU."""
    return ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
