"""The verb `decode`: latents to images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from latens.cli import console, inputs, outputs
from latens.cli.failures import bad_data
from latens.cli.options import (
    AttributesOption,
    ColumnsOption,
    ImagesOutput,
    JsonOption,
    LabelOption,
    ModelOption,
    ScaleOption,
    SizeOption,
    height_and_width,
    strengths,
)
from latens.cli.session import calling

LatentsArgument = Annotated[
    Path | None, typer.Argument(help="Latents, .npy or .npz.", show_default=False)
]
AtOption = Annotated[
    list[str] | None,
    typer.Option(help="A latent by its coordinates, as 0.5,-1; may be repeated."),
]


def decode(
    context: typer.Context,
    output: ImagesOutput,
    latents: LatentsArgument = None,
    at: AtOption = None,
    attribute: AttributesOption = None,
    size: SizeOption = None,
    columns: ColumnsOption = None,
    scale: ScaleOption = None,
    label: LabelOption = None,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Decodes latents to images: the mean of p(x|z).

    Examples:
      latens decode codes.npz -o images.png
      latens decode --at 0.5,-1 --at 0,0 -o pair.png

    --size says what the coordinates of --at stand for where the model leaves the size free.
    With a file of latents it is a check.
    """
    kinds = (*outputs.PICTURES, *outputs.ARRAYS, outputs.FOLDER)
    target = outputs.output(output, kinds, [latents] if latents else [])
    if (latents is None) == (not at):
        raise typer.BadParameter("expected either a file of latents or --at")
    shifts, chosen = strengths(attribute), height_and_width(size)
    given = inputs.read_latents(latents) if latents else None
    points = [_coordinates(text) for text in at or ()]
    dtype = target.image_dtype
    with calling(context, model, "decode", label) as calls:
        known = calls.model()
        outputs.check_kind(target, known)
        if given is None or chosen is not None:
            shape = inputs.latent_shape(known, chosen)
            given = (
                _stacked(points, shape, known.has_codes)
                if given is None
                else _of_shape(given, shape)
            )
        done = calls.client.decode(given, attributes=shifts, image_dtype=dtype, **calls.shared)
    name = "codes" if known.has_codes else "latents"
    arrays = {name: given if done.latents is None else done.latents}
    outputs.write_images(
        target, done.images, arrays, columns=columns, scale=scale, name=known.data_field
    )
    facts = {"count": len(done.images), "version": done.version}
    console.report(target.path, facts, as_json=as_json)


def _coordinates(text: str) -> list[float]:
    try:
        return inputs.numbers(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: expected numbers as 0.5,-1") from error


def _of_shape(latents: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if latents.shape[1:] != shape:
        raise bad_data(f"--size: expected latents {list(shape)}, got {list(latents.shape[1:])}")
    return latents


def _stacked(points: list[list[float]], shape: tuple[int, ...], are_codes: bool) -> NDArray[Any]:
    size = int(np.prod(shape))
    for point in points:
        if len(point) != size:
            raise bad_data(f"--at: the model has {size} coordinates, got {len(point)}")
    stacked = np.array(points).reshape(-1, *shape)
    if not are_codes:
        return stacked.astype(np.float32)
    if (stacked != np.rint(stacked)).any():
        raise bad_data("--at: the model has codes, whole numbers")
    return stacked.astype(np.int64)
