"""The verb `grid`: a plane of the latent space."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from latens.cli import console, outputs
from latens.cli.coordinates import check_indices, indices, name_of
from latens.cli.failures import bad_data
from latens.cli.options import JsonOption, LabelOption, ModelOption, ScaleOption
from latens.cli.session import calling
from latens.models import Model

SheetOutput = Annotated[Path, typer.Option("--output", "-o", help=".png, .npy or .npz.")]
SizeOption = Annotated[int, typer.Option(min=2, max=200, help="Images per side.")]
RangeOption = Annotated[
    float, typer.Option("--range", min=0, help="From minus to plus this, on both axes.")
]
PlaneOption = Annotated[
    str | None,
    typer.Option(help="The two coordinates, as z1,z2. [default: the most active]"),
]


def grid(
    context: typer.Context,
    output: SheetOutput,
    size: SizeOption = 21,
    reach: RangeOption = 3.0,
    coordinates: PlaneOption = None,
    scale: ScaleOption = None,
    label: LabelOption = None,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Draws a plane of the latent space: an image at each point of a grid.

    The first coordinate grows to the right and the second upwards; the others are 0.

    Examples:
      latens grid --model mnist-2d -o map.png
    """
    target = outputs.output(output, (*outputs.PICTURES, *outputs.ARRAYS))
    chosen = indices(coordinates) if coordinates else None
    with calling(context, model, "grid", label) as calls:
        known = calls.model()
        axes = _axes(chosen, known)
        latents = _plane(axes, size, reach, known)
        done = calls.client.decode(latents, image_dtype=target.image_dtype, **calls.shared)
    arrays = {"latents": latents}
    outputs.write_images(target, done.images, arrays, columns=size, scale=scale or 1, gap=0)
    facts = {"coordinates": [name_of(axis) for axis in axes], "version": done.version}
    console.report(target.path, facts, as_json=as_json)


def _plane(axes: tuple[int, int], size: int, reach: float, model: Model) -> NDArray[np.float32]:
    """The latents of a square, row by row from its upper left corner."""
    across, up = axes
    line = np.linspace(-reach, reach, size, dtype=np.float32)
    points = np.zeros((size, size, model.latent_size), np.float32)
    points[:, :, across] = line
    points[:, :, up] = line[::-1, np.newaxis]
    return points.reshape(-1, *model.usual_sizes.latent)


def _axes(chosen: list[int] | None, model: Model) -> tuple[int, int]:
    """The two coordinates of a grid.

    Raises:
        CommandError: they are not two, or the model lacks one of them.
    """
    axes = chosen if chosen is not None else list(model.coordinates_by_activity()[:2])
    if chosen is None:
        axes.sort()
    if len(axes) != 2 or axes[0] == axes[1]:
        raise bad_data(f"a grid needs two different coordinates; the model has {model.latent_size}")
    check_indices(axes, model)
    return axes[0], axes[1]
