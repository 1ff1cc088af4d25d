"""Traversals: each coordinate is scanned while the others stay fixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latens_training.figures import canvas, tiles
from latens_training.figures.subject import STEPS, Subject, scan

MOST_ROWS = 50
"""The most coordinates to show, those with the largest KL."""
_TILE = 56
_GAP = 2


def draw(subject: Subject, path: Path) -> Path:
    """One row per coordinate from -3 to 3, the others at the centre; sorted by falling KL."""
    chosen = subject.order[:MOST_ROWS]
    pixels = tiles.scaled(tiles.to_pixels(decoded_scans(subject, chosen)), _TILE)
    sheet = tiles.sheet(pixels, STEPS, gap=_GAP)
    figure, axes = canvas.image_page(
        sheet, "What each coordinate does", _subtitle(subject, len(chosen)), left=130, bottom=70
    )
    height, width = (side + _GAP for side in pixels.shape[1:3])
    axis, marks = scan(), range(0, STEPS, 5)
    axes.set_yticks([(i + 0.5) * height for i in range(len(chosen))], row_names(subject, chosen))
    axes.set_xticks([(i + 0.5) * width for i in marks], [f"{axis[i]:g}" for i in marks])
    if subject.unit_kl is None:
        axes.set_xlabel("from the first to the last of a hundred quantiles of the codes")
    else:
        axes.set_xlabel("value, in the prior's standard deviations")
    return canvas.save(figure, path)


def decoded_scans(subject: Subject, coordinates: NDArray[np.int64]) -> NDArray[np.float32]:
    """Images [len(coordinates) * 21, c, h, w]: each coordinate scanned in turn."""
    units = np.zeros((len(coordinates), STEPS, subject.size))
    units[np.arange(len(coordinates)), :, coordinates] = scan()
    return subject.decode(subject.place(units.reshape(-1, subject.size)))


def row_names(subject: Subject, coordinates: NDArray[np.int64]) -> list[str]:
    if subject.unit_kl is None:
        return [f"z{i + 1}  var {subject.unit_variance[i]:.2f}" for i in coordinates]
    return [f"z{i + 1}  {subject.unit_kl[i]:.2f} nats" for i in coordinates]


def _subtitle(subject: Subject, shown: int) -> str:
    by = "variance of the mean" if subject.unit_kl is None else "KL"
    left_out = f", the first {shown} of {subject.size}" if shown < subject.size else ""
    return f"{subject.caption} · {subject.reach}; rows sorted by {by}{left_out}"
