"""The state of a run in one file, from which a resumed run continues exactly.

The file contains the weights too, so it does not depend on the other files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor

from latens_training import checkpoint
from latens_training.config import RunConfig
from latens_training.errors import CheckpointError, UsageError
from latens_training.run_directory import write_whole
from latens_training.run_record import SCHEMA_VERSION, RunRecord
from latens_training.trainer import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from latens_training.trainer import Trainer

STATE_FILE = "training_state.safetensors"
_METADATA_KEY = "latens"
_ADAM_PARTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class SavedState:
    """The content of a state file."""

    path: Path
    config: RunConfig
    dataset_sha256: str
    device: str
    """The kind of device that the generators' states belong to."""
    progress: Progress
    history: list[dict[str, Any]]
    tensors: dict[str, Tensor]


def save_state(
    run: Path, trainer: Trainer, history: list[dict[str, Any]], dataset_sha256: str
) -> None:
    """Writes the state, whole or not at all.

    Raises:
        TrainingError: it cannot be written; the earlier file stays.
    """
    progress = trainer.progress
    document = {
        "schema_version": SCHEMA_VERSION,
        "config": trainer.config.model_dump(mode="json"),
        "dataset_sha256": dataset_sha256,
        "device": trainer.placement.device.type,
        "epoch": progress.epoch,
        "step": progress.step,
        "seconds": progress.seconds,
        "history": history,
    }
    metadata = {_METADATA_KEY: json.dumps(document)}  # the history keeps the order of its keys
    write_whole(run / STATE_FILE, safetensors.torch.save(_tensors(trainer), metadata=metadata))


def load_state(run: Path) -> SavedState:
    """Reads the state of a run.

    Raises:
        CheckpointError: it is missing, damaged or of another schema.
    """
    path = run / STATE_FILE
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
            document = json.loads((file.metadata() or {})[_METADATA_KEY])
        return _state(path, document, tensors)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except KeyError as error:
        raise CheckpointError(f"{path}: damaged (it has no {error})") from error
    except (safetensors.SafetensorError, ValidationError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged ({str(error).splitlines()[0]})") from error


def _state(path: Path, document: dict[str, Any], tensors: dict[str, Tensor]) -> SavedState:
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        raise CheckpointError(
            f"{path}: schema version {version}, this program reads {SCHEMA_VERSION}"
        )
    return SavedState(
        path,
        RunConfig.model_validate(document["config"]),
        document["dataset_sha256"],
        document["device"],
        Progress(document["epoch"], document["step"], tensors["totals"], document["seconds"]),
        document["history"],
        tensors,
    )


def restore(trainer: Trainer, state: SavedState) -> None:
    """Sets a new trainer to the saved state.

    Raises:
        CheckpointError: the state belongs to another network.
        UsageError: it belongs to another kind of device, whose random numbers differ.
    """
    device = trainer.placement.device.type
    if device != state.device:
        raise UsageError(f"device: {state.path.parent} was begun on {state.device}, not {device}")
    tensors = state.tensors
    try:
        weights = {name: tensors[f"model.{name}"] for name in trainer.model.state_dict()}
        trainer.model.load_state_dict(weights)
        _restore_adam(trainer, tensors)
        trainer.order_at_epoch_start = tensors["generator.order"]
        trainer.noise.set_state(tensors["generator.noise"])
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{state.path}: does not fit the network ({str(error).splitlines()[0]})"
        ) from error
    trainer.progress = replace(state.progress)
    if not trainer.placement.is_first:
        # The saved totals are sums over all processes, so only one process may start from them.
        trainer.progress.totals = torch.zeros_like(state.progress.totals)


def resumed_record(state: SavedState, fresh: RunRecord) -> RunRecord:
    """The record of the run to resume, with the present settings.

    Args:
        state: the state of the run.
        fresh: the record to use if the run has none, or a record older than the state.
    """
    try:
        saved = checkpoint.load_record(state.path.parent)
    except CheckpointError:
        saved = None  # the state has everything that is needed to continue
    if saved is None or saved.epoch != state.progress.epoch:
        return fresh.model_copy(update={"epoch": state.progress.epoch})
    return saved.model_copy(update={"config": fresh.config})


def _tensors(trainer: Trainer) -> dict[str, Tensor]:
    tensors = {f"model.{name}": value for name, value in trainer.model.state_dict().items()}
    for name, parameter in trainer.model.named_parameters():
        for part, value in trainer.optimizer.state.get(parameter, {}).items():
            tensors[f"adam.{name}.{part}"] = value
    tensors["generator.order"] = trainer.order_at_epoch_start
    tensors["generator.noise"] = trainer.noise.get_state()
    tensors["totals"] = trainer.progress.totals
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _restore_adam(trainer: Trainer, tensors: dict[str, Tensor]) -> None:
    """Adam's moments, if any step was taken before the state was saved."""
    values: dict[int, dict[str, Tensor]] = {}
    for index, (name, parameter) in enumerate(trainer.model.named_parameters()):
        if f"adam.{name}.step" in tensors:
            parts = {part: tensors[f"adam.{name}.{part}"] for part in _ADAM_PARTS}
            if parts["exp_avg"].shape != parameter.shape:
                raise KeyError(f"Adam's moments of {name} have another shape")
            values[index] = parts
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": values, "param_groups": groups})
