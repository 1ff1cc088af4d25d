"""All figures of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from latens_training.checkpoint import HISTORY_FILE
from latens_training.errors import TrainingError
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
    from latens_training.checkpoint import Checkpoint
    from latens_training.data.types import Dataset

MOST_IMAGES = 10_000
"""The most test images to draw; of a larger test set, evenly spaced ones."""

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


def subject_of(checkpoint: Checkpoint, dataset: Dataset) -> Subject:
    """The model with its codes of the test images."""
    test = dataset.test
    count = len(test.images)
    chosen = torch.from_numpy(np.linspace(0, count - 1, min(count, MOST_IMAGES)).astype(np.int64))
    return observe(
        checkpoint.model,
        test.images[chosen].numpy(),
        None if test.labels is None else test.labels[chosen].numpy(),
        caption_of(checkpoint),
        history=read_history(checkpoint.path / HISTORY_FILE),
        objective=checkpoint.config.loss.objective,
        class_names=dataset.class_names,
    )


def caption_of(checkpoint: Checkpoint) -> str:
    """The model in a few words: `vae-mlp on mnist · L = 2 · β = 1`."""
    config = checkpoint.config
    source = Path(config.data.dataset).name
    size = "x".join(map(str, checkpoint.model.latent_shape))
    words = [f"{config.model.architecture} on {source}", f"L = {size}"]
    if checkpoint.model.posterior != "deterministic":
        words.append(f"β = {config.loss.beta:g}")
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
