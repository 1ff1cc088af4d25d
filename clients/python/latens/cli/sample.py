"""The verb `sample`: new images."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from latens.cli import console, inputs, outputs
from latens.cli.options import (
    ColumnsOption,
    ImagesOutput,
    JsonOption,
    LabelOption,
    ModelOption,
    ScaleOption,
    SeedOption,
    SizeOption,
    height_and_width,
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
    size: SizeOption = None,
    columns: ColumnsOption = None,
    scale: ScaleOption = None,
    label: LabelOption = None,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Samples images: draws latents from the prior and decodes them.

    Examples:
      latens sample -o digits.png
      latens sample -n 16 --seed 7 --model mnist-2d -o digits.png
      latens sample -n 4 --size 64x32 -o faces.png
      latens sample -n 8 --label 7 -o sevens.png

    A model that leaves the size free is sampled at its usual size without --size. Of a conditional
    model the classes are sampled in turn without --label.
    """
    target = outputs.output(output, (*outputs.PICTURES, *outputs.ARRAYS, outputs.FOLDER))
    dtype, chosen = target.image_dtype, height_and_width(size)
    with calling(context, model, "sample", label) as calls:
        known = calls.model()
        outputs.check_kind(target, known)
        shape = inputs.latent_shape(known, chosen) if known.is_free or chosen else None
        done = calls.client.sample(
            count,
            seed=seed,
            temperature=temperature,
            latent_shape=shape,
            image_dtype=dtype,
            **calls.shared,
        )
    arrays: dict[str, NDArray[Any]] = {
        "latents": done.latents,
        "seed": np.array(done.seed, np.uint64),
    }
    if done.labels is not None:
        arrays["labels"] = done.labels
    outputs.write_images(
        target, done.images, arrays, columns=columns, scale=scale, name=known.data_field
    )
    facts = {"count": count, "seed": done.seed, "version": done.version}
    console.report(target.path, facts, as_json=as_json)
