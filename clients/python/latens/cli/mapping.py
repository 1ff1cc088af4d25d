"""Verbs between images and latents: `encode`, `decode`, `reconstruct`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from latens.cli import console, inputs, outputs, sheets
from latens.cli.failures import bad_data
from latens.cli.options import (
    AddressOption,
    AttributesOption,
    ColumnsOption,
    ImagesArgument,
    InvertOption,
    JsonOption,
    ModelOption,
    ScaleOption,
    SeedOption,
    strengths,
)
from latens.cli.session import calling
from latens.results import Encoding, Reconstruction

_SHOWN_COORDINATES = 8

CodesOutput = Annotated[
    Path | None,
    typer.Option("--output", "-o", help=".npz (mean, log_var, latents) or .npy (the means)."),
]
DrawOption = Annotated[bool, typer.Option(help="Also draw a latent from each posterior.")]
LatentsArgument = Annotated[
    Path | None, typer.Argument(help="Latents, .npy or .npz.", show_default=False)
]
ImagesOutput = Annotated[
    Path, typer.Option("--output", "-o", help=".png, .npy, .npz, or a folder/.")
]
AtOption = Annotated[
    list[str] | None,
    typer.Option(help="A latent by its coordinates, as 0.5,-1; may be repeated."),
]
ComparisonOutput = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help=".png (each image above its reconstruction), .npy, .npz, or a folder/.",
    ),
]


def encode(
    context: typer.Context,
    images: ImagesArgument,
    output: CodesOutput = None,
    draw: DrawOption = False,
    seed: SeedOption = None,
    invert: InvertOption = False,
    model: ModelOption = "",
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turns images into latents: the mean and log-variance of their posterior.

    Without --output the means are shown. --seed asks to draw.

    Examples:
      latens encode three.png
      latens encode scans/ -o codes.npz
    """
    target = outputs.output(output, outputs.ARRAYS) if output else None
    files = inputs.files_of(images)
    with calling(context, address, model, "encode") as calls:
        pixels = inputs.read_images(files, calls.model(), invert=invert)
        done = calls.client.encode(pixels, draw=draw, seed=seed, **calls.asked)
    arrays = {"mean": done.mean, "log_var": done.log_var, "latents": done.latents}
    present = {name: array for name, array in arrays.items() if array is not None}
    facts = {"count": len(done.mean), "version": done.version, "seed": done.seed}
    if target is not None:
        outputs.write_arrays(target, present)
        console.report(target.path, facts, as_json=as_json)
    elif as_json:
        console.print_json(facts | {name: array.tolist() for name, array in present.items()})
    else:
        _show_means(done, [str(path) for path in files])


def _show_means(done: Encoding, names: list[str]) -> None:
    """The first coordinates of each mean, beside the file's name where each file is one image."""
    rows = done.mean.reshape(len(done.mean), -1)
    labels = names if len(names) == len(rows) else [str(number) for number in range(len(rows))]
    shown = rows[:, :_SHOWN_COORDINATES]
    columns = ("image", *(f"mean {index}" for index in range(shown.shape[1])))
    table = [
        (label, *(f"{value:+.3f}" for value in row))
        for label, row in zip(labels, shown, strict=True)
    ]
    console.print_table("", columns, table)
    if rows.shape[1] > _SHOWN_COORDINATES:
        console.note(f"{rows.shape[1]} coordinates each; --output or --json gives all")


def decode(
    context: typer.Context,
    output: ImagesOutput,
    latents: LatentsArgument = None,
    at: AtOption = None,
    attribute: AttributesOption = None,
    columns: ColumnsOption = None,
    scale: ScaleOption = None,
    model: ModelOption = "",
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turns latents into images.

    Examples:
      latens decode codes.npz -o images.png
      latens decode --at 0.5,-1 --at 0,0 -o pair.png
    """
    target = outputs.output(output, (*outputs.PICTURES, *outputs.ARRAYS, outputs.FOLDER))
    if (latents is None) == (not at):
        raise typer.BadParameter("expected either a file of latents or --at")
    shifts = strengths(attribute)
    given = inputs.read_latents(latents) if latents else None
    points = [_coordinates(text) for text in at or ()]
    dtype = target.image_dtype
    with calling(context, address, model, "decode") as calls:
        if given is None:
            given = _stacked(points, calls.model().latent_shape)
        done = calls.client.decode(given, attributes=shifts, image_dtype=dtype, **calls.asked)
    arrays = {"latents": given if done.latents is None else done.latents}
    outputs.write_images(target, done.images, arrays, columns=columns, scale=scale)
    facts = {"count": len(done.images), "version": done.version}
    console.report(target.path, facts, as_json=as_json)


def _coordinates(text: str) -> list[float]:
    try:
        return inputs.numbers(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: expected numbers as 0.5,-1") from error


def _stacked(points: list[list[float]], shape: tuple[int, ...]) -> NDArray[np.float32]:
    size = int(np.prod(shape))
    for point in points:
        if len(point) != size:
            raise bad_data(f"--at: the model has {size} coordinates, got {len(point)}")
    return np.array(points, np.float32).reshape(-1, *shape)


def reconstruct(
    context: typer.Context,
    images: ImagesArgument,
    output: ComparisonOutput,
    attribute: AttributesOption = None,
    columns: ColumnsOption = None,
    scale: ScaleOption = None,
    invert: InvertOption = False,
    model: ModelOption = "",
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encodes images and decodes the means again, to see what the model keeps of them.

    Tells the mean reconstruction error, -log p(x|z), and KL divergence of an image, in nats.

    Examples:
      latens reconstruct digits/ -o compared.png
      latens reconstruct a.png --attribute bold=2 -o bolder.png
    """
    target = outputs.output(output, (*outputs.PICTURES, *outputs.ARRAYS, outputs.FOLDER))
    shifts = strengths(attribute)
    files = inputs.files_of(images)
    dtype = target.image_dtype
    with calling(context, address, model, "reconstruct") as calls:
        pixels = inputs.read_images(files, calls.model(), invert=invert)
        done = calls.client.reconstruct(pixels, attributes=shifts, image_dtype=dtype, **calls.asked)
    shown = done.images
    if target.kind == ".png":
        shown, columns = sheets.beside(sheets.as_bytes(pixels), sheets.as_bytes(shown), columns)
    figures = _figures(done)
    arrays = {"originals": pixels, "latents": done.latents, **figures}
    outputs.write_images(target, shown, arrays, columns=columns, scale=scale)
    means = {name: round(float(figure.mean()), 3) for name, figure in figures.items()}
    facts = {"count": len(pixels), "version": done.version, **means}
    console.report(target.path, facts, as_json=as_json)


def _figures(done: Reconstruction) -> dict[str, NDArray[np.float32]]:
    """What was lost of each image, nats."""
    known = {"reconstruction": done.reconstruction}
    return known if done.kl is None else known | {"kl": done.kl}


COMMANDS = (encode, decode, reconstruct)
