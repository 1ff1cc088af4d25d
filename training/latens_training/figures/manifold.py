"""The whole plane of a model with two coordinates, decoded on a grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latens_training.figures import canvas, tiles
from latens_training.figures.subject import STEPS, Subject, scan

_TILE = 56
_MARKS = range(0, STEPS, 5)


def draw(subject: Subject, path: Path) -> Path:
    """The article's 21 x 21 grid: z₁ grows to the right and z₂ upwards, as in the scatter plot."""
    axis = scan()
    units = np.stack(np.meshgrid(axis, axis[::-1]), axis=-1).reshape(-1, 2)
    pixels = tiles.scaled(tiles.to_pixels(subject.decode(subject.place(units))), _TILE)
    title, subtitle = "The latent plane, decoded", f"{subject.caption} · {subject.reach}"
    sheet = tiles.sheet(pixels, STEPS)
    figure, axes = canvas.image_page(sheet, title, subtitle, left=80, bottom=70)
    height, width = pixels.shape[1:3]
    values = subject.place(np.repeat(axis[:, None], subject.size, axis=1)).T
    axes.set_xticks([(i + 0.5) * width for i in _MARKS], [f"{values[0][i]:.3g}" for i in _MARKS])
    rows = [(STEPS - 1 - i + 0.5) * height for i in _MARKS]
    axes.set_yticks(rows, [f"{values[1][i]:.3g}" for i in _MARKS])
    axes.set_xlabel("z₁")
    axes.set_ylabel("z₂")
    return canvas.save(figure, path)
