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
from torch import Tensor, nn

from latens_training import checkpoint
from latens_training.config import RunConfig
from latens_training.errors import CheckpointError, UsageError
from latens_training.runs.directory import write_whole
from latens_training.runs.record import SCHEMA_VERSION, RunRecord
from latens_training.trainer import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from latens_training.trainer import Trainer

STATE_FILE = "training_state.safetensors"
_METADATA_KEY = "latens"
_ADAM_PARTS = ("exp_avg", "exp_avg_sq", "step")
_FIRST_TERMS = ("loss", "reconstruction", "kl")
"""Of states written before objectives named their terms."""


@dataclass(frozen=True)
class SavedState:
    """The content of a state file."""

    path: Path
    config: RunConfig
    dataset_sha256: str
    device: str
    """The kind of device that the generators' states belong to."""
    progress: Progress
    average_steps: int
    """Steps that the moving average of the weights has seen."""
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
        "terms": progress.terms,
        "average_steps": trainer.average.steps if trainer.average else 0,
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
        Progress(
            document["epoch"],
            document["step"],
            tuple(document.get("terms", _FIRST_TERMS)),
            tensors["totals"],
            document["seconds"],
        ),
        document.get("average_steps", 0),
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
        _restore_adam(trainer.optimizer, trainer.model, tensors, "adam")
        if trainer.auxiliary:
            module = trainer.auxiliary.module
            own = {name: tensors[f"objective.{name}"] for name in module.state_dict()}
            module.load_state_dict(own)
            _restore_adam(trainer.auxiliary.optimizer, module, tensors, "objective_adam")
        if trainer.average:
            own = {name: tensors[f"average.{name}"] for name in trainer.average.tensors()}
            trainer.average.restore(own, state.average_steps)
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
    # With held-out images, the record is that of the best epoch.
    if saved is None or (saved.epoch != state.progress.epoch and not state.config.data.validation):
        return fresh.model_copy(update={"epoch": state.progress.epoch})
    return saved.model_copy(update={"config": fresh.config})


def _tensors(trainer: Trainer) -> dict[str, Tensor]:
    tensors = _of_module(trainer.model, trainer.optimizer, "model", "adam")
    if trainer.auxiliary:
        module, optimizer = trainer.auxiliary.module, trainer.auxiliary.optimizer
        tensors |= _of_module(module, optimizer, "objective", "objective_adam")
    if trainer.average:
        own = trainer.average.tensors().items()
        tensors |= {f"average.{name}": value for name, value in own}
    tensors["generator.order"] = trainer.order_at_epoch_start
    tensors["generator.noise"] = trainer.noise.get_state()
    tensors["totals"] = trainer.progress.totals
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _of_module(
    module: nn.Module, optimizer: torch.optim.Optimizer, weights: str, moments: str
) -> dict[str, Tensor]:
    """The weights of a module and the moments of its optimiser, under these prefixes."""
    tensors = {f"{weights}.{name}": value for name, value in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        for part, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moments}.{name}.{part}"] = value
    return tensors


def _restore_adam(
    optimizer: torch.optim.Optimizer,
    module: nn.Module,
    tensors: dict[str, Tensor],
    prefix: str,
) -> None:
    """Adam's moments, if any step was taken before the state was saved."""
    values: dict[int, dict[str, Tensor]] = {}
    for index, (name, parameter) in enumerate(module.named_parameters()):
        if f"{prefix}.{name}.step" in tensors:
            parts = {part: tensors[f"{prefix}.{name}.{part}"] for part in _ADAM_PARTS}
            if parts["exp_avg"].shape != parameter.shape:
                raise KeyError(f"Adam's moments of {name} have another shape")
            values[index] = parts
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": values, "param_groups": groups})
