"""The test images in the latent plane, by their posterior means, coloured by label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from latens_training.figures import canvas
from latens_training.figures.subject import Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

_SIDE = 1000
_LEGEND = 150
_MOST_CLASSES = len(canvas.PALETTE)
_BETWEEN_NAMES = 0.045
"""The least distance of two classes' names, as a share of the plane's width."""
_MOST_MOVES = 200


def draw(subject: Subject, path: Path) -> Path:
    """The plane itself for L = 2, two principal components for larger L, a line for L = 1."""
    title = "Where the model puts the test images"
    subtitle = f"{subject.caption} · {len(subject.means):,} test images, posterior means"
    width = canvas.MARGIN + 70 + _SIDE + _LEGEND + canvas.MARGIN
    height = canvas.HEADER + _SIDE + 110
    figure = canvas.new_figure(width, height, title, subtitle)
    axes = canvas.add_panel(figure, canvas.MARGIN + 70, canvas.HEADER, _SIDE, _SIDE)
    fill(figure, axes, subject)
    return canvas.save(figure, path)


def fill(figure: Figure, axes: Axes, subject: Subject, *, legend: bool = True) -> None:
    """Draws the test images into axes, with a legend or a scale of their labels at the right."""
    points, names = _plane(subject)
    _plot(figure, axes, points, subject, legend=legend)
    axes.set_xlabel(names[0], labelpad=8)
    axes.set_ylabel(names[1], labelpad=8)
    _frame(axes, points, equal=subject.size > 1)


def write_log(subject: Subject, path: Path) -> Path:
    """The article's log: one line `label mean_1 mean_2` per image; `nan` without a label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = subject.labels
    with path.open("w", encoding="utf-8") as file:
        for index, mean in enumerate(subject.means):
            label = "nan" if labels is None else repr(float(labels[index]))
            file.write(" ".join([label, *map(str, mean)]) + "\n")
    return path


def principal_components(
    means: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates [n, count] along the directions of most variance, and their shares of it."""
    from sklearn.decomposition import PCA

    pca = PCA(count, svd_solver="full")
    with np.errstate(invalid="ignore"):  # of codes that do not vary, the shares are 0 / 0
        points = pca.fit_transform(means.astype(np.float64))
    return points, np.nan_to_num(pca.explained_variance_ratio_)


def _plane(subject: Subject) -> tuple[NDArray[np.float64], tuple[str, str]]:
    if subject.size == 2:
        return subject.means.astype(np.float64), ("z₁", "z₂")
    if subject.size == 1:
        spread = np.random.default_rng(0).uniform(-0.4, 0.4, len(subject.means))
        rows = np.zeros(len(spread)) if subject.labels is None else subject.labels
        name = "spread at random" if subject.labels is None else "label, spread at random"
        return np.stack([subject.means[:, 0], rows + spread], axis=1), ("z₁", name)
    points, shares = principal_components(subject.means, 2)
    first, second = (
        f"principal component {i + 1} ({shares[i]:.0%} of the variance)" for i in (0, 1)
    )
    return points, (first, second)


def _plot(
    figure: Figure,
    axes: Axes,
    points: NDArray[np.float64],
    subject: Subject,
    *,
    legend: bool,
) -> None:
    labels = subject.labels
    classes = np.empty(0, np.int64) if labels is None else np.unique(labels)
    colours: str | list[str] | NDArray[np.int64]
    if labels is None:
        colours = canvas.ACCENT
    elif len(classes) <= _MOST_CLASSES and subject.label_name == "label":
        colours = [canvas.PALETTE[i] for i in np.searchsorted(classes, labels)]
    else:
        colours = labels
    # In the order of the data, so that no class covers the others because of its number.
    shown = axes.scatter(
        points[:, 0],
        points[:, 1],
        s=float(np.clip(60_000 / len(points), 6, 40)),
        c=colours,
        cmap=canvas.ORDERED_MAP if colours is labels else None,
        linewidths=0,
        alpha=0.7,
    )
    if labels is not None and colours is labels:
        if legend:
            _add_scale(figure, shown, subject.label_name)
    elif labels is not None:
        _name_classes(axes, points, labels, subject.class_names, legend=legend)


def _name_classes(
    axes: Axes,
    points: NDArray[np.float64],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    *,
    legend: bool,
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    marks = []
    values = np.unique(labels)
    middles = np.stack([np.median(points[labels == value], axis=0) for value in values])
    spread = np.ptp(np.quantile(points, [0.001, 0.999], axis=0), axis=0).max() + 1e-6
    places = apart(middles, _BETWEEN_NAMES * spread)
    for index, value in enumerate(values):
        colour = canvas.PALETTE[index]
        name = class_names[value] if 0 <= value < len(class_names) else str(value)
        x, y = places[index].tolist()
        axes.text(
            x, y, name, color=canvas.INK, fontsize=12, fontweight="bold",
            ha="center", va="center", path_effects=[withStroke(linewidth=3.5, foreground="white")],
        )  # fmt: skip
        marks.append(Line2D([], [], marker="o", ls="", color=colour, ms=7, label=name))
    if not legend:
        return
    axes.legend(
        handles=marks, title="label", loc="upper left", bbox_to_anchor=(1.02, 1.0),
        frameon=False, fontsize=9.5, title_fontsize=9.5, labelcolor=canvas.INK, borderaxespad=0,
    )  # fmt: skip


def apart(places: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    """The places [n, 2], moved as little as keeps each `distance` from every other."""
    places = places.copy()
    for _ in range(_MOST_MOVES):
        gaps = places[:, None] - places[None]
        lengths = np.linalg.norm(gaps, axis=2)
        np.fill_diagonal(lengths, np.inf)
        lacking = np.maximum(distance - lengths, 0)
        if not lacking.any():
            break
        # Two at one place move apart along the diagonal, by their numbers.
        turn = np.sign(np.arange(len(places))[:, None] - np.arange(len(places))[None])[..., None]
        directions = np.where(lengths[..., None] > 1e-9 * distance, gaps, turn * np.ones(2))
        directions /= np.maximum(np.linalg.norm(directions, axis=2, keepdims=True), 1e-12)
        places += 0.5 * (lacking[..., None] * directions).sum(axis=1)
    return places


def _add_scale(figure: Figure, shown: PathCollection, name: str) -> None:
    width, height = (round(inches * canvas.DPI) for inches in figure.get_size_inches())
    left = width - canvas.MARGIN - _LEGEND + 30
    box = (left / width, 1 - (canvas.HEADER + 420) / height, 22 / width, 400 / height)
    bar = figure.colorbar(shown, cax=figure.add_axes(box))
    bar.outline.set(visible=False)
    if bar.solids is not None:
        bar.solids.set_alpha(1)  # the points' transparency is not the scale's
    bar.ax.set_title(name, fontsize=9.5, color=canvas.INK, pad=10)
    bar.ax.tick_params(colors=canvas.MUTED, labelsize=8.5, length=0)


def _frame(axes: Axes, points: NDArray[np.float64], equal: bool) -> None:
    """Limits that contain nearly all points, so that a few far ones do not shrink the figure."""
    low, high = np.quantile(points, [0.001, 0.999], axis=0)
    middle, half = (low + high) / 2, (high - low) / 2 * 1.08 + 1e-6
    if equal:
        half[:] = half.max()
    axes.set_xlim(middle[0] - half[0], middle[0] + half[0])
    axes.set_ylim(middle[1] - half[1], middle[1] + half[1])
    axes.grid(color=canvas.FAINT, linewidth=0.8)
