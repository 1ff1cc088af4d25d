"""Verbs that scan the latent space by its coordinates: `grid`, `traverse`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from latens.cli import console, inputs, outputs
from latens.cli.failures import bad_data
from latens.cli.options import (
    AddressOption,
    InvertOption,
    JsonOption,
    ModelOption,
    ScaleOption,
)
from latens.cli.session import calling
from latens.models import Model

SheetOutput = Annotated[Path, typer.Option("--output", "-o", help=".png, .npy or .npz.")]
BaseOption = Annotated[
    Path | None,
    typer.Option("--image", help="Start from this image's mean; the prior's if not given."),
]
LinesOption = Annotated[
    str | None, typer.Option(help="The coordinates, as 0,3,5. [default: the 16 most active]")
]
AttributeLinesOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Follow an attribute of the model's; may be repeated."),
]
SizeOption = Annotated[int, typer.Option(min=2, max=200, help="Images a side.")]
PlaneReachOption = Annotated[
    float, typer.Option("--range", min=0, help="From minus to plus this, on both axes.")
]
PlaneOption = Annotated[
    str | None, typer.Option(help="The two coordinates, as 0,1. [default: the most active]")
]
StepsOption = Annotated[int, typer.Option(min=2, max=1000, help="Images a line.")]
ReachOption = Annotated[float, typer.Option("--range", min=0, help="From minus to plus this.")]
_LINES_AT_MOST = 16  # unless said
_SHEET_KINDS = (*outputs.PICTURES, *outputs.ARRAYS)


def grid(
    context: typer.Context,
    output: SheetOutput,
    size: SizeOption = 21,
    reach: PlaneReachOption = 3.0,
    coordinates: PlaneOption = None,
    scale: ScaleOption = None,
    model: ModelOption = "",
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draws a plane of the latent space: an image at each point of a grid.

    The first coordinate grows to the right and the second upwards; the others are 0.

    Examples:
      latens grid --model mnist-2d -o map.png
    """
    target = outputs.output(output, _SHEET_KINDS)
    chosen = _indices(coordinates) if coordinates else None
    with calling(context, address, model, "grid") as calls:
        known = calls.model()
        axes = _axes(chosen, known)
        latents = _plane(axes, size, reach, known)
        done = calls.client.decode(latents, image_dtype=target.image_dtype, **calls.asked)
    arrays = {"latents": latents}
    outputs.write_images(target, done.images, arrays, columns=size, scale=scale or 1, gap=0)
    facts = {"coordinates": list(axes), "version": done.version}
    console.report(target.path, facts, as_json=as_json)


def _plane(axes: tuple[int, int], size: int, reach: float, model: Model) -> NDArray[np.float32]:
    """The latents of a square, row by row from its upper left corner."""
    across, up = axes
    line = np.linspace(-reach, reach, size, dtype=np.float32)
    points = np.zeros((size, size, model.latent_size), np.float32)
    points[:, :, across] = line
    points[:, :, up] = line[::-1, np.newaxis]
    return points.reshape(-1, *model.latent_shape)


def _indices(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise typer.BadParameter(f"{text!r}: expected coordinate numbers as 0,1")
    return [int(part) for part in parts]


def _axes(chosen: list[int] | None, model: Model) -> tuple[int, int]:
    """The two coordinates of a grid; of a model with one, the same twice is no plane."""
    axes = chosen if chosen is not None else list(model.coordinates_by_activity()[:2])
    if chosen is None:
        axes.sort()
    if len(axes) != 2 or axes[0] == axes[1]:
        raise bad_data(f"a grid needs two different coordinates; the model has {model.latent_size}")
    _check_indices(axes, model)
    return axes[0], axes[1]


def _check_indices(indices: list[int], model: Model) -> None:
    beyond = [index for index in indices if index >= model.latent_size]
    if beyond:
        raise bad_data(f"no coordinate {beyond[0]}: they go from 0 to {model.latent_size - 1}")


def traverse(
    context: typer.Context,
    output: SheetOutput,
    image: BaseOption = None,
    coordinates: LinesOption = None,
    attribute: AttributeLinesOption = None,
    steps: StepsOption = 11,
    reach: ReachOption = 3.0,
    invert: InvertOption = False,
    scale: ScaleOption = None,
    model: ModelOption = "",
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Scans latent coordinates one by one: a line of images each, the most active first.

    Examples:
      latens traverse --model mnist -o traversal.png
      latens traverse --image seven.png --coordinates 0,3 -o seven.png
      latens traverse --image a.png --attribute bold --attribute slant -o styles.png
    """
    target = outputs.output(output, _SHEET_KINDS)
    chosen = _indices(coordinates) if coordinates else []
    files = inputs.files_of([image]) if image else []
    with calling(context, address, model, "traverse") as calls:
        known = calls.model()
        _check_indices(chosen, known)
        axes: list[int | str] = [*chosen, *(attribute or ())]
        base = inputs.read_images(files, known, invert=invert)[:1] if files else None
        done = calls.client.traverse(
            base,
            axes=axes or known.coordinates_by_activity()[:_LINES_AT_MOST],
            start=-reach,
            stop=reach,
            steps=steps,
            bases_are="images",
            image_dtype=target.image_dtype,
            **calls.asked,
        )
    images = done.images.reshape(-1, *known.image_shape)
    outputs.write_images(target, images, {"latents": done.latents}, columns=steps, scale=scale)
    facts = {"axes": list(done.axes), "version": done.version}
    console.report(target.path, facts, as_json=as_json)


COMMANDS = (grid, traverse)
