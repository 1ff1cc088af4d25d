"""The command `figures`: draws a run's figures again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from latens_training.cli.settings import RunCommandSettings


class FiguresSettings(RunCommandSettings):
    """Draws the figures of a trained run and prints their paths."""

    out: Annotated[
        Path | None, Field(description="folder for the figures; default RUN/figures")
    ] = None


def run(settings: FiguresSettings) -> int:
    """Draws as the settings say; returns the exit code.

    Raises:
        TrainingError: the run or its data set cannot be read, or a figure cannot be written.
    """
    from latens_training import checkpoint
    from latens_training.figures import write_all

    loaded = checkpoint.load(settings.run)
    directory = settings.out or settings.run / checkpoint.FIGURES
    for path in write_all(loaded, settings.load_dataset(loaded), directory):
        print(path)
    return 0
