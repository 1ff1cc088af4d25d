"""The command `figures`: a run's pictures, drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import CliPositionalArg

from latens_training.cli.settings import CommandSettings

class FiguresSettings(CommandSettings):
    """Draws the pictures of a trained run and prints their paths."""

    run: CliPositionalArg[Annotated[Path, Field(description="run directory")]]
    out: Annotated[
        Path | None, Field(description="folder for the pictures; default RUN/figures")
    ] = None
    data_dir: Annotated[Path | None, Field(description="where the run's data set lies now")] = None


def run(settings: FiguresSettings) -> int:
    """Draws as the settings say; returns the exit code.

    Raises:
        TrainingError: the run or its data set cannot be read, or a picture not be written.
    """
    from latens_training import checkpoint
    from latens_training.data import binarization, datasets
    from latens_training.figures import write_all

    loaded = checkpoint.load(settings.run)
    data = loaded.config.data
    dataset = datasets.load(data.dataset, settings.data_dir or data.data_dir)
    checkpoint.require_shape(loaded, dataset.image_shape)
    directory = settings.out or settings.run / checkpoint.FIGURES
    for path in write_all(loaded, binarization.for_evaluation(dataset, data), directory):
        print(path)
    return 0
