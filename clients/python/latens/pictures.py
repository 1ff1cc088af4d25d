"""Reads picture files as arrays of pixels: the one reader of training, client and command line.

Every picture becomes uint8 `[channels, height, width]` with 1 channel (grey) or 3 (RGB):

| the file has                  | the pixels are                                             |
|-------------------------------|------------------------------------------------------------|
| 1 or 8 bits of grey           | as they are; 1 bit becomes 0 and 255; one channel          |
| 8 bits a channel of colour    | as they are; three channels                                |
| 16 bits of grey               | divided by 257 and rounded                                 |
| 16 bits a channel of colour   | the upper 8 bits, as Pillow decodes them                   |
| 32-bit floats of grey         | times 255 and rounded; outside 0..1 refused                |
| 32-bit integers of grey       | as 16 bits; outside 0..65535 refused                       |
| a palette                     | the palette's colours; one channel if all of them are grey |
| alpha or a transparent colour | composited on black                                        |
| CMYK, YCbCr, HSV              | converted to RGB without colour profiles                   |
| an EXIF orientation           | turned upright                                             |
| several frames or pages       | the first                                                  |
| more than `MAX_PIXELS` pixels | refused before they are decoded                            |

Colour becomes grey by ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B. Grey becomes colour by
repeating it three times.

Needs Pillow, the extra `pictures` of the distribution. Nothing here depends on the rest of Latens.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Pixels: TypeAlias = NDArray[np.uint8]
"""`[channels, height, width]`, one channel or three."""
Source: TypeAlias = "Path | str | IO[bytes] | Image.Image"
"""A file by its path, an open one, or a picture that Pillow holds."""
Fit: TypeAlias = Literal["pad", "crop", "resize"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"})
MAX_PIXELS = 2**26
"""Pixels of one picture at most, 8192 x 8192."""

_GREY_MODES = frozenset({"1", "L", "LA", "La"})
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)


class PictureError(ValueError):
    """A file that is no readable picture; the message names it and the reason."""


def read(source: Source) -> Pixels:
    """The pixels of a picture, grey or colour as the file is.

    Raises:
        PictureError: it cannot be read, or has too many pixels.
    """
    name = _name(source)
    try:
        if isinstance(source, Image.Image):
            return _pixels(source)
        with Image.open(source) as picture:
            return _pixels(picture)
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(f"{name}: {_too_many()}") from error
    except FileNotFoundError as error:
        raise PictureError(f"{name}: no such file") from error
    except Exception as error:
        # Decoders of damaged files raise whatever they stumble on: struct.error, IndexError, ...
        reason = getattr(error, "strerror", None) or "not a readable picture"
        raise PictureError(f"{name}: {reason}") from error


def size(source: Source) -> tuple[int, int]:
    """Height and width of a picture after it is turned upright, from its header alone.

    Raises:
        PictureError: it cannot be read, or has too many pixels.
    """
    name = _name(source)
    try:
        if isinstance(source, Image.Image):
            return _upright_size(source)
        with Image.open(source) as picture:
            return _upright_size(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(f"{name}: {_too_many()}") from error
    except Exception as error:
        raise PictureError(f"{name}: not a readable picture") from error


def files_in(folder: Path) -> list[Path]:
    """The picture files of a folder and its subfolders in the order of their paths.

    Files are told by their suffix; hidden files and folders are ignored.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if is_picture(path)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def is_picture(path: Path) -> bool:
    """Whether a path has the suffix of a picture."""
    return path.suffix.lower() in SUFFIXES


def is_coloured(pixels: Pixels) -> bool:
    """Whether pixels are colour, and not grey that was stored as colour."""
    return len(pixels) == 3 and bool((pixels != pixels[:1]).any())


def with_channels(pixels: Pixels, channels: int) -> Pixels:
    """Pixels in grey (1 channel) or colour (3).

    Raises:
        ValueError: another number of channels.
    """
    if channels not in (1, 3):
        raise ValueError(f"pictures have 1 or 3 channels, not {channels}")
    if len(pixels) == channels:
        return pixels
    if channels == 3:
        return pixels.repeat(3, axis=0)
    return _planes(_picture(pixels).convert("L"))


def fitted(pixels: Pixels, height: int, width: int, how: Fit = "pad") -> Pixels:
    """Pixels in another size, by Lanczos resampling.

    Args:
        pixels: `[channels, height, width]`.
        height: of the result.
        width: of the result.
        how: `pad` keeps the aspect and fills what remains with the colour of the upper left pixel,
            so that a drawing keeps its paper; `crop` keeps the aspect and cuts what exceeds, evenly
            on both sides; `resize` changes the aspect.
    """
    if pixels.shape[1:] == (height, width):
        return pixels
    picture, target = _picture(pixels), (width, height)
    if how == "pad":
        corner = tuple(int(value) for value in pixels[:, 0, 0])
        fill: Any = corner if len(corner) > 1 else corner[0]
        return _planes(ImageOps.pad(picture, target, Image.Resampling.LANCZOS, color=fill))
    if how == "crop":
        return _planes(ImageOps.fit(picture, target, Image.Resampling.LANCZOS))
    return _planes(picture.resize(target, Image.Resampling.LANCZOS))


def _name(source: Source) -> str:
    if isinstance(source, Image.Image):
        return getattr(source, "filename", "") or "the picture"
    return str(source) if isinstance(source, (str, Path)) else getattr(source, "name", "the file")


def _too_many() -> str:
    return f"expected at most {MAX_PIXELS} pixels"


def _pixels(picture: Image.Image) -> Pixels:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise PictureError(f"{_too_many()}, got {width} x {height}")
    if not width or not height:
        raise PictureError("expected at least one pixel")
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I") or upright.mode == "F":
        return _deep_grey(upright)[np.newaxis]
    grey = upright.mode in _GREY_MODES or _has_grey_palette(upright)
    if upright.has_transparency_data:
        colour = upright.convert("RGBA")
        black = Image.new("RGBA", colour.size, "black")
        upright = Image.alpha_composite(black, colour)
    return _planes(upright.convert("L" if grey else "RGB"))


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError
    turned = picture.getexif().get(_ORIENTATION) in _TURNED
    return (width, height) if turned else (height, width)


def _deep_grey(picture: Image.Image) -> Pixels:
    """The pixels `[height, width]` of grey in more than 8 bits."""
    values: NDArray[Any] = np.asarray(picture)
    low, high = values.min(), values.max()
    if picture.mode == "F":
        if not (low >= 0 and high <= 1):  # NaN is refused, too
            raise PictureError(f"expected floats in 0..1, got {low:g} to {high:g}")
        scaled: Pixels = np.rint(values * 255).astype(np.uint8)
        return scaled
    if low < 0 or high > 65535:
        raise PictureError(f"expected values in 0..65535, got {low} to {high}")
    pixels: Pixels = np.rint(values / 257).astype(np.uint8)
    transparent = picture.info.get("transparency")
    if isinstance(transparent, int):
        pixels[values == transparent] = 0
    return pixels


def _has_grey_palette(picture: Image.Image) -> bool:
    palette = picture.getpalette("RGB") if picture.mode in ("P", "PA") else None
    if not palette:
        return False
    colours = np.array(palette).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _planes(picture: Image.Image) -> Pixels:
    pixels = np.asarray(picture, np.uint8)
    planes = pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    return np.ascontiguousarray(planes)


def _picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, 2))
