"""Picture files in place of arrays of images: read when their call is sent.

So a folder of any size is encoded without being held in memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latens import axes
from latens.errors import invalid
from latens.models import Model

if TYPE_CHECKING:
    from PIL.Image import Image

    Picture: TypeAlias = str | os.PathLike[str] | Image
    PictureArgument: TypeAlias = Picture | Sequence[Picture]
else:
    PictureArgument = Any


class PictureSources:
    """Pictures that an argument names, for a model that is not known yet."""

    def __init__(self, field: str, sources: Sequence[Any]) -> None:
        self.field = field
        self.sources = sources

    def __len__(self) -> int:
        return len(self.sources)


class PictureRows:
    """Pictures fitted to a model: a slice of them is an array of images."""

    itemsize = 1

    def __init__(self, pictures: PictureSources, model: Model) -> None:
        self._pictures = pictures
        self._is_free = model.is_free
        self.shape = (len(pictures), *self._image_shape(model))
        if model.image_shape[0] not in (1, 3):
            said = f"pictures have 1 or 3 channels, and the model's images {model.image_shape[0]}"
            raise invalid(pictures.field, said)

    def __len__(self) -> int:
        return self.shape[0]

    def _image_shape(self, model: Model) -> tuple[int, ...]:
        """The model's; where it leaves sizes free, that of the first picture, which is checked."""
        if not model.is_free:
            return model.image_shape
        read = _reader(self._pictures.field)
        first = self._pictures.sources[0]
        try:
            shape = (model.image_shape[0], *read.size(first))
        except read.PictureError as error:
            raise invalid(self._pictures.field, str(error)) from error
        axes.check(self._pictures.field, model.image_axes, shape)
        return shape

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        """Reads the pictures of some rows.

        Raises:
            InvalidInputError: one of them cannot be read.
        """
        read = _reader(self._pictures.field)
        _, channels, height, width = self.shape
        images = np.empty((len(range(*rows.indices(len(self)))), *self.shape[1:]), np.uint8)
        for row, source in enumerate(self._pictures.sources[rows]):
            try:
                pixels = read.with_channels(read.read(source), channels)
            except read.PictureError as error:
                raise invalid(self._pictures.field, str(error)) from error
            if self._is_free and pixels.shape[1:] != (height, width):
                raise invalid(
                    self._pictures.field,
                    f"expected pictures of one size, {width} x {height} as the first; {source} has "
                    f"{pixels.shape[2]} x {pixels.shape[1]}",
                )
            images[row] = read.fitted(pixels, height, width)
        return images


def sources_in(field: str, value: Any) -> PictureSources | None:
    """The pictures that an argument names; None where it is something else.

    Args:
        field: of the request.
        value: a path, a folder's path, a picture of Pillow, or a list of them.

    Raises:
        InvalidInputError: a file or a folder does not exist, or Pillow is not installed.
    """
    values = value if isinstance(value, (list, tuple)) else [value]
    if not values or not all(map(_is_picture, values)):
        return None
    found: list[Any] = []
    for item in values:
        if not isinstance(item, (str, os.PathLike)):
            found.append(item)
        elif Path(item).is_dir():
            found += _reader(field).files_in(Path(item))
        elif Path(item).exists():
            found.append(Path(item))
        else:
            raise invalid(field, f"no such file or folder: {item}")
    if not found:
        raise invalid(field, f"no pictures in {value}")
    return PictureSources(field, found)


def _is_picture(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike)) or type(value).__module__.startswith("PIL.")


def _reader(field: str) -> Any:
    """The module `latens.pictures`, which needs Pillow."""
    try:
        from latens import pictures
    except ModuleNotFoundError as error:
        said = "pictures need Pillow; install it with: pip install 'latens[pictures]'"
        raise invalid(field, said) from error
    return pictures
