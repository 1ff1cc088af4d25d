"""Verbs that roam the latent space: `sample`, `interpolate`, `grid`, `traverse`."""

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
    connect,
    named,
)
from latens.models import Model
from latens.results import Paths

SampleOutput = Annotated[
    Path,
    typer.Option("--output", "-o", help=".png (a sheet), .npy, .npz, or a folder/ of PNGs."),
]
SheetOutput = Annotated[Path, typer.Option("--output", "-o", help=".png, .npy or .npz.")]
_SHEET_KINDS = (*outputs.PICTURES, *outputs.ARRAYS)


def sample(
    context: typer.Context,
    output: SampleOutput,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many images.")] = 64,
    seed: SeedOption = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="The spread of the latents: 1 as trained, 0 the centre."),
    ] = None,
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
    with connect(context, address) as client, console.progress("sample") as progress:
        done = client.sample(
            count,
            seed=seed,
            temperature=temperature,
            image_dtype=target.image_dtype,
            progress=progress,
            **named(model),
        )
    arrays: dict[str, NDArray[Any]] = {
        "latents": done.latents,
        "seed": np.array(done.seed, np.uint64),
    }
    outputs.write_images(target, done.images, arrays, columns=columns, scale=scale)
    facts = {
        "count": count,
        "seed": done.seed,
        "version": done.version,
    }
    console.report(target.path, facts, as_json=as_json)


def interpolate(
    context: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", help=".png (a strip a path), .gif, .npy or .npz.")
    ],
    start: Annotated[
        str | None,
        typer.Argument(help="A picture, .npy or .npz of latents or images, or 0.5,-1."),
    ] = None,
    end: Annotated[str | None, typer.Argument(help="The same, as many as START has.")] = None,
    steps: Annotated[
        int, typer.Option(min=2, help="Images on each path, both ends included.")
    ] = 12,
    mode: Annotated[
        Literal["linear", "spherical"],
        typer.Option(help="A straight line, or an arc (Shoemake 1985)."),
    ] = "linear",
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, help="Paths, when the ends are drawn.")
    ] = 1,
    seed: SeedOption = None,
    scale: ScaleOption = None,
    invert: InvertOption = False,
    model: ModelOption = "",
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turns one image into another through the latent space.

    Without START and END, both are drawn from the prior. Coordinates that begin with a minus
    go after a `--`.

    Examples:
      latens interpolate -o morph.gif
      latens interpolate three.png eight.png --steps 10 -o strip.png
    """
    target = outputs.output(output, (*_SHEET_KINDS, ".gif"))
    if (start is None) != (end is None):
        raise typer.BadParameter("expected both START and END, or neither")
    with connect(context, address) as client, console.progress("interpolate") as progress:
        if start is None or end is None:
            drawn = client.sample(2 * count, seed=seed, image_dtype="uint8", **named(model))
            seed = drawn.seed
            first, last = drawn.latents[:count], drawn.latents[count:]
        else:
            known = client.model(**named(model))
            first, last = (_end(text, known, invert) for text in (start, end))
        paths = client.interpolate(
            first,
            last,
            steps,
            mode=mode,
            image_dtype=target.image_dtype,
            progress=progress,
            **named(model),
        )
    _write_paths(target, paths, scale)
    facts = {
        "paths": len(paths.images),
        "steps": steps,
        "seed": seed,
        "version": paths.version,
    }
    console.report(target.path, facts, as_json=as_json)


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
    image: Annotated[
        Path | None,
        typer.Option("--image", help="Start from this image's mean; the prior's if not given."),
    ] = None,
    coordinates: Annotated[
        str | None,
        typer.Option(help="The coordinates, as 0,3,5. [default: the 16 most active]"),
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Follow an attribute of the model's; may be repeated."),
    ] = None,
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


COMMANDS = (sample, interpolate, grid, traverse)
