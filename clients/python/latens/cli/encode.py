"""The verb `encode`: images to latents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from numpy.typing import NDArray

from latens.cli import console, inputs, outputs
from latens.cli.failures import bad_data
from latens.cli.options import (
    FitOption,
    GreyOption,
    ImagesArgument,
    InvertOption,
    JsonOption,
    LabelOption,
    ModelOption,
    SeedOption,
    SizeOption,
    height_and_width,
)
from latens.cli.session import Calls, calling

_SHOWN_COORDINATES = 8

CodesOutput = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help=".npz (mean, log_var, latents; or codes) or .npy (the means)."
    ),
]
DrawOption = Annotated[bool, typer.Option(help="Also draw a latent from each posterior.")]


def encode(
    context: typer.Context,
    images: ImagesArgument,
    output: CodesOutput = None,
    draw: DrawOption = False,
    seed: SeedOption = None,
    invert: InvertOption = False,
    grey: GreyOption = False,
    fit: FitOption = None,
    size: SizeOption = None,
    label: LabelOption = None,
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
    framing = inputs.Framing(fit, height_and_width(size), invert, grey)
    with calling(context, model, "encode", label) as calls:
        known = calls.model()
        rows = inputs.read_images(files, known, framing)
        if known.has_codes:
            arrays, facts = _codes(calls, rows, draw or seed is not None)
        else:
            arrays, facts = _posterior(calls, rows, draw, seed)
    present = {name: array for name, array in arrays.items() if array is not None}
    if target is not None:
        outputs.write_arrays(target, present)
        console.report(target.path, facts, as_json=as_json)
    elif as_json:
        console.print_json(facts | {name: array.tolist() for name, array in present.items()})
    else:
        _show_first(present, [str(path) for path in files])


def _posterior(
    calls: Calls, rows: NDArray[Any], draw: bool, seed: int | None
) -> tuple[dict[str, NDArray[Any] | None], dict[str, Any]]:
    """The arrays of an encoding by name, and the facts to report."""
    done = calls.client.encode(rows, draw=draw, seed=seed, **calls.shared)
    arrays = {"mean": done.mean, "log_var": done.log_var, "latents": done.latents}
    return arrays, {"count": len(rows), "version": done.version, "seed": done.seed}


def _codes(
    calls: Calls, rows: NDArray[Any], draw: bool
) -> tuple[dict[str, NDArray[Any] | None], dict[str, Any]]:
    """As `_posterior`, for a model with a codebook."""
    if draw:
        raise bad_data("--draw and --seed: the model encodes to codes, which are not drawn")
    shared = calls.shared
    if shared["labels"] is not None:
        raise bad_data("--label: the model is not conditional")
    done = calls.client.encode_codes(
        rows,
        model=shared["model"],
        version=shared["version"],
        progress=shared["progress"],
    )
    return {"codes": done.codes}, {"count": len(rows), "version": done.version}


def _show_first(arrays: dict[str, NDArray[Any]], names: list[str]) -> None:
    """Prints the first coordinates of each mean, and the file where each file is one image."""
    name, means = next(iter(arrays.items()))
    rows = means.reshape(len(means), -1)
    form = "d" if name == "codes" else "+.3f"
    labels = names if len(names) == len(rows) else [str(number) for number in range(len(rows))]
    shown = rows[:, :_SHOWN_COORDINATES]
    columns = ("image", *(f"{name} {index}" for index in range(shown.shape[1])))
    table = [
        (label, *(format(value, form) for value in row))
        for label, row in zip(labels, shown, strict=True)
    ]
    console.print_table("", columns, table)
    if rows.shape[1] > _SHOWN_COORDINATES:
        console.note(f"{rows.shape[1]} coordinates each; --output or --json gives all")
