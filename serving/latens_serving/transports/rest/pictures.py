"""Picture files to rows of a model, and rows to picture files.

Pictures are read by `latens.pictures`, the one reader of Latens. It needs Pillow, which is the
extra `pictures` of this distribution. PNG is written without it.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from latens import sheets
from latens_serving.bundle.axes import SpecError
from latens_serving.bundle.spec import ModelSpec
from latens_serving.errors import InvalidInputError, NotOfferedError, UnsupportedError
from latens_serving.transports.rest.parameters import Fit

TYPES: Final = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff")
"""What may be sent."""
_JPEG_QUALITY: Final = 95
_ADVICE: Final = "fit=crop, fit=pad or fit=resize makes it fit"

Pixels = NDArray[np.uint8]
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_THREAD = ThreadPoolExecutor(1, thread_name_prefix="pictures")


async def in_thread(
    work: Callable[Parameters, Result], *arguments: Parameters.args, **named: Parameters.kwargs
) -> Result:
    """Calls `work` in the thread of pictures: decoding a large one takes a second."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREAD, lambda: work(*arguments, **named))


def row_of(
    content: bytes,
    spec: ModelSpec,
    fit: Fit | None = None,
    size: tuple[int, int] | None = None,
    *,
    grey: bool = False,
) -> Pixels:
    """A picture file as one row `[1, channels, height, width]` that the model takes.

    Args:
        content: of the file.
        spec: the model's.
        fit: how the picture gets its size; where the model has one size, `pad` if None.
        size: height and width; the model's, or the allowed size nearest to the picture's if None.
        grey: whether a colour picture may lose its colour.

    Raises:
        InvalidInputError: it is no picture, or of a size or colour that the model does not take.
        NotOfferedError: the model has no pictures.
        UnsupportedError: Pillow is not installed.
    """
    channels = _channels_of(spec)
    read = _reader()
    try:
        pixels = read.read(io.BytesIO(content))
    except read.PictureError as error:
        reason = str(error).rpartition(": ")[2]
        raise InvalidInputError.at("request", f"the body is no picture: {reason}") from error
    if channels == 1 and not grey and read.is_coloured(pixels):
        raise InvalidInputError.at(
            "grey",
            "expected a grey picture for a model of grey ones, got colour; grey=true takes it",
        )
    height, width = _size_of(pixels.shape[1:], spec, fit, size)
    fitted: Pixels = read.fitted(read.with_channels(pixels, channels), height, width, fit or "pad")
    return fitted[np.newaxis]


def as_pixels(images: NDArray[Any]) -> Pixels:
    """Images `[n, channels, height, width]` as bytes, from those or from floats in [0, 1]."""
    return sheets.as_bytes(images)


def sheet_of(images: Pixels, columns: int | None = None, scale: int = 1) -> Pixels:
    """Images as one picture `[height, width, channels]`: the image itself, or rows of them.

    Args:
        images: `[n, channels, height, width]`, one channel or three.
        columns: images per row; about a square if None.
        scale: the edge of the square that a pixel becomes.
    """
    return sheets.enlarged(sheets.sheet(images, columns), scale)


def file_of(picture: Pixels, kind: str) -> bytes:
    """A picture `[height, width, channels]` as a file of type `image/png` or `image/jpeg`.

    Raises:
        UnsupportedError: Pillow is not installed, and JPEG needs it.
    """
    if kind == "image/png":
        return sheets.png(picture)
    _reader()
    from PIL import Image

    file = io.BytesIO()
    plain = picture[..., 0] if picture.shape[2] == 1 else picture
    Image.fromarray(plain).save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return file.getvalue()


def check_pictures(spec: ModelSpec) -> None:
    """Raises NotOfferedError if the model's images are no pictures."""
    _channels_of(spec)


def _channels_of(spec: ModelSpec) -> int:
    channels = spec.data_axes[0].size if spec.is_image else None
    if channels not in (1, 3):
        what = f"{channels} channels" if spec.is_image else f"data of the kind {spec.modality}"
        raise NotOfferedError(
            f"pictures have 1 or 3 channels, and the model has {what}; "
            "send and accept application/json"
        )
    return channels


def _size_of(
    given: Sequence[int], spec: ModelSpec, fit: Fit | None, size: tuple[int, int] | None
) -> tuple[int, ...]:
    """The height and the width that a picture gets."""
    axes = spec.data_axes[1:]
    if size is None:
        if not spec.is_free:
            return spec.usual_data_shape[1:]
        if fit is not None:
            return tuple(axis.nearest(length) for axis, length in zip(axes, given, strict=True))
    wanted = tuple(given if size is None else size)
    for axis, length in zip(axes, wanted, strict=True):
        try:
            axis.check(length)
        except SpecError as error:
            field, advice = ("size", "") if size else ("request", f"; {_ADVICE}")
            raise InvalidInputError.at(field, f"{error}{advice}") from error
    if size is not None and tuple(given) != wanted and fit is None and spec.is_free:
        raise InvalidInputError.at("fit", f"expected with size; {_ADVICE}")
    return wanted


def _reader() -> ModuleType:
    try:
        from latens import pictures
    except ModuleNotFoundError as error:
        raise UnsupportedError(
            "this server cannot read pictures or write JPEG: it lacks Pillow; install it with "
            "pip install 'latens-serving[pictures]', or send application/json"
        ) from error
    return pictures
