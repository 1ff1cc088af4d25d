"""Verbs that roam the latent space: `sample`, `interpolate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from latens.cli import console, inputs, outputs, sheets
from latens.cli.failures import bad_data
from latens.cli.options import (
    AddressOption,
    ColumnsOption,
    InvertOption,
    JsonOption,
    ModelOption,
    ScaleOption,
    SeedOption,
)
from latens.cli.session import Calls, calling
from latens.models import Model
from latens.results import Paths

SampleOutput = Annotated[
    Path,
    typer.Option("--output", "-o", help=".png (a sheet), .npy, .npz, or a folder/ of PNGs."),
]
PathsOutput = Annotated[
    Path, typer.Option("--output", "-o", help=".png (a strip a path), .gif, .npy or .npz.")
]
StartArgument = Annotated[
    str | None, typer.Argument(help="A picture, .npy or .npz of latents or images, or 0.5,-1.")
]
EndArgument = Annotated[str | None, typer.Argument(help="The same, as many as START has.")]
StepsOption = Annotated[int, typer.Option(min=2, help="Images on each path, both ends included.")]
ModeOption = Annotated[
    Literal["linear", "spherical"], typer.Option(help="A straight line, or an arc (Shoemake 1985).")
]
PathsOption = Annotated[
    int, typer.Option("--count", "-n", min=1, help="Paths, when the ends are drawn.")
]
CountOption = Annotated[int, typer.Option("--count", "-n", min=1, help="How many images.")]
TemperatureOption = Annotated[
    float | None,
    typer.Option(min=0, max=100, help="The spread of the latents: 1 as trained, 0 the centre."),
]
_SHEET_KINDS = (*outputs.PICTURES, *outputs.ARRAYS)


def sample(
    context: typer.Context,
    output: SampleOutput,
    count: CountOption = 64,
    seed: SeedOption = None,
    temperature: TemperatureOption = None,
    columns: ColumnsOption = None,
    scale: ScaleOption = None,
    model: ModelOption = "",
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Makes new images: draws latents from the prior and decodes them.

    Examples:
      latens sample -o digits.png
      latens sample -n 16 --seed 7 --model mnist-2d -o digits.png
    """
    target = outputs.output(output, (*_SHEET_KINDS, outputs.FOLDER))
    dtype = target.image_dtype
    with calling(context, address, model, "sample") as calls:
        done = calls.client.sample(
            count, seed=seed, temperature=temperature, image_dtype=dtype, **calls.asked
        )
    arrays: dict[str, NDArray[Any]] = {
        "latents": done.latents,
        "seed": np.array(done.seed, np.uint64),
    }
    outputs.write_images(target, done.images, arrays, columns=columns, scale=scale)
    facts = {"count": count, "seed": done.seed, "version": done.version}
    console.report(target.path, facts, as_json=as_json)


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
    model: ModelOption = "",
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turns one image into another through the latent space.

    Without START and END, both are drawn from the prior.

    Examples:
      latens interpolate -o morph.gif
      latens interpolate three.png eight.png --steps 10 -o strip.png
      latens interpolate --model mnist-2d -1,0.5 2,0 -o strip.png
    """
    target = outputs.output(output, (*_SHEET_KINDS, ".gif"))
    if (start is None) != (end is None):
        raise typer.BadParameter("expected both START and END, or neither")
    dtype = target.image_dtype
    with calling(context, address, model, "interpolate") as calls:
        if start is None or end is None:
            first, last, seed = _drawn(calls, count, seed)
        else:
            known = calls.model()
            first, last = (_end(text, known, invert) for text in (start, end))
        paths = calls.client.interpolate(
            first, last, steps, mode=mode, image_dtype=dtype, **calls.asked
        )
    _write_paths(target, paths, scale)
    facts = {"paths": len(paths.images), "steps": steps, "seed": seed, "version": paths.version}
    console.report(target.path, facts, as_json=as_json)


def _drawn(calls: Calls, count: int, seed: int | None) -> tuple[NDArray[Any], NDArray[Any], int]:
    """Starts and ends drawn from the prior, and the seed that they came from."""
    asked = calls.asked | {"progress": None}
    drawn = calls.client.sample(2 * count, seed=seed, image_dtype="uint8", **asked)
    return drawn.latents[:count], drawn.latents[count:], drawn.seed


def _end(text: str, model: Model, invert: bool) -> NDArray[Any]:
    """One end of the paths: coordinates, an array or a picture."""
    try:
        point = np.array(inputs.numbers(text), np.float32)
    except ValueError:
        return _end_in_files(Path(text), model, invert)
    if point.size != model.latent_size:
        raise bad_data(f"{text}: the model has {model.latent_size} coordinates, got {point.size}")
    return point.reshape(1, *model.latent_shape)


def _end_in_files(path: Path, model: Model, invert: bool) -> NDArray[Any]:
    files = inputs.files_of([path])
    if path.suffix.lower() in (".npy", ".npz"):
        array = inputs.read_latents(path)
        if array.shape == model.latent_shape:
            return array[np.newaxis]
        if array.shape[1:] == model.latent_shape:
            return array
    return inputs.read_images(files, model, invert=invert)


def _write_paths(target: outputs.Output, paths: Paths, scale: int | None) -> None:
    count, steps = paths.images.shape[:2]
    if target.kind == ".gif":
        frames = [sheets.sheet(images) for images in sheets.as_bytes(paths.images).swapaxes(0, 1)]
        factor = scale or sheets.frame_scale(frames[0])
        frames = [sheets.enlarged(frame, factor) for frame in frames]
        target.write(outputs.gif_bytes(frames, milliseconds=80))
    elif target.kind in outputs.ARRAYS:
        outputs.write_images(target, paths.images, {"latents": paths.latents})
    else:
        flat = paths.images.reshape(count * steps, *paths.images.shape[2:])
        outputs.write_images(target, flat, {}, columns=steps, scale=scale)


COMMANDS = (sample, interpolate)
