"""The verb `score`: how probable the model finds images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from latens.cli import console, inputs, outputs
from latens.cli.options import (
    GreyOption,
    ImagesArgument,
    InvertOption,
    JsonOption,
    LabelOption,
    ModelOption,
    SeedOption,
)
from latens.cli.session import calling
from latens.results import SCORE_SAMPLES, Scores

ScoresOutput = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help=".npz (bound, standard_error, effective_samples) or .npy (the bounds).",
    ),
]
SamplesOption = Annotated[
    int, typer.Option("--samples", "-n", min=1, help="Importance samples per image.")
]
BelowOption = Annotated[float | None, typer.Option(help="Show only images that score below this.")]


def score(
    context: typer.Context,
    images: ImagesArgument,
    output: ScoresOutput = None,
    samples: SamplesOption = SCORE_SAMPLES,
    below: BelowOption = None,
    seed: SeedOption = None,
    invert: InvertOption = False,
    grey: GreyOption = False,
    label: LabelOption = None,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Estimates the log-likelihood log p(x) of images by a lower bound, in nats.

    Images unlike the training set score far lower: an anomaly score to threshold. The bound is the
    importance-weighted one (Burda et al. 2016), with its standard error and the number of effective
    samples. Where that number is below 4, one sample outweighs the rest and the bound depends on
    the seed; a warning says so.

    Examples:
      latens score scans/ --below -200
      latens score three.png --samples 1000
    """
    files = inputs.files_of(images)
    target = outputs.output(output, outputs.ARRAYS, files) if output else None
    with calling(context, model, "score", label) as calls:
        pixels = inputs.read_images(files, calls.model(), inputs.Framing(invert=invert, grey=grey))
        done = calls.client.score(pixels, samples=samples, seed=seed, **calls.shared)
    facts = {"count": len(pixels), "samples": samples, "version": done.version, "seed": done.seed}
    rows = _scored(done, [str(path) for path in files], below)
    if target is not None:
        arrays = {
            "bound": done.bound,
            "standard_error": done.standard_error,
            "effective_samples": done.effective_samples,
        }
        outputs.write_arrays(target, {name: a for name, a in arrays.items() if a is not None})
        console.report(target.path, facts, as_json=as_json)
    elif as_json:
        console.print_json(facts | {"images": rows})
    else:
        table = [tuple(_cell(value) for value in row.values()) for row in rows]
        columns = ("image", "bound (nats)", "standard error", "effective samples")
        console.print_table("", columns, table)
    if dominated := int(done.dominated.sum()):
        console.note(
            f"one sample outweighs the rest for {dominated} of {len(pixels)} images, "
            "whose bounds depend on the seed; more --samples help"
        )


def _scored(done: Scores, names: list[str], below: float | None) -> list[dict[str, Any]]:
    """The scores, each with its file where each file is one image, or with its number."""
    errors = done.standard_error
    return [
        {
            "image": names[number] if len(names) == len(done.bound) else str(number),
            "bound": float(bound),
            "standard_error": None if errors is None else float(errors[number]),
            "effective_samples": float(done.effective_samples[number]),
        }
        for number, bound in enumerate(done.bound)
        if below is None or bound < below
    ]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)
