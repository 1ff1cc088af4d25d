"""All figures of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from latens_training.checkpoint import HISTORY_FILE
from latens_training.errors import NotFoundError, TrainingError
from latens_training.figures import (
    attributes,
    curves,
    interpolations,
    manifold,
    reconstructions,
    samples,
    scatter,
    traversals,
    units,
    walk,
)
from latens_training.figures.subject import Subject, observe

if TYPE_CHECKING:
    from torch import Tensor

    from latens_training.checkpoint import Checkpoint
    from latens_training.data.types import Dataset, Split

MOST_IMAGES = 10_000
"""The most test images to draw; of a larger test set, evenly spaced ones."""
_MOST_BYTES = 512 << 20
"""Of these images in memory: fewer are drawn of large ones."""

_PICTURES: dict[str, Callable[[Subject, Path], Path]] = {
    "scatter.png": scatter.draw,
    "latents.log": scatter.write_log,
    "manifold.png": manifold.draw,
    "traversals.png": traversals.draw,
    "reconstructions.png": reconstructions.draw,
    "samples.png": samples.draw,
    "interpolations.png": interpolations.draw,
    "loss.png": curves.draw,
    "units.png": units.draw,
    "walk.gif": walk.draw,
}

# The figures of the attribute vectors are drawn by the command that computes the vectors.
PICTURE_FILES = (*_PICTURES, attributes.SCALES_FILE, attributes.WEIGHT_AND_SLANT_FILE)
"""The names of all figures that a run can have."""


def write_all(checkpoint: Checkpoint, dataset: Dataset, directory: Path) -> list[Path]:
    """Draws every figure that suits the model, and returns the paths of the files.

    The plane needs L = 2, and the curves need a history.

    Raises:
        TrainingError: a file cannot be written.
    """
    subject = subject_of(checkpoint, dataset)
    chosen = [name for name in _PICTURES if _suits(name, subject)]
    return [_written(name, subject, directory / name) for name in chosen]


def draw_one(name: str, checkpoint: Checkpoint, dataset: Dataset, directory: Path) -> Path:
    """Draws one figure by its name without the suffix; returns the path of the file.

    Raises:
        NotFoundError: there is no such figure of this model.
    """
    subject = subject_of(checkpoint, dataset)
    suited = {Path(file).stem: file for file in _PICTURES if _suits(file, subject)}
    if name not in suited:
        raise NotFoundError(f"figure: no such figure: {name}; there are {', '.join(suited)}")
    return _written(suited[name], subject, directory / suited[name])


def subject_of(checkpoint: Checkpoint, dataset: Dataset) -> Subject:
    """The model with its codes of the test images."""
    test = dataset.test
    count = len(test.images)
    most = max(1, min(MOST_IMAGES, _MOST_BYTES // math.prod(test.image_shape)))
    chosen = torch.from_numpy(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
    name, labels = _labels_of(test)
    return observe(
        checkpoint.model,
        test.images[chosen].numpy(),
        None if labels is None else labels[chosen].numpy(),
        caption_of(checkpoint),
        label_name=name,
        history=read_history(checkpoint.path / HISTORY_FILE),
        objective=checkpoint.config.loss.objective,
        class_names=dataset.class_names,
        classes=(
            test.labels[chosen].numpy()
            if checkpoint.model.label_count and test.labels is not None
            else None
        ),
    )


def _labels_of(split: Split) -> tuple[str, Tensor | None]:
    """What figures colour images by: their labels, or where these are all alike, an attribute.

    The attribute is `weight` where there is one, as of letters of many fonts.
    """
    labels = split.labels
    if labels is not None and bool((labels != labels[0]).any()):
        return "label", labels
    names = sorted(split.attributes, key=lambda name: name != "weight")
    for name in names:
        values = split.attributes[name]
        if not values.is_floating_point() and bool((values != values[0]).any()):
            return name, values
    return "label", labels


def caption_of(checkpoint: Checkpoint) -> str:
    """The model in a few words: `vae-mlp on mnist · L = 2 · β = 1`."""
    config = checkpoint.config
    source = Path(config.data.dataset).name
    size = "x".join(map(str, checkpoint.model.latent_shape))
    words = [f"{config.model.architecture} on {source}", f"L = {size}"]
    if checkpoint.model.posterior != "deterministic":
        words.append(f"β = {config.loss.beta:g}")
    if checkpoint.model.label_count:
        name = (*checkpoint.record.class_names, "0")[0]
        words.append(f"conditional ({name})")
    return " · ".join(words)


def read_history(path: Path) -> Sequence[Mapping[str, object]]:
    """The records of `history.jsonl`; none where the file is missing."""
    if not path.exists():
        return ()
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _written(name: str, subject: Subject, path: Path) -> Path:
    try:
        return _PICTURES[name](subject, path)
    except OSError as error:
        raise TrainingError(f"{path}: not written: {error.strerror or error}") from error


def _suits(name: str, subject: Subject) -> bool:
    if name == "manifold.png":
        return subject.size == 2
    if name == "loss.png":
        return curves.has_curves(subject.history)
    return True
