"""The verb `sample`: new images."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from latens.cli import console, outputs
from latens.cli.options import (
    ColumnsOption,
    ImagesOutput,
    JsonOption,
    ModelOption,
    ScaleOption,
    SeedOption,
)
from latens.cli.session import calling

CountOption = Annotated[int, typer.Option("--count", "-n", min=1, help="How many images.")]
TemperatureOption = Annotated[
    float | None,
    typer.Option(min=0, max=100, help="The latents' standard deviation, relative to the prior's."),
]


def sample(
    context: typer.Context,
    output: ImagesOutput,
    count: CountOption = 64,
    seed: SeedOption = None,
    temperature: TemperatureOption = None,
    columns: ColumnsOption = None,
    scale: ScaleOption = None,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Samples images: draws latents from the prior and decodes them.

    Examples:
      latens sample -o digits.png
      latens sample -n 16 --seed 7 --model mnist-2d -o digits.png
    """
    target = outputs.output(output, (*outputs.PICTURES, *outputs.ARRAYS, outputs.FOLDER))
    dtype = target.image_dtype
    with calling(context, model, "sample") as calls:
        done = calls.client.sample(
            count, seed=seed, temperature=temperature, image_dtype=dtype, **calls.shared
        )
    arrays: dict[str, NDArray[Any]] = {
        "latents": done.latents,
        "seed": np.array(done.seed, np.uint64),
    }
    outputs.write_images(target, done.images, arrays, columns=columns, scale=scale)
    facts = {"count": count, "seed": done.seed, "version": done.version}
    console.report(target.path, facts, as_json=as_json)
