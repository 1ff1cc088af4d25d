"""One image moved along attribute vectors, such as bold and italic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latens_training.figures import canvas, tiles
from latens_training.figures.subject import Subject

_STEPS = 13
_TILE = 84
_GAP = 3
_ROWS = 6
SCALES_FILE = "attributes.png"
WEIGHT_AND_SLANT_FILE = "weight-and-slant.png"
WEIGHT_AND_SLANT = ("light", "bold", "italic")
"""The vectors that `draw_weight_and_slant` needs."""


def draw_scales(
    subject: Subject,
    start: NDArray[np.floating],
    vectors: Mapping[str, Sequence[float]],
    name: str,
    path: Path,
    reach: float = 2.4,
) -> Path:
    """One row per vector: the code `start` [L] plus -`reach` to `reach` times the vector."""
    steps = np.linspace(-reach, reach, _STEPS)
    directions = [np.asarray(vector) for vector in vectors.values()]
    latents = np.concatenate([start + steps[:, None] * direction for direction in directions])
    pixels = tiles.scaled(tiles.to_pixels(subject.decode(latents)), _TILE)
    sheet = tiles.sheet(pixels, _STEPS, gap=_GAP)
    title = f"{name}, turned by attributes"
    subtitle = f"{subject.caption} · its code plus a multiple of each attribute vector"
    figure, axes = canvas.image_page(sheet, title, subtitle, left=130, bottom=70)
    height, width = (side + _GAP for side in pixels.shape[1:3])
    axes.set_yticks([(row + 0.5) * height for row in range(len(vectors))], list(vectors))
    _number(axes.set_xticks, steps, width)
    axes.set_xlabel("multiple of the vector")
    return canvas.save(figure, path)


def draw_weight_and_slant(
    subject: Subject,
    start: NDArray[np.floating],
    vectors: Mapping[str, Sequence[float]],
    name: str,
    path: Path,
    reach: float = 2.4,
) -> Path:
    """A font from hairline to black across, and from upright to italic down.

    The direction of the weight is half of `bold` minus `light`: it leads from the mean of the light
    fonts to the mean of the bold ones.
    """
    light, bold, italic = (np.asarray(vectors[part]) for part in WEIGHT_AND_SLANT)
    steps, rows = np.linspace(-reach, reach, _STEPS), np.linspace(0, reach, _ROWS)
    weights = steps[:, None] * (bold - light) / 2
    latents = start + rows[:, None, None] * italic + weights
    pixels = tiles.to_pixels(subject.decode(latents.reshape(-1, subject.size)))
    pixels = tiles.scaled(pixels, _TILE)
    sheet = tiles.sheet(pixels, _STEPS, gap=_GAP)
    title = f"{name}: hairline to black, upright to italic"
    subtitle = f"{subject.caption} · its code plus multiples of three attribute vectors"
    figure, axes = canvas.image_page(sheet, title, subtitle, left=110, bottom=70)
    height, width = (side + _GAP for side in pixels.shape[1:3])
    _number(axes.set_xticks, steps, width)
    _number(axes.set_yticks, rows, height)
    axes.set_xlabel("weight: multiple of (bold - light) / 2")
    axes.set_ylabel("slant: multiple of italic")
    return canvas.save(figure, path)


def _number(set_ticks: Callable[..., object], values: NDArray[np.float64], side: int) -> None:
    set_ticks([(i + 0.5) * side for i in range(len(values))], [f"{v:+.2g}" for v in values])
