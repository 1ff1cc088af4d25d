"""The KL of each latent coordinate."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latens_training.figures import canvas
from latens_training.figures.subject import Subject
from latens_training.metrics.evaluation import ACTIVE_VARIANCE

_HEIGHT = 620
_MOST_NAMES = 40


def draw(subject: Subject, path: Path) -> Path:
    """KL by coordinate, sorted; the variance of the mean for a deterministic posterior."""
    weights = subject.unit_variance if subject.unit_kl is None else subject.unit_kl
    heights = weights[subject.order]
    title, label = "How much each coordinate carries", "KL from the prior, nats per image"
    if subject.unit_kl is None:
        label = "variance of the mean"
    count = int(subject.active.sum())
    subtitle = (
        f"{subject.caption} · {count} of {subject.size} active (variance of the mean above "
        f"{ACTIVE_VARIANCE}), total {weights.sum():.1f}"
    )
    plot_width = int(np.clip(46 * subject.size, 900, 1900))
    width = plot_width + 2 * canvas.MARGIN + 90
    figure = canvas.new_figure(width, canvas.HEADER + _HEIGHT + 100, title, subtitle)
    axes = canvas.add_chart(figure, canvas.MARGIN + 90, canvas.HEADER, plot_width, _HEIGHT)
    places = np.arange(subject.size)
    active = subject.active[subject.order]
    axes.bar(places[active], heights[active], width=0.75, color=canvas.ACCENT, label="active")
    if not active.all():
        axes.bar(places[~active], heights[~active], width=0.75, color="#b8bec9", label="inactive")
        axes.legend(frameon=False, fontsize=9.5, labelcolor=canvas.INK)
    if subject.size <= _MOST_NAMES:
        axes.set_xticks(places, [f"z{i + 1}" for i in subject.order])
    axes.set_xlim(-0.75, subject.size - 0.25)
    axes.set_xlabel("latent coordinate, the most used first")
    axes.set_ylabel(label)
    return canvas.save(figure, path)
