"""Starts a run, or resumes one: what the Python API and the command line share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latens_training.checkpoint import CONFIG_FILE, MODEL_FILE
from latens_training.devices import placed, slow_precision
from latens_training.errors import NotFoundError, UsageError
from latens_training.runs import run as runs
from latens_training.runs.resume import STATE_FILE, SavedState, load_state

if TYPE_CHECKING:
    from pathlib import Path

    from latens_training.checkpoint import Checkpoint
    from latens_training.config import RunConfig
    from latens_training.data.types import Dataset
    from latens_training.progress import Reporter
    from latens_training.runs.directory import StopSignal


def train_run(
    config: RunConfig,
    directory: Path,
    state: SavedState | None,
    reporter: Reporter,
    stop: StopSignal,
    dataset: Dataset | None = None,
) -> tuple[Checkpoint, Dataset]:
    """Trains to the end; returns the model and the images that it was evaluated on.

    Raises:
        TrainingError: see `latens_training.runs.run`.
    """
    with placed(config.machine) as placement, reporter:
        reporter.report(directory, config, is_first=placement.is_first)
        if slow := slow_precision(placement.device, config.machine):
            reporter.say(f"latens-train: {slow}")
        run = runs.prepare(config, directory, placement, state, dataset)
        return runs.train(run, reporter, stop), run.dataset


def state_to_resume(directory: Path, *, resume: bool, overwrite: bool) -> SavedState | None:
    """The state to resume from; None to start a new run.

    Raises:
        UsageError: a run exists, and the settings do not say what to do with it.
        NotFoundError: there is no run to resume.
    """
    if resume and overwrite:
        raise UsageError("overwrite: contradicts --resume")
    begun, saved, trained = (
        (directory / name).exists() for name in (CONFIG_FILE, STATE_FILE, MODEL_FILE)
    )
    if resume:
        if saved:
            return load_state(directory)
        if trained:
            raise UsageError(f"resume: {directory} has a model, but no {STATE_FILE} to resume from")
        if not begun:
            raise NotFoundError(f"resume: {directory} contains no run")
        return None  # stopped before anything was saved
    if (saved or trained) and not overwrite:
        raise UsageError(
            f"out: {directory} contains a run; --resume continues it, --overwrite replaces it"
        )
    return None
