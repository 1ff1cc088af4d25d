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
from latens_training.devices import Placement, describe_environment
from latens_training.errors import DataError, TrainingError
from latens_training.figures import PICTURE_FILES
from latens_training.metrics.evaluation import evaluate, latent_dims
from latens_training.metrics.iwae_bound import iwae_bound
from latens_training.models.autoencoder import build
from latens_training.resume import STATE_FILE, SavedState, restore, resumed_record, save_state
from latens_training.run_directory import (
    Interrupted,
    StopSignal,
    only_writer,
    remove_leftovers,
    write_whole,
)
from latens_training.run_record import RunRecord
from latens_training.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path

    from latens_training.config import RunConfig
    from latens_training.data.types import Dataset
    from latens_training.progress import Reporter

_BOUND_SAMPLES = 200
_BOUND_IMAGES = 500


@dataclass
class Run:
    """A run in progress: the trainer, the data set, and the record."""

    directory: Path
    trainer: Trainer
    dataset: Dataset
    """With the pixels that the model is evaluated on."""
    record: RunRecord
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def config(self) -> RunConfig:
        return self.trainer.config

    @property
    def placement(self) -> Placement:
        return self.trainer.placement


def prepare(
    config: RunConfig, directory: Path, placement: Placement, state: SavedState | None
) -> Run:
    """Loads the data and builds the network, new or as `state` has it.

    Raises:
        TrainingError: the data, the settings or the state cannot be used.
    """
    raw = datasets.load_configured(config.data)
    digest = raw.digest()
    if state is not None and state.dataset_sha256 != digest:
        raise DataError(f"dataset: {raw.name} differs from the images of {state.path.parent}")
    memory.require_for_network(config, raw.image_shape, placement.device)
    evaluated = binarization.for_evaluation(raw, config.data)
    images = binarization.images_to_train_on(raw, evaluated, config.data)
    torch.manual_seed(config.train.seed)
    if placement.device.type == "cuda":
        torch.backends.cudnn.deterministic = True
    model = build(config.model, raw.image_shape)
    trainer = Trainer(model, images, config, placement)
    record = RunRecord(
        config=config,
        image_shape=raw.image_shape,
        class_names=raw.class_names,
        dataset_sha256=digest,
        environment=describe_environment(placement),
    )
    if state is None:
        return Run(directory, trainer, evaluated, record)
    restore(trainer, state)
    record = resumed_record(state, record)
    return Run(directory, trainer, evaluated, record, list(state.history))


def train(run: Run, reporter: Reporter, stop: StopSignal) -> Checkpoint:
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


def _train(run: Run, reporter: Reporter, stop: StopSignal) -> Checkpoint:
    while run.trainer.progress.epoch < run.config.train.epochs:
        record = _epoch(run, reporter, stop)
        run.history.append(record)
        if run.record.attribute_vectors:
            reporter.say(
                "removed the attribute vectors of the earlier weights; "
                f"latens-train attributes {run.directory} finds those of the new ones"
            )
        run.record = run.record.after_epochs(
            record["epoch"], _metrics_of(record), describe_environment(run.placement)
        )
        if run.placement.is_first:
            _save(run)
        reporter.end_epoch(record)
    return _finish(run)


def _open_directory(run: Run) -> None:
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


def _epoch(run: Run, reporter: Reporter, stop: StopSignal) -> dict[str, Any]:
    """Trains one epoch, or the rest of one; returns its line of the history."""
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
    return {
        "epoch": number + 1,
        **{f"train_{name}": value for name, value in means.items()},
        **_test_terms(run),
        "learning_rate": rate,
        "seconds": round(seconds, 3),
        "images_per_second": round(len(trainer.images) / seconds, 1),
    }


def _interrupted(run: Run, stop: StopSignal) -> Interrupted:
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


def _test_terms(run: Run) -> dict[str, float]:
    """The ELBO's terms over the test set with one draw per image, as the history names them."""
    model, loss = run.trainer.model.eval(), run.config.loss
    images = run.dataset.test.images.to(run.placement.device)
    terms = evaluate(model, images, loss, draws=1).metrics(model.posterior)
    if loss.objective == "elbo":  # the loss of IWAE is another bound: not to be set beside it
        terms["loss"] = terms["reconstruction"] + loss.beta * terms.get("kl", 0.0)
    return {f"test_{name}": value for name, value in terms.items()}


def _metrics_of(record: dict[str, Any]) -> dict[str, float]:
    return {
        name.removeprefix("test_"): value
        for name, value in record.items()
        if name.startswith("test_") and name != "test_loss"
    }


def _finish(run: Run) -> Checkpoint:
    """Evaluates the trained model with many draws, and saves it with the results."""
    model, device = run.trainer.model.eval(), run.placement.device
    test, loss = run.dataset.test.images.to(device), run.config.loss
    terms = evaluate(model, test, loss)
    metrics = terms.metrics(model.posterior)
    if model.posterior != "deterministic":
        bound = iwae_bound(model, test, loss, terms, samples=_BOUND_SAMPLES, subset=_BOUND_IMAGES)
        metrics |= bound.metrics()
    units = latent_dims(model, run.dataset.train.images.to(device))
    run.record = run.record.model_copy(update={"metrics": metrics, "latent_dims": units})
    if run.placement.is_first:
        checkpoint.save(run.directory, model, run.record)
    return Checkpoint(run.directory, model.cpu().requires_grad_(False), run.record)


def _save(run: Run) -> None:
    """Saves the run after an epoch: first the state, then the model, then the history."""
    save_state(run.directory, run.trainer, run.history, run.record.dataset_sha256)
    _remove_results_of_old_weights(run.directory)
    checkpoint.save(run.directory, run.trainer.model, run.record)
    _write_history(run)


def _write_history(run: Run) -> None:
    lines = "".join(json.dumps(record) + "\n" for record in run.history)
    write_whole(run.directory / HISTORY_FILE, lines.encode())
