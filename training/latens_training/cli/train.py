"""The command `train`, which `latens-train` runs if no other command is named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from latens_training.cli.settings import RESUMABLE_FIELDS, TrainSettings, flattened, sectioned
from latens_training.errors import RunNotFoundError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from latens_training.checkpoint import Checkpoint
    from latens_training.config import RunConfig
    from latens_training.resume import SavedState


def run(settings: TrainSettings) -> int:
    """Trains as the settings say; returns the exit code.

    Raises:
        TrainingError: the run failed; the message says why.
    """
    config = settings.run_config()
    directory = settings.run_directory(config)
    if settings.print_config:
        document = config.model_dump(mode="json") | {"out": str(directory)}
        print(json.dumps(document, indent=2))
        return 0
    state = _state_to_resume(settings, directory)
    if state is None:
        _refuse_without_effect(config)
    else:
        config = resumed_config(state, settings.explicit())
    _train(settings, config, directory, state)
    return 0


def _refuse_without_effect(config: RunConfig) -> None:
    from latens_training.config import without_effect

    for name, reason in without_effect(config).items():
        raise UsageError(f"{name.replace('_', '-')}: has no effect here: {reason}")


def resumed_config(state: SavedState, explicit: dict[str, Any]) -> RunConfig:
    """The saved run's settings, with the present epochs, place of the data and machine.

    Raises:
        UsageError: a setting differs that must not change in a run.
    """
    from latens_training.config import RunConfig

    saved = flattened(state.config)
    for name, value in explicit.items():
        if name not in RESUMABLE_FIELDS and value != saved[name]:
            flag = name.replace("_", "-")
            raise UsageError(
                f"{flag}: {state.path.parent} was begun with {saved[name]}, not {value}; "
                "leave the flag out to resume, or choose another --out"
            )
    changed = {name: value for name, value in explicit.items() if name in RESUMABLE_FIELDS}
    _refuse_epochs(state, changed.get("epochs", saved["epochs"]))
    return RunConfig.model_validate(sectioned(saved | changed))


def _refuse_epochs(state: SavedState, epochs: int) -> None:
    """Refuses a number of epochs that the run cannot have.

    Raises:
        UsageError: the run has more epochs, or its learning rates depend on the original number.
    """
    run, begun = state.path.parent, state.config.train
    if epochs < state.progress.epoch:
        raise UsageError(f"epochs: {run} has {state.progress.epoch} epochs already, not {epochs}")
    if epochs != begun.epochs and begun.schedule != "constant":
        raise UsageError(
            f"epochs: the {begun.schedule} schedule of {run} is spread over {begun.epochs} epochs; "
            f"with {epochs} its first epochs would have had other learning rates"
        )


def _state_to_resume(settings: TrainSettings, directory: Path) -> SavedState | None:
    """The state to resume from; None to start a new run.

    Raises:
        UsageError: a run exists, and the settings do not say what to do with it.
    """
    from latens_training.checkpoint import CONFIG_FILE, MODEL_FILE
    from latens_training.resume import STATE_FILE, load_state

    if settings.resume and settings.overwrite:
        raise UsageError("overwrite: contradicts --resume")
    begun, saved, trained = (
        (directory / name).exists() for name in (CONFIG_FILE, STATE_FILE, MODEL_FILE)
    )
    if settings.resume:
        if saved:
            return load_state(directory)
        if trained:
            raise UsageError(f"resume: {directory} has a model, but no {STATE_FILE} to resume from")
        if not begun:
            raise RunNotFoundError(f"resume: {directory} contains no run")
        return None  # stopped before anything was saved
    if (saved or trained) and not settings.overwrite:
        raise UsageError(
            f"out: {directory} contains a run; --resume continues it, --overwrite replaces it"
        )
    return None


def _train(
    settings: TrainSettings, config: RunConfig, directory: Path, state: SavedState | None
) -> None:
    from latens_training import run as runs
    from latens_training.devices import placed, slow_precision
    from latens_training.progress import Reporter
    from latens_training.run_directory import Interrupted, stop_on_signals

    with placed(config.machine) as placement, stop_on_signals() as stop:
        log = directory / "tensorboard" if settings.tensorboard else None
        with Reporter(
            config.train.epochs,
            json_lines=settings.json_lines,
            silent=not placement.is_first,
            tensorboard=log,
        ) as reporter:
            if slow := slow_precision(placement.device, config.machine):
                reporter.say(f"latens-train: {slow}")
            run = runs.prepare(config, directory, placement, state)
            checkpoint = runs.train(run, reporter, stop)
            if not placement.is_first:
                return
            if stop.signal is not None:
                raise Interrupted(
                    stop.signal, f"stopped, trained and saved; latens-train figures {directory}"
                )
            if settings.figures:
                from latens_training.figures import write_all

                reporter.say("drawing the figures ...")
                write_all(checkpoint, run.dataset, directory / "figures")
        _print_result(checkpoint, as_json=settings.json_lines)


def _print_result(checkpoint: Checkpoint, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"run": str(checkpoint.path), "metrics": checkpoint.metrics}))
        return
    print(f"{checkpoint.path}: trained, {checkpoint.record.epoch} epochs")
    for name, value in checkpoint.metrics.items():
        print(f"  {name:<30} {value:10.3f}")
