"""Test images and their reconstructions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latens_training.figures import canvas, tiles
from latens_training.figures.subject import Subject

_COLUMNS = 10
_ROWS = 6
_TILE = 84
_PAIR_GAP = 18


def draw(subject: Subject, path: Path) -> Path:
    """Each image above its reconstruction; a class a column where there are few classes."""
    chosen = by_class(subject.labels, len(subject.images), _COLUMNS, _ROWS)
    indices = chosen.ravel()
    originals = tiles.to_pixels(subject.images[indices])
    classes = None if subject.classes is None else subject.classes[indices]
    decoded = tiles.to_pixels(subject.decode(subject.means[indices], classes))
    pairs = np.concatenate([tiles.scaled(originals, _TILE), tiles.scaled(decoded, _TILE)], axis=1)
    sheet = tiles.sheet(pairs, chosen.shape[1], gap=_PAIR_GAP)
    title = "Originals, each above its reconstruction"
    subtitle = f"{subject.caption} · test images, decoded from the posterior's mean"
    if classes is not None:
        subtitle += " in their classes"
    figure, axes = canvas.image_page(sheet, title, subtitle, left=90)
    height = pairs.shape[1]
    starts = [row * (height + _PAIR_GAP) for row in range(len(chosen))]
    axes.set_yticks(
        [start + height * part for start in starts for part in (0.25, 0.75)],
        ["original", "model"] * len(starts),
    )
    return canvas.save(figure, path)


def by_class(
    labels: NDArray[np.int64] | None, count: int, columns: int, rows: int
) -> NDArray[np.int64]:
    """Indices [rows, columns] of images to show: the first ones of each class down its column.

    Without labels, or with other than a handful of well-filled classes, simply the first ones.
    """
    if labels is not None:
        classes, sizes = np.unique(labels, return_counts=True)
        if 2 < len(classes) <= columns and sizes.min() >= rows:
            firsts = [np.flatnonzero(labels == value)[:rows] for value in classes]
            return np.stack(firsts, axis=1)
    columns = min(columns, count)
    rows = min(rows, count // columns)
    return np.arange(rows * columns).reshape(rows, columns)
