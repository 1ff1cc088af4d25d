"""The data set of a finished run, with the pixels that its model was evaluated on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latens_training import checkpoint
from latens_training.data import binarization, datasets
from latens_training.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from latens_training.checkpoint import Checkpoint
    from latens_training.data.types import Dataset


def dataset_of(
    run: Checkpoint,
    note: Callable[[str], None],
    *,
    dataset: str | None = None,
    data_dir: Path | None = None,
) -> Dataset:
    """Loads the images of a run, binarised if its model was trained on binary pixels.

    Args:
        run: the trained model.
        note: called with one line if the images differ from those of the run.
        dataset: the data set, if it was moved, or another one; None: as in training.
        data_dir: the folder of a named data set, if it was moved.

    Raises:
        NotFoundError: there is no such data set.
        DataError: its images are not of the model's shape, or cannot be read.
    """
    config = run.config.data
    if dataset is not None:
        config = config.model_copy(update={"dataset": dataset, "data_dir": data_dir})
    elif data_dir is not None:
        config = config.model_copy(update={"data_dir": data_dir})
    try:
        raw = datasets.load_configured(config)
    except NotFoundError as error:
        raise NotFoundError(f"{error}; if it was moved, give its place with --dataset") from error
    checkpoint.require_shape(run, raw.image_shape)
    moved = dataset is not None or data_dir is not None
    if moved and run.record.dataset_sha256 not in ("", raw.digest()):
        note(f"note: the images of {config.dataset} differ from those of {run.path}")
    return binarization.for_evaluation(raw, config)
