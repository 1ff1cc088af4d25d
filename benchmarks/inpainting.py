"""Measures how well a served model fills missing pixels of MNIST test images, and draws a figure.

Calls a running server. It compares three ways to fill the same pixels by the cross-entropy of the
missing pixels in nats per image: the mean training image, one reconstruction of the image with the
missing pixels, and the Markov chain of the Inpaint RPC. Of the latter it measures one chain, and
the mean of many, which has a lower cross-entropy if several digits fit.

    make run                                                  in another terminal
    python benchmarks/inpainting.py --model mnist -o inpainting.png
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

import latens
from latens_training.data import datasets

mpl.use("Agg")

import matplotlib.pyplot as plt

Images = NDArray[np.float32]
Mask = NDArray[np.bool_]

SIDE = 28
SHOWN = 10
_LEAST = 1e-3  # probabilities of filled pixels are clipped to this distance from 0 and 1
_WAYS = ("mean image", "one reconstruction", "one chain", "mean of chains")


def _square(image: Mask) -> None:
    image[9:19, 9:19] = True


def _lower_half(image: Mask) -> None:
    image[14:] = True


def _right_half(image: Mask) -> None:
    image[:, 14:] = True


def _four_fifths(image: Mask) -> None:
    image |= np.random.default_rng(0).random(image.shape) < 0.8


HOLES: dict[str, Callable[[Mask], None]] = {
    "middle square": _square,
    "lower half": _lower_half,
    "right half": _right_half,
    "80% of the pixels": _four_fifths,
}


def main() -> None:
    """Measures, prints the table, draws the figure."""
    options = _parse()
    mnist = datasets.load("mnist")
    images = np.divide(mnist.test.images[: options.images].numpy(), 255, dtype=np.float32)
    mean_image = np.divide(mnist.train.images.numpy().mean(0), 255, dtype=np.float32)
    filled: dict[str, list[Images]] = {}
    print(f"Nats per image on {len(images)} test images; {options.iterations} steps per chain, the")
    print(f"last {options.average} averaged; {options.chains} chains per image.\n")
    print(f"| missing | {' | '.join(_WAYS)} |\n|{'---|' * (1 + len(_WAYS))}")
    with latens.Client(options.address) as client:
        for name, cut in HOLES.items():
            mask = np.zeros((SIDE, SIDE), np.bool_)
            cut(mask)
            filled[name] = _fill(client, options, images, mask, mean_image)
            figures = [f"{_nats(way, images, mask):.1f}" for way in filled[name]]
            print(f"| {name} | {' | '.join(figures)} |")
    _draw(images, filled, Path(options.output))


def _fill(
    client: latens.Client,
    options: argparse.Namespace,
    images: Images,
    mask: Mask,
    mean_image: Images,
) -> list[Images]:
    """The images, filled in each way."""
    holed = np.where(mask, np.float32(0), images)
    single = client.reconstruct(holed, model=options.model)
    chains = client.inpaint(
        np.repeat(holed, options.chains, axis=0),
        mask,
        iterations=options.iterations,
        average=options.average,
        seed=0,
        model=options.model,
    )
    several = chains.images.reshape(len(images), options.chains, *images.shape[1:])
    ways = (
        np.broadcast_to(mean_image, images.shape),
        single.images,
        several[:, 0],
        several.mean(1),
    )
    return [np.where(mask, way, images) for way in ways]


def _nats(filled: Images, images: Images, mask: Mask) -> float:
    p = np.clip(filled[..., mask].astype(np.float64), _LEAST, 1 - _LEAST)
    x = images[..., mask]
    return float(-(x * np.log(p) + (1 - x) * np.log(1 - p)).sum() / len(images))


def _draw(images: Images, filled: dict[str, list[Images]], output: Path) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(8.4, 5.2), layout="constrained")
    for place, (axis, (name, ways)) in enumerate(zip(axes.flat, filled.items(), strict=True)):
        mask = np.zeros((SIDE, SIDE), np.bool_)
        HOLES[name](mask)
        given = np.where(mask, np.float32(0.35), images)
        rows = [images, given, *ways]
        sheet = np.block([[row[shown, 0] for shown in range(SHOWN)] for row in rows])
        axis.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(f"Missing: {name}", fontsize=10)
        axis.set_xticks([])
        middles = SIDE * (np.arange(len(rows)) + 0.5)
        names = ("held out", "given", *_WAYS) if place % 2 == 0 else [""] * len(rows)
        axis.set_yticks(middles, names)
        axis.tick_params(length=0, labelsize=9)
    figure.savefig(output, dpi=130)
    print(f"\n{output}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", default="127.0.0.1:50051")
    parser.add_argument("--model", default="mnist")
    parser.add_argument("--images", type=int, default=500, help="number of test images")
    parser.add_argument("--chains", type=int, default=32, help="chains per image")
    parser.add_argument("--iterations", type=int, default=50, help="steps per chain")
    parser.add_argument("--average", type=int, default=20, help="number of last steps to average")
    parser.add_argument("-o", "--output", default="inpainting.png")
    return parser.parse_args()


if __name__ == "__main__":
    main()
