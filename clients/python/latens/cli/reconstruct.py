"""The verb `reconstruct`: images encoded and decoded again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from latens import sheets
from latens.cli import console, inputs, outputs
from latens.cli.options import (
    AttributesOption,
    ColumnsOption,
    GreyOption,
    ImagesArgument,
    InvertOption,
    JsonOption,
    LabelOption,
    ModelOption,
    ScaleOption,
    strengths,
)
from latens.cli.session import calling
from latens.results import Reconstruction

ComparisonOutput = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help=".png (each image above its reconstruction), .npy, .npz, or a folder/.",
    ),
]


def reconstruct(
    context: typer.Context,
    images: ImagesArgument,
    output: ComparisonOutput,
    attribute: AttributesOption = None,
    columns: ColumnsOption = None,
    scale: ScaleOption = None,
    invert: InvertOption = False,
    grey: GreyOption = False,
    label: LabelOption = None,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Encodes images and decodes the means, to show what the model keeps of them.

    Reports the mean reconstruction error, -log p(x|z), and KL divergence per image, in nats.

    Examples:
      latens reconstruct digits/ -o compared.png
      latens reconstruct a.png --attribute bold=2 -o bolder.png
    """
    shifts = strengths(attribute)
    files = inputs.files_of(images)
    kinds = (*outputs.PICTURES, *outputs.ARRAYS, outputs.FOLDER)
    target = outputs.output(output, kinds, files)
    dtype = target.image_dtype
    with calling(context, model, "reconstruct", label) as calls:
        known = calls.model()
        outputs.check_kind(target, known)
        pixels = inputs.read_images(files, known, inputs.Framing(invert=invert, grey=grey))
        done = calls.client.reconstruct(
            pixels, attributes=shifts, image_dtype=dtype, **calls.shared
        )
    shown = done.images
    if target.kind == ".png":
        shown, columns = sheets.beside(sheets.as_bytes(pixels), sheets.as_bytes(shown), columns)
    figures = _figures(done)
    arrays = {
        "originals": pixels,
        "codes" if known.has_codes else "latents": done.latents,
        **figures,
    }
    outputs.write_images(target, shown, arrays, columns=columns, scale=scale, name=known.data_field)
    means = {name: round(float(figure.mean()), 3) for name, figure in figures.items()}
    facts = {"count": len(pixels), "version": done.version, **means}
    console.report(target.path, facts, as_json=as_json)


def _figures(done: Reconstruction) -> dict[str, NDArray[np.float32]]:
    """The error terms of each image in nats, by name."""
    known = {"reconstruction": done.reconstruction}
    return known if done.kl is None else known | {"kl": done.kl}
