"""A training run from its settings to its files: build, train, evaluate, save."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from latens_training import checkpoint, memory
from latens_training.checkpoint import (
    FIGURES,
    HISTORY_FILE,
    METRICS_FILE,
    MODEL_FILE,
    SCORES_FILE,
    Checkpoint,
)
from latens_training.data import binarization, datasets
from latens_training.data.types import Split
from latens_training.devices import Placement, describe_environment, set_precision
from latens_training.effects import completed, require_effect_on
from latens_training.errors import DataError, TrainingError
from latens_training.figures import PICTURE_FILES
from latens_training.likelihoods.registry import build_likelihood
from latens_training.metrics.evaluation import latent_dims
from latens_training.models.build import build
from latens_training.runs.directory import (
    Interrupted,
    StopSignal,
    only_writer,
    remove_leftovers,
    write_whole,
)
from latens_training.runs.record import RunRecord
from latens_training.runs.results import epoch_terms, final_metrics, metrics_of
from latens_training.runs.resume import STATE_FILE, SavedState, restore, resumed_record, save_state
from latens_training.runs.selection import (
    SCORE,
    Choice,
    choose,
    is_best,
    is_exhausted,
    split_off,
    weights_of,
)
from latens_training.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path

    from latens_training.config import RunConfig
    from latens_training.data.types import Dataset
    from latens_training.progress import Reporter


@dataclass
class RunInProgress:
    """The trainer, the data set, and the record."""

    directory: Path
    trainer: Trainer
    dataset: Dataset
    """With the pixels that the model is evaluated on."""
    record: RunRecord
    held_out: Split | None = None
    """Training images that choose the weights, on the device."""
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def config(self) -> RunConfig:
        return self.trainer.config

    @property
    def placement(self) -> Placement:
        return self.trainer.placement


def prepare(
    config: RunConfig,
    directory: Path,
    placement: Placement,
    state: SavedState | None,
    dataset: Dataset | None = None,
) -> RunInProgress:
    """Loads the data and builds the network, new or as `state` has it.

    Args:
        config: the settings.
        directory: of the run.
        placement: the device.
        state: where a resumed run stopped.
        dataset: the images, if they are at hand; None: those that the settings name.

    Raises:
        TrainingError: the data, the settings or the state cannot be used.
    """
    config = completed(config)
    raw = dataset or datasets.load_configured(config.data)
    digest = raw.digest()
    if state is not None and state.dataset_sha256 != digest:
        raise DataError(f"dataset: {raw.name} differs from the images of {state.path.parent}")
    label_count = raw.label_count() if config.model.conditional else 0
    memory.require_for_network(config, raw.image_shape, placement.device, label_count)
    evaluated = binarization.for_evaluation(raw, config.data)
    images = binarization.images_to_train_on(raw, evaluated, config.data)
    train_part, held_out = split_off(
        Split(images, raw.train.labels if label_count else None), config.data.validation
    )
    if held_out is not None:
        held_out = Split(held_out.images.to(placement.device), held_out.labels)
    torch.manual_seed(config.train.seed)
    set_precision(placement.device, config.machine)
    model = build(config.model, raw.image_shape, build_likelihood(config.loss), label_count)
    require_effect_on(model, config)
    trainer = Trainer(model, train_part.images, config, placement, labels=train_part.labels)
    record = RunRecord(
        config=config,
        image_shape=raw.image_shape,
        class_names=raw.class_names,
        label_count=label_count,
        dataset_sha256=digest,
        environment=describe_environment(placement),
    )
    if state is None:
        return RunInProgress(directory, trainer, evaluated, record, held_out)
    restore(trainer, state)
    record = resumed_record(state, record)
    return RunInProgress(directory, trainer, evaluated, record, held_out, list(state.history))


def train(run: RunInProgress, reporter: Reporter, stop: StopSignal) -> Checkpoint:
    """Trains to the last epoch, saving after each, and evaluates the result.

    Raises:
        Interrupted: a signal arrived; the run is saved and can be resumed.
        TrainingError: the loss is not finite, or the run cannot be saved.
    """
    if not run.placement.is_first:
        return _train(run, reporter, stop)
    with only_writer(run.directory):
        _open_directory(run)
        return _train(run, reporter, stop)


def _train(run: RunInProgress, reporter: Reporter, stop: StopSignal) -> Checkpoint:
    while not _is_over(run):
        record, choice = _epoch(run, reporter, stop)
        run.history.append(record)
        if run.record.attribute_vectors:
            reporter.say(
                "removed the attribute vectors of the earlier weights; "
                f"latens-train attributes {run.directory} finds those of the new ones"
            )
        if is_best(run.history):
            run.record = run.record.after_epochs(
                record["epoch"], metrics_of(record), describe_environment(run.placement)
            )
        if run.placement.is_first:
            _save(run, choice)
        reporter.end_epoch(record)
    return _finish(run)


def _is_over(run: RunInProgress) -> bool:
    train = run.config.train
    return run.trainer.progress.epoch >= train.epochs or is_exhausted(run.history, train.patience)


def _open_directory(run: RunInProgress) -> None:
    """Removes the files of an earlier run; completes the history of a resumed one.

    The state is written before the history, so a run that was killed between the two has an
    epoch in its state that the history lacks.
    """
    remove_leftovers(run.directory)
    progress = run.trainer.progress
    if progress.epoch == 0 and progress.step == 0:
        for name in (MODEL_FILE, STATE_FILE, METRICS_FILE, HISTORY_FILE):
            (run.directory / name).unlink(missing_ok=True)
        _remove_results_of_old_weights(run.directory)
        checkpoint.save_config(run.directory, run.record)
    elif run.history:
        _write_history(run)


def _remove_results_of_old_weights(directory: Path) -> None:
    """Removes scores and figures, which would not match the new weights."""
    for name in (SCORES_FILE, *(f"{FIGURES}/{picture}" for picture in PICTURE_FILES)):
        (directory / name).unlink(missing_ok=True)


def _epoch(
    run: RunInProgress, reporter: Reporter, stop: StopSignal
) -> tuple[dict[str, Any], Choice | None]:
    """Trains one epoch, or the rest of one; returns its line of the history.

    With held-out images, also which of its weights are better on them.
    """
    trainer, progress = run.trainer, run.trainer.progress
    number, rate = progress.epoch, trainer.learning_rate
    reporter.begin_epoch(number, progress.step, trainer.steps)
    start = time.perf_counter()
    complete = trainer.run_epoch(lambda: stop.signal is not None, reporter.step)
    progress.seconds += time.perf_counter() - start
    if not complete:
        raise _interrupted(run, stop)
    seconds = progress.seconds
    means = trainer.finish_epoch()
    if not math.isfinite(means["loss"]):
        raise TrainingError(
            f"epoch {number + 1}: the loss is not a finite number; try a smaller --learning-rate"
        )
    choice = (
        None if run.held_out is None else choose(trainer, run.held_out.images, run.held_out.labels)
    )
    with weights_of(trainer, choice):
        test = run.dataset.test
        images = test.images.to(run.placement.device)
        test_terms = epoch_terms(trainer.model.eval(), images, test.labels, run.config.loss)
    record = {
        "epoch": number + 1,
        **{f"train_{name}": value for name, value in means.items()},
        **test_terms,
        **({} if choice is None else {SCORE: choice.score}),
        "learning_rate": rate,
        "seconds": round(seconds, 3),
        "images_per_second": round(len(trainer.images) / seconds, 1),
    }
    return record, choice


def _interrupted(run: RunInProgress, stop: StopSignal) -> Interrupted:
    """Saves the unfinished epoch; returns the error to raise."""
    progress = run.trainer.progress
    run.trainer.gather_totals()
    if run.placement.is_first:
        save_state(run.directory, run.trainer, run.history, run.record.dataset_sha256)
    return Interrupted(
        stop.signal or 0,
        f"stopped in epoch {progress.epoch + 1} after {progress.step} of {run.trainer.steps} "
        f"steps and saved; continue with --resume --out {run.directory}",
    )


def _finish(run: RunInProgress) -> Checkpoint:
    """Evaluates the kept weights with many draws, and saves them with the results."""
    model, device = run.trainer.model.eval(), run.placement.device
    if run.held_out is not None:
        kept = checkpoint.load(run.directory)
        model.load_state_dict(kept.model.state_dict())
        run.record = kept.record.model_copy(
            update={"best_epoch": kept.record.epoch, "epoch": run.trainer.progress.epoch}
        )
    train, test = run.dataset.train, run.dataset.test
    seen = len(run.trainer.images) * run.config.train.epochs
    metrics = final_metrics(model, test.images.to(device), test.labels, seen)
    units = latent_dims(model, train.images.to(device), train.labels)
    run.record = run.record.model_copy(update={"metrics": metrics, "latent_dims": units})
    if run.placement.is_first:
        checkpoint.save(run.directory, model, run.record)
    return Checkpoint(run.directory, model.cpu().requires_grad_(False), run.record)


def _save(run: RunInProgress, choice: Choice | None) -> None:
    """Saves the run after an epoch: first the state, then the model if it is best, the history."""
    save_state(run.directory, run.trainer, run.history, run.record.dataset_sha256)
    if is_best(run.history):
        _remove_results_of_old_weights(run.directory)
        with weights_of(run.trainer, choice):
            checkpoint.save(run.directory, run.trainer.model, run.record)
    _write_history(run)


def _write_history(run: RunInProgress) -> None:
    lines = "".join(json.dumps(record) + "\n" for record in run.history)
    write_whole(run.directory / HISTORY_FILE, lines.encode())
