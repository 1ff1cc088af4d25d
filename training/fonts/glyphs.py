"""Characters drawn by a face into small squares, white ink on black as MNIST has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training.fonts.faces import Face

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
    boxes = [font.getbbox(character, anchor="ls") for character in characters]
    if any(right <= left or bottom <= top for left, top, right, bottom in boxes):
        return None
    return _Extent(
        max(right - left for left, _, right, _ in boxes),
        min(top for _, top, _, _ in boxes),
        max(bottom for _, _, _, bottom in boxes),
    )


def _tile(
    font: ImageFont.FreeTypeFont, character: str, size: int, baseline: float
) -> NDArray[np.uint8]:
    side = size * _FINE
    left, _, right, _ = font.getbbox(character, anchor="ls")
    image = Image.new("L", (side, side))
    place = ((side - (left + right)) / 2, baseline)
    ImageDraw.Draw(image).text(place, character, fill=255, font=font, anchor="ls")
    return np.asarray(image.reduce(_FINE), dtype=np.uint8)
