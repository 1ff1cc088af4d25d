"""The loss and its two terms by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latens_training.figures import canvas
from latens_training.figures.subject import Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH = 560
_HEIGHT = 520
_SPACE = 110
_TITLES = {
    "loss": "loss: reconstruction + β KL",
    "reconstruction": "reconstruction",
    "kl": "KL from the prior",
}
_LOSSES = {
    "elbo": "loss: reconstruction + β KL",
    "iwae": "loss: minus the importance-weighted bound",
    "dreg": "loss: minus the importance-weighted bound",
}
_PARTS = {"train": ("training set", canvas.SECOND), "test": ("test set", canvas.ACCENT)}

Curve = tuple[list[float], list[float]]


def draw(subject: Subject, path: Path) -> Path:
    """One panel per term, nats per image, with the training set and the test set."""
    terms = {name: found for name in _names(subject.history)
             if (found := _curves(subject.history, name))}  # fmt: skip
    titles = {name: _TITLES.get(name, name.replace("_", " ")) for name in terms}
    titles["loss"] = _LOSSES.get(subject.objective, f"loss: {subject.objective}")
    if subject.objective != "elbo":
        # A test loss that older runs recorded beside it is minus the ELBO: another quantity.
        terms.get("loss", {}).pop("test", None)
    width = 2 * canvas.MARGIN + 70 + len(terms) * (_WIDTH + _SPACE) - _SPACE
    width = max(width, canvas.MIN_WIDTH)
    subtitle = f"{subject.caption} · nats per image; training values are averages over the epoch"
    figure = canvas.new_figure(width, canvas.HEADER + _HEIGHT + 140, "How the run went", subtitle)
    for index, (name, found) in enumerate(terms.items()):
        left = canvas.MARGIN + 70 + index * (_WIDTH + _SPACE)
        axes = canvas.add_chart(figure, left, canvas.HEADER + 40, _WIDTH, _HEIGHT)
        _fill(axes, titles[name], found)
    return canvas.save(figure, path)


def has_curves(history: Sequence[Mapping[str, object]]) -> bool:
    """Whether the history has an epoch to draw."""
    return any(_curves(history, name) for name in _names(history))


def _names(history: Sequence[Mapping[str, object]]) -> list[str]:
    """The terms of the objective, in its order: loss, reconstruction, KL and further ones."""
    prefix = "train_"
    return [name.removeprefix(prefix) for name in (history[0] if history else ())
            if name.startswith(prefix)]  # fmt: skip


def _fill(axes: Axes, title: str, found: dict[str, Curve]) -> None:
    from matplotlib.ticker import MaxNLocator

    for part, (epochs, values) in found.items():
        label, colour = _PARTS[part]
        axes.plot(
            epochs, values, color=colour, linewidth=2, label=label,
            marker="o" if len(epochs) < 30 else None, markersize=4,
        )  # fmt: skip
    axes.set_title(title, loc="left", fontsize=11, color=canvas.INK, pad=12)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=9.5, labelcolor=canvas.INK)


def _curves(history: Sequence[Mapping[str, object]], name: str) -> dict[str, Curve]:
    """Epochs and values of a term by part, if the run recorded it."""
    found: dict[str, Curve] = {}
    for part in _PARTS:
        points = [(record.get("epoch"), record.get(f"{part}_{name}")) for record in history]
        known = [(e, v) for e, v in points if isinstance(e, int) and isinstance(v, int | float)]
        # A deterministic posterior has no KL, which its loop records as 0.
        if any(value for _, value in known):
            found[part] = ([float(e) for e, _ in known], [float(v) for _, v in known])
    return found
