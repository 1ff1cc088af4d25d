"""A study's scores: one panel per score, one column per kind of model, one dot per seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latens_training.figures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH = 330
_HEIGHT = 460
_SPACE = 90


def draw(panels: Mapping[str, Mapping[str, Sequence[float]]], caption: str, path: Path) -> Path:
    """Draws values by panel, kind of model and seed; the bar is the mean over the seeds.

    Args:
        panels: by title, the values of each kind, as `β = 4`.
        caption: what was studied.
        path: the file to write.
    """
    width = 2 * canvas.MARGIN + 50 + len(panels) * (_WIDTH + _SPACE) - _SPACE
    height = canvas.HEADER + 40 + _HEIGHT + 110
    subtitle = f"{caption} · a dot a seed, the bar their mean; more is better, 1 the best"
    figure = canvas.new_figure(max(width, canvas.MIN_WIDTH), height, "Disentanglement", subtitle)
    for index, (title, values) in enumerate(panels.items()):
        left = canvas.MARGIN + 50 + index * (_WIDTH + _SPACE)
        axes = canvas.add_chart(figure, left, canvas.HEADER + 40, _WIDTH, _HEIGHT)
        _fill(axes, title, values)
    return canvas.save(figure, path)


def _fill(axes: Axes, title: str, values: Mapping[str, Sequence[float]]) -> None:
    for place, kind in enumerate(values):
        known = np.asarray(values[kind])
        colour = canvas.PALETTE[place % len(canvas.PALETTE)]
        axes.bar(place, known.mean(), width=0.62, color=colour, alpha=0.35)
        # Side by side, so that equal scores stay apart.
        offsets = np.linspace(-0.2, 0.2, len(known)) if len(known) > 1 else np.zeros(1)
        axes.scatter(place + offsets, known, s=26, color=colour, edgecolors="white", zorder=3)
    axes.set_xticks(range(len(values)), list(values))
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_ylim(0, max(0.05, 1.15 * max(max(known) for known in values.values())))
    axes.set_title(title, loc="left", fontsize=11, color=canvas.INK, pad=12)
