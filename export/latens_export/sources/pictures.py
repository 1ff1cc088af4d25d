"""Inputs that prove a model whose test set is not at hand: those of a folder, or drawn ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latens_export.errors import SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from latens_serving.bundle.spec import ModelSpec

DRAWN_ROWS = 16
LARGEST_DRAWN = 3 * 512 * 512
"""Elements of all drawn rows."""
MOST_PICTURES = 10_000
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".pgm"}

_NOT_FOUND, _BAD_DATA = 3, 5


def read_pictures(folder: Path, spec: ModelSpec) -> Tensor:
    """Pictures of a folder, cut to the model's usual size around their middle.

    Raises:
        SourceError: the folder has no pictures, or one of them cannot be read.
        UsageError: the model is not one of images.
    """
    if not spec.is_image:
        raise UsageError("images: the model's data are no images; leave --images out")
    if not folder.is_dir():
        raise SourceError(f"images: no such folder: {folder}", _NOT_FOUND)
    rows = [_read(path, spec.usual_data_shape) for path in _paths(folder)]
    if not rows:
        raise SourceError(f"images: {folder} has no pictures", _NOT_FOUND)
    return torch.from_numpy(np.stack(rows))


def drawn(spec: ModelSpec) -> Tensor:
    """Inputs for a model without data: always the same ones.

    Pictures are coloured noise with the spectrum of photographs, 1/f in amplitude, uint8; other
    data are such noise in float32, within the spec's range.
    """
    shape = spec.usual_data_shape
    rows = max(2, min(DRAWN_ROWS, LARGEST_DRAWN // math.prod(shape)))
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((rows, *shape))
    axes = tuple(range(2, noise.ndim)) or (1,)
    spectrum = np.fft.fftn(noise, axes=axes)
    distance = np.zeros(())
    for axis in axes:
        frequency = np.fft.fftfreq(noise.shape[axis]) * noise.shape[axis]
        distance = distance + np.square(frequency).reshape([-1, *([1] * (noise.ndim - axis - 1))])
    values = np.fft.ifftn(spectrum / np.sqrt(1 + distance), axes=axes).real
    values /= np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
    if spec.is_image:
        return torch.from_numpy(np.rint(127.5 + 127.5 * values).astype(np.uint8))
    low, high = spec.data_range or (-1.0, 1.0)
    return torch.from_numpy((low + (high - low) * (values + 1) / 2).astype(np.float32))


def _paths(folder: Path) -> Iterator[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    yield from found[:MOST_PICTURES]


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A picture scaled to cover the size, and cut to it."""
    from PIL import Image, ImageOps

    channels, height, width = shape
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise SourceError(f"images: {path}: {error}", _BAD_DATA) from error
    fitted = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    return np.atleast_3d(np.asarray(fitted)).transpose(2, 0, 1)
