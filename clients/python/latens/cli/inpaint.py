"""The verb `inpaint`: missing pixels filled."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
import typer
from numpy.typing import NDArray

from latens import pictures, sheets
from latens.cli import console, inputs, outputs
from latens.cli.failures import bad_data
from latens.cli.options import (
    ColumnsOption,
    GreyOption,
    ImagesArgument,
    InvertOption,
    JsonOption,
    LabelOption,
    ModelOption,
    ScaleOption,
    SeedOption,
)
from latens.cli.session import calling
from latens.models import Model

_MISSING_GREY = 96


class _Chain(TypedDict):
    iterations: int
    average: int
    seed: int | None


class Part(StrEnum):
    """A part of an image that can be hidden by name."""

    TOP = "top"
    BOTTOM = "bottom"
    LEFT = "left"
    RIGHT = "right"
    CENTRE = "centre"


CompletedOutput = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help=".png (each image above its completion), .npy, .npz, a folder/."
    ),
]
MaskOption = Annotated[
    Path | None, typer.Option(help="A picture that is white where pixels are missing, or an .npy.")
]
HideOption = Annotated[Part | None, typer.Option(help="A part that is missing from every image.")]
IterationsOption = Annotated[int, typer.Option(min=1, help="Steps of the chain.")]
AverageOption = Annotated[
    int, typer.Option(min=1, help="Average the filled pixels over so many of the last steps.")
]


def inpaint(
    context: typer.Context,
    images: ImagesArgument,
    output: CompletedOutput,
    mask: MaskOption = None,
    hide: HideOption = None,
    iterations: IterationsOption = 100,
    average: AverageOption = 1,
    seed: SeedOption = None,
    columns: ColumnsOption = None,
    scale: ScaleOption = None,
    invert: InvertOption = False,
    grey: GreyOption = False,
    label: LabelOption = None,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Fills the missing pixels of images by the Markov chain of Rezende et al. (2014).

    Examples:
      latens inpaint digits/ --hide top -o completed.png
      latens inpaint face.png --mask scratches.png --average 50 -o repaired.png
    """
    if (mask is None) == (hide is None):
        raise typer.BadParameter("expected either --mask or --hide")
    if average > iterations:
        raise typer.BadParameter("--average is more than --iterations")
    files = inputs.files_of(images)
    kinds = (*outputs.PICTURES, *outputs.ARRAYS, outputs.FOLDER)
    target = outputs.output(output, kinds, [*files, mask] if mask else files)
    chain: _Chain = {"iterations": iterations, "average": average, "seed": seed}
    with calling(context, model, "inpaint", label) as calls:
        known = calls.model()
        pixels = inputs.read_images(files, known, inputs.Framing(invert=invert, grey=grey))
        missing = _mask_in(mask, known) if mask else _part(hide, known)
        done = calls.client.inpaint(
            pixels, missing, **chain, image_dtype=target.image_dtype, **calls.shared
        )
    shown = done.images
    if target.kind == ".png":
        holes = _with_holes(pixels, missing)
        shown, columns = sheets.beside(holes, sheets.as_bytes(shown), columns)
    arrays = {"originals": pixels, "masks": missing, "latents": done.latents}
    outputs.write_images(target, shown, arrays, columns=columns, scale=scale)
    facts = {"count": len(pixels), "seed": done.seed, "version": done.version}
    console.report(target.path, facts, as_json=as_json)


def _mask_in(path: Path, model: Model) -> NDArray[np.bool_]:
    """The mask of a file: true where pixels are missing, `[height, width]` or an array's shape."""
    (file,) = inputs.files_of([path])[:1]
    if pictures.is_picture(file):
        return inputs.read_mask(file, model)
    missing: NDArray[np.bool_] = inputs.read_array(file, ("masks", "mask")) != 0
    if missing.shape[-2:] != model.image_shape[1:]:
        raise bad_data(f"{file}: expected masks like the images, got {list(missing.shape)}")
    return missing


def _with_holes(pixels: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The images as bytes, grey where they are masked."""
    if missing.ndim == 3:
        missing = missing[:, np.newaxis]
    return np.where(missing, np.uint8(_MISSING_GREY), sheets.as_bytes(pixels))


def _part(part: Part | None, model: Model) -> NDArray[np.bool_]:
    _, height, width = model.image_shape
    missing = np.zeros((height, width), np.bool_)
    match part:
        case Part.TOP:
            missing[: height // 2] = True
        case Part.BOTTOM:
            missing[height // 2 :] = True
        case Part.LEFT:
            missing[:, : width // 2] = True
        case Part.RIGHT:
            missing[:, width // 2 :] = True
        case _:
            missing[height // 4 : -(height // 4), width // 4 : -(width // 4)] = True
    return missing
