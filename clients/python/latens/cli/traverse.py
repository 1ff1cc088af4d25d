"""The verb `traverse`: lines along latent coordinates or attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latens.cli import console, inputs, outputs
from latens.cli.coordinates import check_indices, indices, name_of
from latens.cli.options import (
    GreyOption,
    InvertOption,
    JsonOption,
    LabelOption,
    ModelOption,
    ScaleOption,
)
from latens.cli.session import calling

SheetOutput = Annotated[Path, typer.Option("--output", "-o", help=".png, .npy or .npz.")]
BaseOption = Annotated[
    Path | None,
    typer.Option("--image", help="Start from this image's mean; from the prior's if not given."),
]
LinesOption = Annotated[
    str | None,
    typer.Option(help="The coordinates, as z1,z4,z6. [default: the 16 most active]"),
]
AttributeLinesOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Follow an attribute of the model; may be repeated."),
]
StepsOption = Annotated[int, typer.Option(min=2, max=1000, help="Images per line.")]
RangeOption = Annotated[float, typer.Option("--range", min=0, help="From minus to plus this.")]
_MOST_LINES = 16  # unless coordinates are given


def traverse(
    context: typer.Context,
    output: SheetOutput,
    image: BaseOption = None,
    coordinates: LinesOption = None,
    attribute: AttributeLinesOption = None,
    steps: StepsOption = 11,
    reach: RangeOption = 3.0,
    invert: InvertOption = False,
    grey: GreyOption = False,
    scale: ScaleOption = None,
    label: LabelOption = None,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Varies latent coordinates one by one: a row of images each, the most active first.

    Examples:
      latens traverse --model mnist -o traversal.png
      latens traverse --image seven.png --coordinates z1,z4 -o lines.png
      latens traverse --image a.png --attribute bold --attribute slant -o styles.png
    """
    chosen = indices(coordinates) if coordinates else []
    files = inputs.files_of([image]) if image else []
    target = outputs.output(output, (*outputs.PICTURES, *outputs.ARRAYS), files)
    with calling(context, model, "traverse", label) as calls:
        known = calls.model()
        check_indices(chosen, known)
        axes: list[int | str] = [*chosen, *(attribute or ())]
        outputs.check_kind(target, known)
        framing = inputs.Framing(invert=invert, grey=grey)
        base = inputs.read_images(files, known, framing)[:1] if files else None
        done = calls.client.traverse(
            base,
            axes=axes or known.coordinates_by_activity()[:_MOST_LINES],
            start=-reach,
            stop=reach,
            steps=steps,
            bases_are="images",
            image_dtype=target.image_dtype,
            **calls.shared,
        )
    images = done.images.reshape(-1, *done.images.shape[3:])
    arrays = {"latents": done.latents}
    outputs.write_images(target, images, arrays, columns=steps, scale=scale, name=known.data_field)
    facts = {"axes": [name_of(axis) for axis in done.axes], "version": done.version}
    console.report(target.path, facts, as_json=as_json)
