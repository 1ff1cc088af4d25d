"""Reading images and latents: pictures, folders of them, .npy and .npz."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from latens.cli import console
from latens.cli.failures import BAD_DATA, NOT_FOUND, CommandError, bad_data
from latens.models import Model

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"})
_ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
_MODES = {1: "L", 3: "RGB"}
_IMAGE_NAMES = ("images", "image")
_LATENT_NAMES = ("latents", "mean", "means", "z")


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The files meant: a folder stands for the pictures in it, by name.

    Raises:
        CommandError: a path that is not there, a folder without pictures, or an unknown kind.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
            if not inside:
                raise bad_data(f"{path}: no pictures in this folder")
            found += inside
        elif not path.exists():
            raise CommandError(f"{path}: no such file", NOT_FOUND)
        elif path.suffix.lower() in PICTURE_SUFFIXES | _ARRAY_SUFFIXES:
            found.append(path)
        else:
            raise bad_data(f"{path}: expected a picture, .npy or .npz")
    return found


def read_images(paths: Sequence[Path], model: Model, *, invert: bool = False) -> NDArray[Any]:
    """All images of the files, `[n, channels, height, width]` of the model's shape.

    Pictures are made to fit it, with a note; arrays must fit it as they are.

    Raises:
        CommandError: a file cannot be read, or an array has another shape.
    """
    batches = [
        _read_pictures([path], model)
        if path.suffix.lower() in PICTURE_SUFFIXES
        else _shaped(read_array(path, _IMAGE_NAMES), path, model)
        for path in paths
    ]
    if len({batch.dtype for batch in batches}) > 1:
        batches = [_as_floats(batch) for batch in batches]
    images = np.concatenate(batches)
    if invert:
        images = 255 - images if images.dtype == np.uint8 else 1 - images
    _note_fitting(paths, model)
    return images


def _as_floats(batch: NDArray[Any]) -> NDArray[Any]:
    return batch / np.float32(255) if batch.dtype == np.uint8 else batch


def _shaped(array: NDArray[Any], path: Path, model: Model) -> NDArray[Any]:
    """An array of images with all four axes."""
    shape = tuple(model.image_shape)
    if array.shape in (shape, shape[1:]):
        array = array[np.newaxis]
    if array.ndim == 3 and shape[0] == 1:
        array = array[:, np.newaxis]
    if array.shape[1:] != shape:
        raise bad_data(f"{path}: expected images [n, {_joined(shape)}], got {list(array.shape)}")
    return array


def _joined(shape: Sequence[int]) -> str:
    return ", ".join(str(length) for length in shape)


def _read_pictures(paths: Sequence[Path], model: Model) -> NDArray[np.uint8]:
    channels, height, width = model.image_shape
    if channels not in _MODES:
        raise bad_data(f"pictures have 1 or 3 channels, and the model's images {channels}")
    pictures = [fitted(_open(path), _MODES[channels], (width, height)) for path in paths]
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    return pixels.reshape(len(paths), height, width, channels).transpose(0, 3, 1, 2)


def _open(path: Path) -> Image.Image:
    """A picture, turned upright.

    Raises:
        CommandError: it is unreadable, or so large that it looks like an attack.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                return ImageOps.exif_transpose(picture)
    except (UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise bad_data(f"{path}: no readable picture") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise bad_data(f"{path}: too many pixels") from error
    except OSError as error:
        raise bad_data(f"{path}: {error.strerror or error}") from error


def fitted(picture: Image.Image, mode: str, size: tuple[int, int]) -> Image.Image:
    """A picture in the mode and size given: on black where it is transparent, padded to the aspect.

    The padding takes the colour of the picture's corner, so that a drawing keeps its paper.
    """
    if picture.mode.startswith("I"):  # 16 bits a pixel, which convert would clip and not scale
        picture = picture.convert("I").point(lambda value: value * (1 / 257))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        paper = Image.new("RGBA", picture.size, "black")
        picture = Image.alpha_composite(paper, picture)
    picture = picture.convert(mode)
    if picture.size == size:
        return picture
    corner = picture.crop((0, 0, 1, 1)).tobytes()
    return ImageOps.pad(picture, size, Image.Resampling.LANCZOS, color=tuple(corner))


def read_mask(path: Path, model: Model) -> NDArray[np.bool_]:
    """The mask in a picture, `[height, width]`: true where it is lighter than middle grey.

    Raises:
        CommandError: it cannot be read.
    """
    _, height, width = model.image_shape
    picture = fitted(_open(path), "L", (width, height))
    missing: NDArray[np.bool_] = np.asarray(picture) > 127
    return missing


def _note_fitting(paths: Sequence[Path], model: Model) -> None:
    channels, height, width = model.image_shape
    changed = [
        path for path in paths if _needs_fitting(path, _MODES.get(channels), (width, height))
    ]
    if changed:
        what = "grey" if channels == 1 else "colour"
        named = str(changed[0]) if len(changed) == 1 else f"{len(changed)} pictures"
        console.note(f"{named} made to fit the model: {width} x {height}, {what}")


def _needs_fitting(path: Path, mode: str | None, size: tuple[int, int]) -> bool:
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        return False
    with Image.open(path) as picture:
        return picture.size != size or picture.mode != mode


def read_latents(path: Path) -> NDArray[Any]:
    """Latents `[n, *latent_shape]` of an .npy or .npz.

    Raises:
        CommandError: it cannot be read.
    """
    if path.suffix.lower() not in _ARRAY_SUFFIXES:
        raise bad_data(f"{path}: expected latents as .npy or .npz")
    return read_array(path, _LATENT_NAMES)


def read_array(path: Path, names: Sequence[str]) -> NDArray[Any]:
    """The array of an .npy, or of an .npz that of the first name it has, or its only one.

    Raises:
        CommandError: it is not there, or holds no array of numbers.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _numbers(loaded, path)
        with loaded:
            known = [name for name in names if name in loaded.files]
            if not known and len(loaded.files) != 1:
                raise bad_data(
                    f"{path}: has {', '.join(loaded.files)}; expected {' or '.join(names)}"
                )
            return _numbers(loaded[(known or loaded.files)[0]], path)
    except FileNotFoundError as error:
        raise CommandError(f"{path}: no such file", NOT_FOUND) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CommandError(f"{path}: no readable array", BAD_DATA) from error


def _numbers(array: NDArray[Any], path: Path) -> NDArray[Any]:
    if array.dtype.kind not in "fui":
        raise bad_data(f"{path}: expected numbers, got {array.dtype}")
    return array


def numbers(text: str) -> list[float]:
    """Coordinates as text, `0.5,-1`.

    Raises:
        ValueError: it is something else.
    """
    return [float(part) for part in text.split(",")]
