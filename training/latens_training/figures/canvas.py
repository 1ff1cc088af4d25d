"""Figures with a layout in pixels: sharp tiles, one style, no global state of matplotlib.

matplotlib is imported when the first figure is made. Figures are made without pyplot, so no
backend is chosen, no figure is registered, and no `rcParams` are changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 144
MARGIN = 40
"""Pixels left free at each side."""
HEADER = 128
"""Pixels above a figure's content, where title and subtitle stand."""
MIN_WIDTH = 900
"""Pixels that a title and its subtitle need."""

INK = "#1f2430"
MUTED = "#667085"
FAINT = "#dfe3ea"
ACCENT = "#3f90da"
SECOND = "#e76300"

# Petroff 2021 (arXiv:2107.02270): ten colours told apart under the usual deficiencies of colour
# vision, ordered so that digits that lie side by side (3, 5 and 8; 4, 7 and 9) differ most.
PALETTE = (
    "#3f90da", "#ffa90e", "#bd1f01", "#92dadd", "#832db6",
    "#e76300", "#94a4a2", "#b9ac70", "#717581", "#a96b59",
)  # fmt: skip
ORDERED_MAP = "viridis"
"""For labels with an order: even in lightness, and safe for the colour-blind."""


def new_figure(width: int, height: int, title: str, subtitle: str) -> Figure:
    """A white figure of `width` x `height` pixels under a title and a line that explains it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    figure.text(
        MARGIN / width, 1 - 34 / height, title,
        fontsize=15, fontweight="bold", color=INK, va="top",
    )  # fmt: skip
    figure.text(
        MARGIN / width, 1 - 76 / height, subtitle, fontsize=8.5, color=MUTED, va="top"
    )  # fmt: skip
    return figure


def add_panel(figure: Figure, left: int, top: int, width: int, height: int) -> Axes:
    """Axes whose plotting area is exactly this box of pixels, counted from the top left."""
    whole_width, whole_height = (round(inches * DPI) for inches in figure.get_size_inches())
    box = (
        left / whole_width,
        1 - (top + height) / whole_height,
        width / whole_width,
        height / whole_height,
    )
    axes = figure.add_axes(box)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
    axes.tick_params(colors=MUTED, labelsize=8.5, length=0, pad=6)
    axes.xaxis.label.set(color=INK, fontsize=9.5)
    axes.yaxis.label.set(color=INK, fontsize=9.5)
    axes.set_axisbelow(True)
    return axes


def add_chart(figure: Figure, left: int, top: int, width: int, height: int) -> Axes:
    """A panel for curves and bars: horizontal rules only, no box."""
    axes = add_panel(figure, left, top, width, height)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    return axes


def add_image(figure: Figure, sheet: NDArray[np.uint8], left: int, top: int) -> Axes:
    """Shows an array [h, w] or [h, w, 3] without a frame, at one pixel of the figure per pixel."""
    height, width = sheet.shape[:2]
    axes = add_panel(figure, left, top, width, height)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.imshow(
        sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto"
    )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def image_page(
    sheet: NDArray[np.uint8], title: str, subtitle: str, *, left: int = 0, bottom: int = 0
) -> tuple[Figure, Axes]:
    """A figure with one sheet, and space for labels at its left and below it."""
    sheet = sheet[..., 0] if sheet.shape[-1] == 1 else sheet
    height, width = sheet.shape[:2]
    whole_width = max(MIN_WIDTH, width + left + 2 * MARGIN)
    figure = new_figure(whole_width, HEADER + height + bottom + MARGIN, title, subtitle)
    return figure, add_image(figure, sheet, MARGIN + left, HEADER)


def save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the program's name and version: the same run gives the same bytes.
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    return path
