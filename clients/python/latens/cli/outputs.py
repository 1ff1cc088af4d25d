"""Destinations of results: checked before any work, and written completely or not at all."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from latens import sheets
from latens.cli.failures import CommandError, bad_data
from latens.models import Model

PICTURES = (".png",)
ARRAYS = (".npy", ".npz")
FOLDER = "/"


@dataclass(frozen=True)
class Output:
    """A file of a kind that can be written, or a folder for one PNG per image."""

    path: Path
    kind: str
    """`.png`, `.gif`, `.npy`, `.npz`, or `/` for a folder."""

    @property
    def image_dtype(self) -> str:
        """The element type to request: bytes for pictures, floats for arrays."""
        return "float32" if self.kind in ARRAYS else "uint8"

    def write(self, content: bytes) -> None:
        write_atomically(self.path, content)


def output(text: Path, kinds: Sequence[str], reads: Sequence[Path] = ()) -> Output:
    """Checks the destination of a result.

    Args:
        text: the file or the folder.
        kinds: the suffixes that the command writes, and `FOLDER` if it writes folders.
        reads: the files that the command reads, none of which may be overwritten.

    Raises:
        typer.BadParameter: another kind, no such folder, no permission, or an input of the command.
    """
    wanted = ", ".join("a folder/" if kind == FOLDER else kind for kind in kinds)
    if FOLDER in kinds and (text.is_dir() or not text.suffix):
        found = Output(text, FOLDER)
    elif text.suffix.lower() in kinds:
        found = Output(text, text.suffix.lower())
    else:
        raise _refused(f"{text}: expected {wanted}")
    place = _nearest(text) if found.kind == FOLDER else text.parent
    if not place.is_dir():
        raise _refused(f"no such folder: {place}")
    if found.kind != FOLDER and text.is_dir():
        raise _refused(f"{text} is a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise _refused(f"no permission to write to {place}")
    _refuse_inputs(found, reads)
    return found


def check_kind(target: Output, model: Model) -> None:
    """Refuses pictures of a model whose data are no images.

    Raises:
        CommandError: says what can be written.
    """
    if not model.is_image and target.kind not in ARRAYS:
        kind = model.modality.lower()
        raise bad_data(f"{target.path}: the model has {kind} items; write an .npy or .npz")


def _refuse_inputs(target: Output, reads: Sequence[Path]) -> None:
    if not target.path.exists():
        return
    for path in reads:
        read = path.parent if target.kind == FOLDER else path
        if read.exists() and read.samefile(target.path):
            where = "in the folder of" if target.kind == FOLDER else "over"
            raise _refused(f"{target.path}: the result would be written {where} the input {path}")


def _nearest(path: Path) -> Path:
    """The path itself, or its nearest parent that exists."""
    return next((place for place in (path, *path.parents) if place.exists()), path)


def _refused(text: str) -> typer.BadParameter:
    return typer.BadParameter(text, param_hint="--output")


def write_images(
    target: Output,
    images: NDArray[Any],
    arrays: Mapping[str, NDArray[Any]],
    *,
    columns: int | None = None,
    scale: int | None = None,
    gap: int = 1,
    name: str = "images",
) -> None:
    """Writes images `[n, channels, height, width]` in the form of the output.

    Args:
        target: the destination.
        images: float32 in [0, 1] or uint8.
        arrays: further arrays for an .npz, by name.
        columns: images per row of a sheet.
        scale: the side of the square that a pixel becomes.
        gap: pixels between the images of a sheet.
        name: of the images in an .npz.
    """
    if target.kind == ".npy":
        target.write(npy_bytes(images))
    elif target.kind == ".npz":
        target.write(npz_bytes({name: images, **arrays}))
    elif target.kind == FOLDER:
        _write_folder(target.path, sheets.as_bytes(images), scale or 1)
    else:
        pixels = sheets.as_bytes(images)
        picture = sheets.sheet(pixels, columns, gap)
        target.write(png_bytes(sheets.enlarged(picture, scale or sheets.tile_scale(pixels))))


def write_arrays(target: Output, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes arrays by name to an .npz, or the first of them to an .npy."""
    if target.kind == ".npz":
        target.write(npz_bytes(arrays))
    else:
        target.write(npy_bytes(next(iter(arrays.values()))))


def _write_folder(folder: Path, images: sheets.Pixels, scale: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{folder}: {error.strerror or error}") from error
    digits = len(str(len(images) - 1))
    for number, image in enumerate(images):
        picture = sheets.enlarged(image.transpose(1, 2, 0), scale)
        write_atomically(folder / f"{number:0{digits}}.png", png_bytes(picture))


def png_bytes(picture: sheets.Pixels) -> bytes:
    buffer = io.BytesIO()
    _picture(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def gif_bytes(frames: Sequence[sheets.Pixels], milliseconds: int) -> bytes:
    """An animation that plays the frames forwards and backwards, without end."""
    there_and_back = [_picture(frame) for frame in [*frames, *frames[-2:0:-1]]]
    buffer = io.BytesIO()
    there_and_back[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=there_and_back[1:],
        duration=milliseconds,
        loop=0,
    )
    return buffer.getvalue()


def _picture(pixels: sheets.Pixels) -> Image.Image:
    channels = pixels.shape[-1]
    if channels not in (1, 3):
        raise bad_data(f"images of {channels} channels cannot be a picture; write an .npy")
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def npy_bytes(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    return buffer.getvalue()


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a temporary file and renames it; an existing file stays until all is written.

    Raises:
        CommandError: it cannot be written.
    """
    name = ""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".latens-", delete=False) as part:
            name = part.name
            part.write(content)
            os.fchmod(part.fileno(), 0o666 & ~_umask())
        Path(name).replace(path)
        name = ""
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from error
    finally:
        if name:
            Path(name).unlink(missing_ok=True)


def _umask() -> int:
    """The process's mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
