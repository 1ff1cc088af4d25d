"""The command `attributes`: finds directions of the latent space from labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from latens_training.cli.settings import RunCommandSettings
from latens_training.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from latens_training.checkpoint import Checkpoint
    from latens_training.data.types import Dataset


class AttributesSettings(RunCommandSettings):
    """Computes attribute vectors, stores them in the run, and draws one image along each.

    The vector of an attribute is the mean code of the images that have it minus the mean code of
    those that do not. Exported bundles contain the vectors.
    """

    vector: Annotated[
        tuple[str, ...],
        Field(
            description="NAME=MORE:LESS, as bold=weight>=700:weight==400; may be given again; "
            "default: what the labels suggest"
        ),
    ] = ()
    image: Annotated[
        str,
        Field(description="the training image to draw: its index, or its name as 'Lato Regular'"),
    ] = "0"
    reach: Annotated[
        float, Field(gt=0, le=100, description="largest multiple of a vector in the figures")
    ] = 2.4
    json_lines: Annotated[bool, Field(description="print the vectors as JSON")] = False


def run(settings: AttributesSettings) -> int:
    """Computes, stores and draws as the settings say; returns the exit code.

    Raises:
        TrainingError: the run, its data set or a requested vector cannot be used.
    """
    from latens_training import attributes, checkpoint

    contrasts = [attributes.Contrast.parse(text) for text in settings.vector]
    loaded = checkpoint.load(settings.run)
    dataset = settings.load_dataset(loaded)
    source = settings.dataset or loaded.config.data.dataset
    index = _image_index(settings.image, Path(source), len(dataset.train))
    values = attributes.attributes_of(dataset.train)
    means = attributes.posterior_means(loaded.model, dataset.train)
    found = attributes.directions(
        means, values, contrasts or attributes.suggested(values, dataset.class_names)
    )
    _require(found, [contrast.name for contrast in contrasts], source)
    amended = checkpoint.amend(settings.run, attribute_vectors=found)
    _report(found, settings.json_lines)
    name = f"image {index}" if settings.image.isdecimal() else settings.image
    for path in _draw(amended, dataset, means[index], name, settings.reach):
        if not settings.json_lines:
            print(path)
    return 0


def _image_index(image: str, dataset: Path, count: int) -> int:
    if not image.isdecimal():
        from latens_training.data.fonts.names import index_of

        return index_of(dataset, "train", image)
    if int(image) >= count:
        raise UsageError(f"image: {image}, but there are only {count} training images")
    return int(image)


def _require(found: dict[str, tuple[float, ...]], wanted: Sequence[str], dataset: str) -> None:
    from latens_training.attributes import FEWEST

    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(f"{dataset}: fewer than {FEWEST} images on a side of {missing[0]}")
    if not found:
        raise DataError(f"{dataset}: expected labels or attributes, it has none")


def _report(found: dict[str, tuple[float, ...]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(found))
        return
    for name, vector in found.items():
        print(f"{name:<24} length {np.linalg.norm(vector):.2f}")


def _draw(
    loaded: Checkpoint, dataset: Dataset, start: NDArray[np.float32], name: str, reach: float
) -> list[Path]:
    from latens_training.checkpoint import FIGURES
    from latens_training.figures import attributes as pictures
    from latens_training.figures.album import subject_of

    subject, folder = subject_of(loaded, dataset), loaded.path / FIGURES
    vectors = loaded.attribute_vectors
    drawn = [
        pictures.draw_scales(subject, start, vectors, name, folder / pictures.SCALES_FILE, reach)
    ]
    if all(part in vectors for part in pictures.WEIGHT_AND_SLANT):
        path = folder / pictures.WEIGHT_AND_SLANT_FILE
        drawn.append(pictures.draw_weight_and_slant(subject, start, vectors, name, path, reach))
    return drawn
