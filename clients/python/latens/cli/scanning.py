"""Verbs that scan the latent space by its coordinates: `grid`, `traverse`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from latens.cli import console, inputs, outputs
from latens.cli.failures import bad_data
from latens.cli.options import (
    AddressOption,
    InvertOption,
    JsonOption,
    ModelOption,
    ScaleOption,
    connect,
    named,
)
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
_SHEET_KINDS = (*outputs.PICTURES, *outputs.ARRAYS)


def grid(
    context: typer.Context,
    output: SheetOutput,
    size: Annotated[int, typer.Option(min=2, max=200, help="Images a side.")] = 21,
    reach: Annotated[
        float, typer.Option("--range", min=0, help="From minus to plus this, on both axes.")
    ] = 3.0,
    coordinates: Annotated[
        str | None, typer.Option(help="The two coordinates, as 0,1. [default: the most active]")
    ] = None,
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
    with connect(context, address) as client, console.progress("grid") as progress:
        known = client.model(**named(model))
        across, up = _axes(chosen, known)
        line = np.linspace(-reach, reach, size, dtype=np.float32)
        points = np.zeros((size, size, known.latent_size), np.float32)
        points[:, :, across] = line
        points[:, :, up] = line[::-1, np.newaxis]
        latents = points.reshape(-1, *known.latent_shape)
        done = client.decode(
            latents, image_dtype=target.image_dtype, progress=progress, **named(model)
        )
    outputs.write_images(
        target, done.images, {"latents": latents}, columns=size, scale=scale or 1, gap=0
    )
    facts = {"coordinates": [across, up], "version": done.version}
    console.report(target.path, facts, as_json=as_json)


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
    steps: Annotated[int, typer.Option(min=2, max=1000, help="Images a line.")] = 11,
    reach: Annotated[float, typer.Option("--range", min=0, help="From minus to plus this.")] = 3.0,
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
    with connect(context, address) as client, console.progress("traverse") as progress:
        known = client.model(**named(model))
        axes: list[int | str] = [*chosen, *(attribute or ())]
        _check_indices(chosen, known)
        done = client.traverse(
            inputs.read_images(files, known, invert=invert)[:1] if files else None,
            axes=axes or known.coordinates_by_activity()[:16],
            start=-reach,
            stop=reach,
            steps=steps,
            bases_are="images",
            image_dtype=target.image_dtype,
            progress=progress,
            **named(model),
        )
    images = done.images.reshape(-1, *known.image_shape)
    outputs.write_images(target, images, {"latents": done.latents}, columns=steps, scale=scale)
    facts = {"axes": list(done.axes), "version": done.version}
    console.report(target.path, facts, as_json=as_json)


COMMANDS = (grid, traverse)
