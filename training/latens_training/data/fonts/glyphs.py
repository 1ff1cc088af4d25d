"""Characters drawn by a face into small squares, white ink on black as MNIST has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from latens_training.data.fonts.faces import Face

_FINE = 4
"""Drawn this much larger and averaged: exact grey edges, and no hinting to the coarse grid."""
_TRIAL_SIZE = 256
_MARGIN = 1 / 14
"""Of the square's side, at each edge: 2 of 28 pixels."""


@dataclass(frozen=True)
class _Extent:
    """The ink of some characters around their baseline, in pixels at one size."""

    width: float
    top: float
    bottom: float


def draw(face: Face, characters: str, size: int) -> NDArray[np.uint8] | None:
    """Draws each character: uint8 [len(characters), size, size]; None where one has no ink.

    All share one scale, the largest at which each of them fits, and one baseline, which stands so
    that the ink of all together is centred.

    Raises:
        OSError: FreeType cannot use the face.
    """
    extent = _extent(_at_size(face, _TRIAL_SIZE), characters)
    if extent is None:
        return None
    room = size * (1 - 2 * _MARGIN) * _FINE
    scale = room / max(extent.width, extent.bottom - extent.top)
    font = _at_size(face, _TRIAL_SIZE * scale)
    drawn = _extent(font, characters)
    if drawn is None:
        return None
    baseline = (size * _FINE - (drawn.top + drawn.bottom)) / 2
    return np.stack([_tile(font, character, size, baseline) for character in characters])


def _at_size(face: Face, size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.truetype(
        str(face.path), size=size, index=face.index, layout_engine=ImageFont.Layout.BASIC
    )
    if face.coordinates:
        font.set_variation_by_axes(list(face.coordinates))
    return font


def _extent(font: ImageFont.FreeTypeFont, characters: str) -> _Extent | None:
    boxes = [_ink(font, character) for character in characters]
    known = [box for box in boxes if box is not None]
    if len(known) < len(boxes):
        return None
    return _Extent(
        max(right - left for left, _, right, _ in known),
        min(top for _, top, _, _ in known),
        max(bottom for _, _, _, bottom in known),
    )


def _ink(font: ImageFont.FreeTypeFont, character: str) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of the ink, from the origin on the baseline; None without ink.

    Taken from the drawn mask, for Pillow's `getbbox` counts the space around a letter too.
    """
    mask, (x, y) = font.getmask2(character, mode="L", anchor="ls")
    box = mask.getbbox()
    return None if box is None else (box[0] + x, box[1] + y, box[2] + x, box[3] + y)


def _tile(
    font: ImageFont.FreeTypeFont, character: str, size: int, baseline: float
) -> NDArray[np.uint8]:
    side = size * _FINE
    left, _, right, _ = _ink(font, character) or (0, 0, 0, 0)
    image = Image.new("L", (side, side))
    place = (round((side - (left + right)) / 2), round(baseline))
    ImageDraw.Draw(image).text(place, character, fill=255, font=font, anchor="ls")
    return np.asarray(image.reduce(_FINE), dtype=np.uint8)
