"""Images like those of dSprites: each shape at each size, angle and position, with its factors.

The factors and their values are those of dSprites (Matthey et al. 2017,
github.com/google-deepmind/dsprites-dataset): 3 shapes, 6 scales from 0.5 to 1, 40 orientations from
0 to 2 pi with both ends, 32 x 32 positions. The outlines are drawn here, so pixels differ from the
published file's, while every factor is exact. An image is a section of one of 720 canvases: for a
sprite that is moved by a pixel, the section is moved by a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

FACTORS = ("shape", "scale", "orientation", "x", "y")
ORDERED = (False, True, True, True, True)
"""Whether the values of each factor have an order; shapes have none."""

_FINE = 8
"""Sample points of the outline per pixel and axis, before the threshold at one half."""


@dataclass(frozen=True)
class Grid:
    """A choice of factor values; the images are all their combinations, the last factor fastest.

    Attributes:
        shapes: names of outlines.
        scales: sizes, 1 the largest.
        orientations: angles, radians.
        positions: places along each axis, a pixel apart and centred.
        side: of a picture, pixels.
        radius: half the side of the square at scale 1, pixels.
    """

    shapes: tuple[str, ...]
    scales: tuple[float, ...]
    orientations: tuple[float, ...]
    positions: int
    side: int
    radius: float

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """The number of values of each factor, in the order of `FACTORS`."""
        return (
            len(self.shapes),
            len(self.scales),
            len(self.orientations),
            self.positions,
            self.positions,
        )

    def __len__(self) -> int:
        return math.prod(self.sizes)

    def factors(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """The value indices [n, 5] of images [n]."""
        return np.stack(np.unravel_index(index, self.sizes), axis=1).astype(np.int64)


FULL = Grid(
    ("square", "ellipse", "heart"),
    tuple(np.linspace(0.5, 1, 6).tolist()),
    tuple(np.linspace(0, 2 * math.pi, 40).tolist()),
    positions=32,
    side=64,
    radius=10,
)
"""The 737,280 pictures of dSprites, 64 x 64."""

REDUCED = Grid(
    ("square", "ellipse", "heart"),
    (0.55, 0.7, 0.85, 1.0),
    tuple(np.linspace(0, math.pi / 2, 8, endpoint=False).tolist()),
    positions=12,
    side=32,
    radius=7,
)
"""13,824 images, 32 x 32, for a CPU: all differ, since the angles are within a quarter turn."""


class Sprites:
    """The images of a grid, which are computed on access by a gather from the canvases.

    It has the part of a tensor's interface that training uses (`data.types.Images`).
    """

    dtype = torch.uint8

    def __init__(self, grid: Grid, canvases: Tensor, index: Tensor) -> None:
        self.grid = grid
        self.canvases = canvases
        """uint8 [shapes * scales * orientations, side + positions - 1, the same]."""
        self.index = index
        """Which images of the grid these are, int64 [n]."""

    @classmethod
    def of(cls, grid: Grid) -> Sprites:
        """All images of a grid."""
        return cls(grid, draw_canvases(grid), torch.arange(len(grid)))

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.index), 1, self.grid.side, self.grid.side))

    def __len__(self) -> int:
        return len(self.index)

    def dim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Tensor) -> Tensor:
        """The images of an index or mask over these: uint8 [m, 1, side, side]."""
        chosen = self.index[index]
        places, last = self.grid.positions, self.grid.positions - 1
        # In a section further up and left, the sprite is further down and right.
        window = (chosen // places**2, last - chosen % places, last - chosen // places % places)
        side = self.grid.side
        if self.canvases.device.type == "cpu":  # numpy copies windows forty times faster there
            views = sliding_window_view(self.canvases.numpy(), (side, side), axis=(1, 2))
            return torch.from_numpy(views[tuple(part.numpy() for part in window)]).unsqueeze(1)
        return self.canvases.unfold(1, side, 1).unfold(2, side, 1)[window].unsqueeze(1)

    def to(self, device: torch.device | str) -> Sprites:
        return Sprites(self.grid, self.canvases.to(device), self.index.to(device))

    def part(self, mask: Tensor) -> Sprites:
        """Some of these images, also computed on access."""
        return Sprites(self.grid, self.canvases, self.index[mask])


def draw_canvases(grid: Grid) -> Tensor:
    """Each shape, size and angle in the middle of its canvas: uint8 0 or 255."""
    size = grid.side + grid.positions - 1
    canvases = [
        _drawn(_OUTLINES[shape], grid.radius * scale, angle, size)
        for shape in grid.shapes
        for scale in grid.scales
        for angle in grid.orientations
    ]
    return torch.from_numpy(np.stack(canvases))


Outline = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]


def _drawn(outline: Outline, radius: float, angle: float, size: int) -> NDArray[np.uint8]:
    """A canvas [size, size]: a pixel is set if at least half of it is inside the outline."""
    # Only the middle can be set: no outline reaches further than twice its radius.
    half = min(size // 2, math.ceil(2 * radius) + 1)
    places = (np.arange(2 * half * _FINE) + 0.5) / _FINE - half
    x, y = np.meshgrid(places / radius, -places / radius)
    cosine, sine = math.cos(angle), math.sin(angle)
    inside = outline(cosine * x + sine * y, cosine * y - sine * x)
    share = inside.reshape(2 * half, _FINE, 2 * half, _FINE).mean(axis=(1, 3))
    canvas = np.zeros((size, size), np.uint8)
    start = size // 2 - half
    canvas[start : start + 2 * half, start : start + 2 * half] = (share >= 0.5) * 255
    return canvas


def _in_square(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.maximum(np.abs(x), np.abs(y)) <= 1


def _in_ellipse(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (x / 1.5) ** 2 + (y / 0.75) ** 2 <= 1


def _in_heart(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    lift = y + 0.1
    return (x**2 + lift**2 - 1) ** 3 - x**2 * lift**3 <= 0


_OUTLINES: dict[str, Outline] = {
    "square": _in_square,
    "ellipse": _in_ellipse,
    "heart": _in_heart,
}
