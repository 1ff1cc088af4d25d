"""Interpolations between test images: linear and spherical."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latens_training.figures import canvas, paths, tiles
from latens_training.figures.subject import Subject

_PAIRS = 6
_STEPS = 13
_TILE = 84
_PAIR_GAP = 18
_GAP = 4


def draw(subject: Subject, path: Path, seed: int = 0) -> Path:
    """Strips between pairs of test images, which stand at the ends; linear above spherical.

    Of a conditional model both have one class, in which all between them is decoded.
    """
    if subject.classes is None:
        pairs = pick_pairs(subject.labels, len(subject.images), _PAIRS, seed)
    else:
        pairs = pick_pairs(subject.classes, len(subject.images), _PAIRS, seed, alike=True)
    blocks = [_block(subject, start, end) for start, end in pairs]
    height = blocks[0].shape[0]
    sheet = tiles.sheet(np.stack(blocks), 1, gap=_PAIR_GAP)
    title = "Between test images: straight line above arc"
    subtitle = f"{subject.caption} · {_STEPS} steps between posterior means; originals at the ends"
    figure, axes = canvas.image_page(sheet, title, subtitle, left=110)
    starts = [row * (height + _PAIR_GAP) for row in range(len(blocks))]
    axes.set_yticks(
        [start + height * part for start in starts for part in (0.25, 0.75)],
        ["linear", "spherical"] * len(starts),
    )
    return canvas.save(figure, path)


def pick_pairs(
    labels: NDArray[np.int64] | None,
    count: int,
    pairs: int,
    seed: int,
    *,
    alike: bool = False,
) -> list[tuple[int, int]]:
    """Pairs of indices drawn by `seed`, of different labels where there are any.

    If `alike`, both of a pair have one label.
    """
    generator = np.random.default_rng(seed)
    chosen: list[tuple[int, int]] = []
    for _ in range(pairs):
        start = int(generator.integers(count))
        is_other = None if labels is None else (labels == labels[start]) == alike
        others = np.arange(count) if is_other is None else np.flatnonzero(is_other)
        others = others if len(others) else np.arange(count)
        chosen.append((start, int(generator.choice(others))))
    return chosen


def _block(subject: Subject, start: int, end: int) -> NDArray[np.uint8]:
    shares = np.linspace(0, 1, _STEPS)
    ends = tiles.to_pixels(subject.images[[start, end]])
    rows = []
    classes = None if subject.classes is None else np.repeat(subject.classes[start], _STEPS)
    for between in (paths.linear, paths.spherical):
        latents = between(subject.means[start], subject.means[end], shares)
        decoded = tiles.to_pixels(subject.decode(latents, classes))
        rows.append(np.concatenate([ends[:1], decoded, ends[1:]]))
    strip = tiles.scaled(np.concatenate(rows), _TILE)
    return _set_apart(tiles.sheet(strip, _STEPS + 2, gap=_GAP), strip.shape[2])


def _set_apart(sheet: NDArray[np.uint8], tile: int) -> NDArray[np.uint8]:
    """Moves the originals away from the strip between them."""
    room = np.full((sheet.shape[0], 3 * _GAP, sheet.shape[2]), tiles.BACKGROUND, dtype=np.uint8)
    inner = sheet[:, tile + _GAP : -tile - _GAP]
    return np.concatenate([sheet[:, :tile], room, inner, room, sheet[:, -tile:]], axis=1)
