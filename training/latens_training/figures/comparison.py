"""Several models beside each other: their planes, or what their coordinates do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from latens_training.figures import canvas, scatter, tiles, traversals
from latens_training.figures.subject import STEPS, Subject, scan

_SIDE = 620
_SPACE = 90
_LEGEND = 150
_TILE = 28
_MOST_ROWS = 12
_LEFT = 120


def draw(subjects: Mapping[str, Subject], path: Path) -> Path:
    """Scatters of the test images for two coordinates, else traversals sorted by KL.

    Args:
        subjects: the models by what tells them apart, as `β = 4`.
        path: the file to write.
    """
    if all(subject.size == 2 for subject in subjects.values()):
        return _scatters(subjects, path)
    return _traversals(subjects, path)


def _scatters(subjects: Mapping[str, Subject], path: Path) -> Path:
    first = next(iter(subjects.values()))
    width = 2 * canvas.MARGIN + 70 + len(subjects) * (_SIDE + _SPACE) - _SPACE + _LEGEND
    subtitle = f"{len(first.means):,} test images each, posterior means; mind the different scales"
    figure = canvas.new_figure(
        width, canvas.HEADER + 40 + _SIDE + 110, "The latent planes of several models", subtitle
    )
    for place, (kind, subject) in enumerate(subjects.items()):
        left = canvas.MARGIN + 70 + place * (_SIDE + _SPACE)
        axes = canvas.add_panel(figure, left, canvas.HEADER + 40, _SIDE, _SIDE)
        is_last = place == len(subjects) - 1
        scatter.fill(figure, axes, subject, legend=is_last)
        axes.set_title(kind, loc="left", fontsize=12, color=canvas.INK, pad=10)
    return canvas.save(figure, path)


def _traversals(subjects: Mapping[str, Subject], path: Path) -> Path:
    sheets = {}
    for kind, subject in subjects.items():
        chosen = subject.order[:_MOST_ROWS]
        decoded = tiles.to_pixels(traversals.decoded_scans(subject, chosen))
        sheets[kind] = (chosen, tiles.sheet(tiles.scaled(decoded, _TILE), STEPS, gap=1))
    height = max(sheet.shape[0] for _, sheet in sheets.values())
    widths = [sheet.shape[1] for _, sheet in sheets.values()]
    width = 2 * canvas.MARGIN + sum(widths) + len(sheets) * (_LEFT + 30)
    subtitle = "each row scans one coordinate from -3 to 3; rows sorted by KL, the largest first"
    figure = canvas.new_figure(
        max(width, canvas.MIN_WIDTH), canvas.HEADER + 40 + height + 90,
        "What the coordinates of several models do", subtitle,
    )  # fmt: skip
    left = canvas.MARGIN
    for (kind, (chosen, sheet)), subject in zip(sheets.items(), subjects.values(), strict=True):
        left += _LEFT
        shown = sheet[..., 0] if sheet.shape[-1] == 1 else sheet
        axes = canvas.add_image(figure, shown, left, canvas.HEADER + 40)
        tall = sheet.shape[0] / len(chosen)
        names = traversals.row_names(subject, chosen)
        axes.set_yticks([(row + 0.5) * tall for row in range(len(chosen))], names)
        marks = np.arange(0, STEPS, 5)
        axes.set_xticks((marks + 0.5) * sheet.shape[1] / STEPS, [f"{scan()[i]:g}" for i in marks])
        axes.set_title(kind, loc="left", fontsize=12, color=canvas.INK, pad=10)
        left += sheet.shape[1] + 30
    return canvas.save(figure, path)
