"""The command `train`, which `latens-train` runs if no other command is named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from latens_training.cli.config_file import as_toml
from latens_training.cli.settings import RESUMABLE_FIELDS, TrainSettings, flattened, merged
from latens_training.effects import completed, without_effect
from latens_training.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from latens_training.checkpoint import Checkpoint
    from latens_training.config import RunConfig
    from latens_training.runs.resume import SavedState


def run(settings: TrainSettings) -> int:
    """Trains as the settings say; returns the exit code.

    Raises:
        TrainingError: the run failed; the message says why.
    """
    config = settings.run_config()
    directory = settings.run_directory(config)
    if settings.print_config:
        print(as_toml(completed(config)), end="")
        return 0
    from latens_training.runs.starting import state_to_resume

    state = state_to_resume(directory, resume=settings.resume, overwrite=settings.overwrite)
    if state is None:
        _refuse_without_effect(config)
    else:
        config = resumed_config(state, settings.explicit())
    _train(settings, config, directory, state)
    return 0


def _refuse_without_effect(config: RunConfig) -> None:
    for name, reason in without_effect(config).items():
        raise UsageError(f"{name.replace('_', '-')}: has no effect here: {reason}")


def resumed_config(state: SavedState, explicit: dict[str, Any]) -> RunConfig:
    """The saved run's settings, with the present epochs, place of the data and machine.

    Raises:
        UsageError: a setting differs that must not change in a run.
    """
    saved = flattened(completed(state.config))
    for name, value in explicit.items():
        if name not in RESUMABLE_FIELDS and value != saved.get(name):
            flag = name.replace("_", "-")
            raise UsageError(
                f"{flag}: {state.path.parent} was begun with {saved.get(name)}, not {value}; "
                "leave the flag out to resume, or choose another --out"
            )
    changed = {name: value for name, value in explicit.items() if name in RESUMABLE_FIELDS}
    _refuse_epochs(state, changed.get("epochs", saved["epochs"]))
    return merged(state.config, changed)


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


def _train(
    settings: TrainSettings, config: RunConfig, directory: Path, state: SavedState | None
) -> None:

    from latens_training.progress import TRACKERS, Reporter
    from latens_training.runs.directory import Interrupted, stop_on_signals
    from latens_training.runs.starting import train_run

    with stop_on_signals() as stop:
        reporter = Reporter(
            config.train.epochs,
            json_lines=settings.json_lines,
            tensorboard=directory / "tensorboard" if settings.tensorboard else None,
            tracker=TRACKERS.find(settings.tracker).factory() if settings.tracker else None,
        )
        checkpoint, dataset = train_run(config, directory, state, reporter, stop)
        if not reporter.is_first:
            return
        if stop.signal is not None:
            raise Interrupted(
                stop.signal, f"stopped, trained and saved; latens-train figures {directory}"
            )
        if settings.figures:
            from latens_training.figures import write_all

            reporter.say("drawing the figures ...")
            write_all(checkpoint, dataset, directory / "figures")
    _print_result(checkpoint, as_json=settings.json_lines)


def _print_result(checkpoint: Checkpoint, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"run": str(checkpoint.path), "metrics": checkpoint.metrics}))
        return
    print(f"{checkpoint.path}: trained, {checkpoint.record.epoch} epochs")
    for name, value in checkpoint.metrics.items():
        print(f"  {name:<30} {value:10.3f}")
