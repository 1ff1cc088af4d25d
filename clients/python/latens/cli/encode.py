"""The verb `encode`: images to latents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latens.cli import console, inputs, outputs
from latens.cli.options import (
    FitOption,
    ImagesArgument,
    InvertOption,
    JsonOption,
    ModelOption,
    SeedOption,
    SizeOption,
    height_and_width,
)
from latens.cli.session import calling
from latens.results import Encoding

_SHOWN_COORDINATES = 8

CodesOutput = Annotated[
    Path | None,
    typer.Option("--output", "-o", help=".npz (mean, log_var, latents) or .npy (the means)."),
]
DrawOption = Annotated[bool, typer.Option(help="Also draw a latent from each posterior.")]


def encode(
    context: typer.Context,
    images: ImagesArgument,
    output: CodesOutput = None,
    draw: DrawOption = False,
    seed: SeedOption = None,
    invert: InvertOption = False,
    fit: FitOption = None,
    size: SizeOption = None,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Encodes images to latents: the mean and log-variance of their posterior.

    Without --output the means are printed. --seed implies --draw.

    Examples:
      latens encode three.png
      latens encode scans/ -o codes.npz
      latens encode photo.jpg --fit crop --size 512x384 -o photo.npz
    """
    files = inputs.files_of(images)
    target = outputs.output(output, outputs.ARRAYS, files) if output else None
    framing = inputs.Framing(fit, height_and_width(size))
    with calling(context, model, "encode") as calls:
        pixels = inputs.read_images(files, calls.model(), invert=invert, framing=framing)
        done = calls.client.encode(pixels, draw=draw, seed=seed, **calls.shared)
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
    """Prints the first coordinates of each mean, and the file where each file is one image."""
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
