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
    InvertOption,
    JsonOption,
    ModelOption,
    ScaleOption,
    SeedOption,
    connect,
    named,
    strengths,
)
from latens.results import Encoding

_SHOWN_COORDINATES = 8

ImagesArgument = Annotated[
    list[Path], typer.Argument(help="Pictures, folders of them, .npy or .npz.", show_default=False)
]


def encode(
    context: typer.Context,
    images: ImagesArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help=".npz (mean, log_var, latents) or .npy (the means)."),
    ] = None,
    draw: Annotated[bool, typer.Option(help="Also draw a latent from each posterior.")] = False,
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
    with connect(context, address) as client, console.progress("encode") as progress:
        pixels = inputs.read_images(files, client.model(**named(model)), invert=invert)
        done = client.encode(pixels, draw=draw, seed=seed, progress=progress, **named(model))
    arrays = {"mean": done.mean, "log_var": done.log_var, "latents": done.latents}
    present = {name: array for name, array in arrays.items() if array is not None}
    if target is not None:
        content = outputs.npz_bytes(present) if target.kind == ".npz" else None
        target.write(content or outputs.npy_bytes(done.mean))
    facts = {"count": len(done.mean), "version": done.version, "seed": done.seed}
    if target is not None:
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
    latents: Annotated[
        Path | None, typer.Argument(help="Latents, .npy or .npz.", show_default=False)
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help=".png, .npy, .npz, or a folder/.")
    ] = ...,  # type: ignore[assignment]  # how typer says required
    at: Annotated[
        list[str] | None,
        typer.Option(help="A latent by its coordinates, as 0.5,-1; may be repeated."),
    ] = None,
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
    with connect(context, address) as client, console.progress("decode") as progress:
        if given is None:
            given = _stacked(points, client.model(**named(model)).latent_shape)
        done = client.decode(
            given,
            attributes=shifts,
            image_dtype=target.image_dtype,
            progress=progress,
            **named(model),
        )
    outputs.write_images(
        target,
        done.images,
        {"latents": given if done.latents is None else done.latents},
        columns=columns,
        scale=scale,
    )
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
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help=".png (each image above its reconstruction), .npy, .npz, or a folder/.",
        ),
    ],
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
    with connect(context, address) as client, console.progress("reconstruct") as progress:
        pixels = inputs.read_images(files, client.model(**named(model)), invert=invert)
        done = client.reconstruct(
            pixels,
            attributes=shifts,
            image_dtype=target.image_dtype,
            progress=progress,
            **named(model),
        )
    shown = done.images
    if target.kind == ".png":
        shown, columns = sheets.beside(sheets.as_bytes(pixels), sheets.as_bytes(shown), columns)
    figures = {"reconstruction": done.reconstruction, "kl": done.kl}
    known = {name: figure for name, figure in figures.items() if figure is not None}
    arrays = {"originals": pixels, "latents": done.latents, **known}
    outputs.write_images(target, shown, arrays, columns=columns, scale=scale)
    means = {name: round(float(figure.mean()), 3) for name, figure in known.items()}
    facts = {"count": len(pixels), "version": done.version, **means}
    console.report(target.path, facts, as_json=as_json)


COMMANDS = (encode, decode, reconstruct)
