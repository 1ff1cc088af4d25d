"""The verb `interpolate`: paths between images or latents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from latens import axes, sheets
from latens.cli import console, inputs, outputs
from latens.cli.failures import bad_data
from latens.cli.options import (
    GreyOption,
    InvertOption,
    JsonOption,
    LabelOption,
    ModelOption,
    ScaleOption,
    SeedOption,
)
from latens.cli.session import Calls, calling
from latens.models import Model
from latens.results import Paths

PathsOutput = Annotated[
    Path, typer.Option("--output", "-o", help=".png (a row per path), .gif, .npy or .npz.")
]
StartArgument = Annotated[
    str | None, typer.Argument(help="A picture, .npy or .npz of latents or images, or 0.5,-1.")
]
EndArgument = Annotated[
    str | None, typer.Argument(help="Likewise, with as many rows as START has.")
]
StepsOption = Annotated[int, typer.Option(min=2, help="Images on each path, both ends included.")]
ModeOption = Annotated[
    Literal["linear", "spherical"], typer.Option(help="A straight line, or an arc (Shoemake 1985).")
]
PathsOption = Annotated[
    int, typer.Option("--count", "-n", min=1, help="Paths, where the ends are drawn.")
]


def interpolate(
    context: typer.Context,
    output: PathsOutput,
    start: StartArgument = None,
    end: EndArgument = None,
    steps: StepsOption = 12,
    mode: ModeOption = "linear",
    count: PathsOption = 1,
    seed: SeedOption = None,
    scale: ScaleOption = None,
    invert: InvertOption = False,
    grey: GreyOption = False,
    label: LabelOption = None,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Interpolates between two images or latents, and decodes the path.

    Without START and END, both are drawn from the prior.

    Examples:
      latens interpolate -o morph.gif
      latens interpolate three.png eight.png --steps 10 -o strip.png
      latens interpolate --model mnist-2d -1,0.5 2,0 -o strip.png
    """
    ends = [Path(text) for text in (start, end) if text is not None]
    target = outputs.output(output, (*outputs.PICTURES, *outputs.ARRAYS, ".gif"), ends)
    if (start is None) != (end is None):
        raise typer.BadParameter("expected both START and END, or neither")
    dtype = target.image_dtype
    with calling(context, model, "interpolate", label) as calls:
        known = calls.model()
        outputs.check_kind(target, known)
        if start is None or end is None:
            first, last, seed = _drawn(calls, count, seed)
        else:
            framing = inputs.Framing(invert=invert, grey=grey)
            first, last = (_end(text, known, framing) for text in (start, end))
        paths = calls.client.interpolate(
            first, last, steps, mode=mode, image_dtype=dtype, **calls.shared
        )
    _write_paths(target, paths, scale, known.data_field)
    facts = {"paths": len(paths.images), "steps": steps, "seed": seed, "version": paths.version}
    console.report(target.path, facts, as_json=as_json)


def _drawn(calls: Calls, count: int, seed: int | None) -> tuple[NDArray[Any], NDArray[Any], int]:
    """Starts and ends drawn from the prior, and their seed."""
    shared = calls.shared | {"progress": None, "labels": None}
    drawn = calls.client.sample(2 * count, seed=seed, image_dtype="float16", **shared)
    return drawn.latents[:count], drawn.latents[count:], drawn.seed


def _end(text: str, model: Model, framing: inputs.Framing) -> NDArray[Any]:
    """One end of the paths: coordinates, an array or a picture."""
    try:
        point = np.array(inputs.numbers(text), np.float32)
    except ValueError:
        return _end_in_files(Path(text), model, framing)
    if point.size != model.latent_size:
        raise bad_data(f"{text}: the model has {model.latent_size} coordinates, got {point.size}")
    return point.reshape(1, *model.usual_sizes.latent)


def _end_in_files(path: Path, model: Model, framing: inputs.Framing) -> NDArray[Any]:
    files = inputs.files_of([path])
    if path.suffix.lower() in (".npy", ".npz"):
        array = inputs.read_latents(path)
        if axes.fits(model.latent_axes, array.shape):
            return array[np.newaxis]
        if axes.fits(model.latent_axes, array.shape[1:]):
            return array
    return inputs.read_images(files, model, framing)


def _write_paths(target: outputs.Output, paths: Paths, scale: int | None, name: str) -> None:
    count, steps = paths.images.shape[:2]
    if target.kind == ".gif":
        frames = [sheets.sheet(images) for images in sheets.as_bytes(paths.images).swapaxes(0, 1)]
        factor = scale or sheets.frame_scale(frames[0])
        frames = [sheets.enlarged(frame, factor) for frame in frames]
        target.write(outputs.gif_bytes(frames, milliseconds=80))
    elif target.kind in outputs.ARRAYS:
        outputs.write_images(target, paths.images, {"latents": paths.latents}, name=name)
    else:
        flat = paths.images.reshape(count * steps, *paths.images.shape[2:])
        outputs.write_images(target, flat, {}, columns=steps, scale=scale)
