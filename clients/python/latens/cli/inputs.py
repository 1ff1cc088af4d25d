"""Reads images and latents: pictures, folders of them, .npy and .npz."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens import axes, pictures
from latens.cli import console
from latens.cli.failures import BAD_DATA, NOT_FOUND, CommandError, bad_data
from latens.models import Model

_ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
_IMAGE_NAMES = ("images", "image")
_ITEM_NAMES = ("items", "item")
_FIT_ADVICE = "--fit crop, --fit pad or --fit resize makes it fit"
_LATENT_NAMES = ("latents", "mean", "means", "z", "codes")


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The files of the arguments; a folder stands for the pictures in it and its subfolders.

    Raises:
        CommandError: a path does not exist, a folder has no pictures, or a file is of another kind.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = pictures.files_in(path)
            if not inside:
                raise bad_data(f"{path}: no pictures in this folder")
            found += inside
        elif not path.exists():
            raise CommandError(f"{path}: no such file", NOT_FOUND)
        elif pictures.is_picture(path) or path.suffix.lower() in _ARRAY_SUFFIXES:
            found.append(path)
        else:
            raise bad_data(f"{path}: expected a picture, .npy or .npz")
    return found


@dataclass(frozen=True)
class Framing:
    """What pictures become before the model sees them."""

    fit: pictures.Fit | None = None
    """None: `pad` for a model of one size; where the caller chooses, pictures stay as they are."""
    size: tuple[int, int] | None = None
    """Height and width; None for the model's, or the allowed size nearest to the first picture."""
    invert: bool = False
    """Whether dark becomes light."""
    grey: bool = False
    """Whether colour pictures may lose their colour for a model of grey ones."""


def read_images(paths: Sequence[Path], model: Model, framing: Framing = Framing()) -> NDArray[Any]:
    """All images of the files, `[n, channels, height, width]` of one shape that the model takes.

    Of a model whose data are no images: all items, `[n, *image_shape]`, of arrays alone.

    Pictures are fitted to it, with a note; arrays must have it. Where the model leaves sizes free,
    pictures are fitted only if `framing` says how.

    Raises:
        CommandError: a file cannot be read, or an array has another shape.
    """
    batches: list[NDArray[Any]] = []
    changed: list[Path] = []
    shape = _picture_shape([path for path in paths if pictures.is_picture(path)], model, framing)
    for path in paths:
        if pictures.is_picture(path):
            pixels = _read_picture(path)
            _check_colour(path, pixels, model, framing)
            if model.is_free and framing.fit is None and pixels.shape[1:] != shape[1:]:
                raise bad_data(_of_another_size(path, pixels.shape, shape))
            batches.append(_fitted(pixels, shape, framing.fit or "pad")[np.newaxis])
            changed += [path] if pixels.shape != shape else []
        else:
            names = _IMAGE_NAMES if model.is_image else _ITEM_NAMES
            batches.append(_shaped(read_array(path, names), path, model))
    if len({batch.dtype for batch in batches}) > 1:
        batches = [_as_floats(batch) for batch in batches]
    if len({batch.shape[1:] for batch in batches}) > 1:
        raise bad_data(f"expected images of one size, got several; {_FIT_ADVICE}")
    images = np.concatenate(batches)
    if framing.invert:
        images = 255 - images if images.dtype == np.uint8 else 1 - images
    if changed:
        _note_fitting(changed, shape)
    return images


def _as_floats(batch: NDArray[Any]) -> NDArray[Any]:
    return batch / np.float32(255) if batch.dtype == np.uint8 else batch


def _shaped(array: NDArray[Any], path: Path, model: Model) -> NDArray[Any]:
    """An array of images with all four axes."""
    image, one_channel = model.image_axes, model.image_shape[0] == 1
    if axes.fits(image, array.shape) or (one_channel and axes.fits(image[1:], array.shape)):
        array = array[np.newaxis]
    if array.ndim == 3 and one_channel:
        array = array[:, np.newaxis]
    if not axes.fits(image, array.shape[1:]):
        joined = ", ".join(axis.name if axis.is_free else str(axis.size) for axis in image)
        raise bad_data(
            f"{path}: expected {model.data_field} [n, {joined}], got {list(array.shape)}"
        )
    return array


def _read_picture(path: Path) -> pictures.Pixels:
    try:
        return pictures.read(path)
    except pictures.PictureError as error:
        raise bad_data(str(error)) from error


def _check_colour(path: Path, pixels: pictures.Pixels, model: Model, framing: Framing) -> None:
    if model.image_shape[0] == 1 and not framing.grey and pictures.is_coloured(pixels):
        raise bad_data(
            f"{path}: is a colour picture, the model takes grey; --grey drops the colour"
        )


def _picture_shape(paths: Sequence[Path], model: Model, framing: Framing) -> tuple[int, ...]:
    """The shape that the pictures get: one for all of them.

    Raises:
        CommandError: the model takes no such size.
    """
    if paths and not model.is_image:
        kind = model.modality.lower()
        raise bad_data(f"{paths[0]}: the model takes {kind} items, not pictures; give an .npy")
    if not model.is_free and framing.size is None:
        return model.image_shape
    if not paths:
        return model.usual_sizes.image
    size = framing.size or _size_of(paths[0])
    _, *sides = model.image_axes
    if framing.fit is not None and framing.size is None:
        size = tuple(axis.nearest(length) for axis, length in zip(sides, size, strict=True))
    for axis, length in zip(sides, size, strict=True):
        if not axis.allows(length):
            advice = "" if framing.size else f"; {_FIT_ADVICE}"
            named = "--size" if framing.size else str(paths[0])
            raise bad_data(f"{named}: {axis.refusal(length)}{advice}")
    return (model.image_shape[0], *size)


def _size_of(path: Path) -> tuple[int, ...]:
    try:
        return pictures.size(path)
    except pictures.PictureError as error:
        raise bad_data(str(error)) from error


def _of_another_size(path: Path, shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    return (
        f"{path}: {shape[2]} x {shape[1]}, expected {wanted[2]} x {wanted[1]} as the others; "
        f"{_FIT_ADVICE}"
    )


def _fitted(pixels: pictures.Pixels, shape: tuple[int, ...], how: pictures.Fit) -> pictures.Pixels:
    channels, height, width = shape
    if channels not in (1, 3):
        raise bad_data(f"pictures have 1 or 3 channels, and the model's images {channels}")
    return pictures.fitted(pictures.with_channels(pixels, channels), height, width, how)


def latent_shape(model: Model, size: tuple[int, int] | None) -> tuple[int, ...]:
    """The shape of the latents of images of that height and width; of the usual size if None.

    Raises:
        CommandError: the model takes no such size.
    """
    if size is None:
        return model.usual_sizes.latent
    shape = _picture_shape([Path()], model, Framing(size=size))
    return model.sizes_of_image("--size", shape).latent


def read_mask(path: Path, model: Model) -> NDArray[np.bool_]:
    """The mask in a picture, `[height, width]`: true where it is lighter than middle grey.

    Raises:
        CommandError: it cannot be read.
    """
    _, height, width = model.image_shape
    grey = pictures.with_channels(_read_picture(path), 1)
    missing: NDArray[np.bool_] = pictures.fitted(grey, height, width)[0] > 127
    return missing


def _note_fitting(changed: Sequence[Path], shape: tuple[int, ...]) -> None:
    channels, height, width = shape
    kind = "grey" if channels == 1 else "colour"
    named = str(changed[0]) if len(changed) == 1 else f"{len(changed)} pictures"
    console.note(f"{named} fitted to the model: {width} x {height}, {kind}")


def read_latents(path: Path) -> NDArray[Any]:
    """Latents `[n, *latent_shape]` of an .npy or .npz.

    Raises:
        CommandError: it cannot be read.
    """
    if path.suffix.lower() not in _ARRAY_SUFFIXES:
        raise bad_data(f"{path}: expected latents as .npy or .npz")
    return read_array(path, _LATENT_NAMES)


def read_array(path: Path, names: Sequence[str]) -> NDArray[Any]:
    """The array of an .npy; of an .npz, the first of `names` that it has, or its only array.

    Raises:
        CommandError: the file does not exist, or holds no array of numbers.
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
        raise CommandError(f"{path}: not a readable array", BAD_DATA) from error


def _numbers(array: NDArray[Any], path: Path) -> NDArray[Any]:
    if array.dtype.kind not in "fui":
        raise bad_data(f"{path}: expected numbers, got {array.dtype}")
    return array


def numbers(text: str) -> list[float]:
    """Parses coordinates: `0.5,-1`.

    Raises:
        ValueError: another form.
    """
    return [float(part) for part in text.split(",")]
