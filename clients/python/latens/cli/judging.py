"""Verbs that have the model judge images: `score`, `inpaint`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
import typer
from numpy.typing import NDArray

from latens.cli import console, inputs, outputs, sheets
from latens.cli.failures import bad_data
from latens.cli.options import (
    AddressOption,
    ColumnsOption,
    ImagesArgument,
    InvertOption,
    JsonOption,
    ModelOption,
    ScaleOption,
    SeedOption,
)
from latens.cli.session import calling
from latens.models import Model
from latens.results import SCORE_SAMPLES, Scores

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


ScoresOutput = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help=".npz (bound, standard_error, effective_samples) or .npy (the bounds).",
    ),
]
SamplesOption = Annotated[
    int, typer.Option("--samples", "-n", min=1, help="Importance samples per image.")
]
BelowOption = Annotated[float | None, typer.Option(help="Show only images that score below this.")]
CompletedOutput = Annotated[
    Path,
    typer.Option(
        "--output", "-o", help=".png (each image above its completion), .npy, .npz, a folder/."
    ),
]
MaskOption = Annotated[
    Path | None, typer.Option(help="A picture that is white where pixels are missing, or an .npy.")
]
HideOption = Annotated[Part | None, typer.Option(help="Or a part that is missing of every image.")]
IterationsOption = Annotated[int, typer.Option(min=1, help="Steps of the chain.")]
AverageOption = Annotated[
    int, typer.Option(min=1, help="Average the filled pixels over the last so many steps.")
]


def score(
    context: typer.Context,
    images: ImagesArgument,
    output: ScoresOutput = None,
    samples: SamplesOption = SCORE_SAMPLES,
    below: BelowOption = None,
    seed: SeedOption = None,
    invert: InvertOption = False,
    model: ModelOption = "",
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimates how probable the model finds images: a lower bound of log p(x), in nats.

    An image unlike the training set scores far lower than the training set: an anomaly score to
    threshold. The bound is the importance-weighted one (Burda et al. 2016), with its standard error
    and the number of effective samples. Where that number is below 4, one sample outweighs the rest
    and the bound depends on the seed; a warning says so.

    Examples:
      latens score scans/ --below -200
      latens score three.png --samples 1000
    """
    target = outputs.output(output, outputs.ARRAYS) if output else None
    files = inputs.files_of(images)
    with calling(context, address, model, "score") as calls:
        pixels = inputs.read_images(files, calls.model(), invert=invert)
        done = calls.client.score(pixels, samples=samples, seed=seed, **calls.asked)
    facts = {"count": len(pixels), "samples": samples, "version": done.version, "seed": done.seed}
    rows = _scored(done, [str(path) for path in files], below)
    if target is not None:
        arrays = {
            "bound": done.bound,
            "standard_error": done.standard_error,
            "effective_samples": done.effective_samples,
        }
        outputs.write_arrays(target, {name: a for name, a in arrays.items() if a is not None})
        console.report(target.path, facts, as_json=as_json)
    elif as_json:
        console.print_json(facts | {"images": rows})
    else:
        table = [tuple(_cell(value) for value in row.values()) for row in rows]
        columns = ("image", "bound (nats)", "standard error", "effective samples")
        console.print_table("", columns, table)
    if dominated := int(done.dominated.sum()):
        console.note(
            f"one sample outweighs the rest for {dominated} of {len(pixels)} images, "
            "whose bounds depend on the seed; more --samples help"
        )


def _scored(done: Scores, names: list[str], below: float | None) -> list[dict[str, Any]]:
    """The scores, each with its file where each file is one image, else with its number."""
    errors = done.standard_error
    return [
        {
            "image": names[number] if len(names) == len(done.bound) else str(number),
            "bound": float(bound),
            "standard_error": None if errors is None else float(errors[number]),
            "effective_samples": float(done.effective_samples[number]),
        }
        for number, bound in enumerate(done.bound)
        if below is None or bound < below
    ]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


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
    model: ModelOption = "",
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fills in what is missing of images, by the Markov chain of Rezende et al. (2014).

    Examples:
      latens inpaint digits/ --hide top -o completed.png
      latens inpaint face.png --mask scratches.png --average 50 -o mended.png
    """
    target = outputs.output(output, (*outputs.PICTURES, *outputs.ARRAYS, outputs.FOLDER))
    if (mask is None) == (hide is None):
        raise typer.BadParameter("expected either --mask or --hide")
    if average > iterations:
        raise typer.BadParameter("--average is more than --iterations")
    files = inputs.files_of(images)
    chain: _Chain = {"iterations": iterations, "average": average, "seed": seed}
    with calling(context, address, model, "inpaint") as calls:
        known = calls.model()
        pixels = inputs.read_images(files, known, invert=invert)
        missing = _mask_in(mask, known) if mask else _part(hide, known)
        done = calls.client.inpaint(
            pixels, missing, **chain, image_dtype=target.image_dtype, **calls.asked
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
    """The mask of a file: true where missing, `[height, width]` or an array as it is."""
    (file,) = inputs.files_of([path])[:1]
    if file.suffix.lower() in inputs.PICTURE_SUFFIXES:
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


COMMANDS = (score, inpaint)
