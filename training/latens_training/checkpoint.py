"""The run directory: a trained model and its record.

`model.safetensors` holds the weights and, as one JSON document under one metadata key (several keys
would be written in random order), the record: one file, so weights and metrics always belong
together. `config.json` and `metrics.json` repeat parts of it for people and scripts. Nothing is
ever unpickled.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from latens_training.config import RunConfig
from latens_training.errors import CheckpointError, DataError, RunNotFoundError
from latens_training.likelihoods.registry import build_likelihood
from latens_training.models.autoencoder import Autoencoder, ImageShape
from latens_training.models.build import build
from latens_training.runs.directory import make_directory, write_whole
from latens_training.runs.record import LatentDim, RunRecord, parse_record

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.json"
HISTORY_FILE = "history.jsonl"
SCORES_FILE = "scores.json"
FIGURES = "figures"
_METADATA_KEY = "latens"


@dataclass(frozen=True)
class Checkpoint:
    """A trained model in eval mode on the CPU, and its record."""

    path: Path
    model: Autoencoder
    record: RunRecord

    @property
    def config(self) -> RunConfig:
        return self.record.config

    @property
    def metrics(self) -> dict[str, float]:
        return self.record.metrics

    @property
    def latent_dims(self) -> tuple[LatentDim, ...]:
        return self.record.latent_dims

    @property
    def attribute_vectors(self) -> dict[str, tuple[float, ...]]:
        return self.record.attribute_vectors


def save(run: Path, model: Autoencoder, record: RunRecord) -> None:
    """Writes the model and its record; each file is written completely or not at all.

    Raises:
        TrainingError: it cannot be written; the earlier files stay.
    """
    save_config(run, record)
    write_whole(run / MODEL_FILE, model_bytes(model, record))
    write_whole(run / METRICS_FILE, _metrics_json(record))


def save_config(run: Path, record: RunRecord) -> None:
    """Writes only `config.json`, which marks a run as begun.

    Raises:
        TrainingError: it cannot be written.
    """
    make_directory(run)
    write_whole(run / CONFIG_FILE, _config_json(record))


def load(run: Path | str) -> Checkpoint:
    """Reads a run directory.

    Raises:
        CheckpointError: it is missing, damaged, of another schema, or its files contradict.
    """
    run = Path(run)
    path = run / MODEL_FILE
    if not path.exists():
        raise RunNotFoundError(f"{run}: no run here ({MODEL_FILE} is missing)")
    tensors, metadata = _read(path, with_tensors=True)
    record = _parse_record(path, metadata)
    _check_config(run / CONFIG_FILE, record)
    return Checkpoint(run, _rebuild(path, record, tensors), record)


def load_record(run: Path | str) -> RunRecord:
    """Reads the record of a run, without its weights.

    Raises:
        CheckpointError: the run is missing, damaged or of another schema.
    """
    path = Path(run) / MODEL_FILE
    if not path.exists():
        raise RunNotFoundError(f"{run}: no run here ({MODEL_FILE} is missing)")
    return _parse_record(path, _read(path, with_tensors=False)[1])


def require_shape(checkpoint: Checkpoint, image_shape: ImageShape) -> None:
    """Refuses images whose shape is not the model's.

    Raises:
        DataError: the shapes differ.
    """
    expected = checkpoint.record.image_shape
    if image_shape != expected:
        raise DataError(
            f"{checkpoint.path}: its images are {' x '.join(map(str, expected))}, "
            f"the data set's {' x '.join(map(str, image_shape))} (channels, height, width)"
        )


def amend(run: Path | str, **changes: Any) -> Checkpoint:
    """Rewrites a run with some fields of its record changed.

    Raises:
        CheckpointError: the run cannot be read.
        TrainingError: it cannot be written.
    """
    checkpoint = load(run)
    values = checkpoint.record.model_dump() | changes
    record = RunRecord.model_validate(values)
    save(checkpoint.path, checkpoint.model, record)
    return Checkpoint(checkpoint.path, checkpoint.model, record)


def model_bytes(model: Autoencoder, record: RunRecord) -> bytes:
    """The content of `model.safetensors`: the same bytes for the same state."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(model).items()}
    document = json.dumps(record.model_dump(mode="json"), sort_keys=True)
    return safetensors.torch.save(tensors, metadata={_METADATA_KEY: document})


def _tensors(model: Autoencoder) -> dict[str, Tensor]:
    return dict(model.state_dict())


def _config_json(record: RunRecord) -> bytes:
    parts = record.model_dump(mode="json", include={"schema_version", "image_shape", "config"})
    return (json.dumps(parts, indent=2) + "\n").encode()


def _metrics_json(record: RunRecord) -> bytes:
    parts = record.model_dump(mode="json", include={"epoch", "metrics", "latent_dims"})
    return (json.dumps(parts, indent=2) + "\n").encode()


def _read(path: Path, *, with_tensors: bool) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys() if with_tensors else ()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from error


def _parse_record(path: Path, metadata: dict[str, str]) -> RunRecord:
    if _METADATA_KEY not in metadata:
        raise CheckpointError(f"{path}: not a checkpoint of latens (no '{_METADATA_KEY}' metadata)")
    return parse_record(path, metadata[_METADATA_KEY])


def _check_config(path: Path, record: RunRecord) -> None:
    """Refuses a run whose config.json describes another model than its weights."""
    try:
        document = path.read_text()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: not UTF-8") from error
    stated = parse_record(path, document)
    if stated.config.model != record.config.model:
        raise CheckpointError(
            f"{path}: describes another model ({_summary(stated)}) "
            f"than {MODEL_FILE} ({_summary(record)})"
        )
    if stated.image_shape != record.image_shape:
        raise CheckpointError(f"{path}: image_shape differs from {MODEL_FILE}'s")


def _summary(record: RunRecord) -> str:
    model = record.config.model
    hidden = ",".join(map(str, model.hidden))
    return f"{model.architecture}, latent size {model.latent_size}, hidden {hidden}"


def _rebuild(path: Path, record: RunRecord, tensors: dict[str, Tensor]) -> Autoencoder:
    with torch.random.fork_rng(devices=[]):
        likelihood = build_likelihood(record.config.loss)
        model = build(record.config.model, record.image_shape, likelihood, record.label_count)
    expected = _tensors(model)
    if expected.keys() != tensors.keys():
        odd = sorted(expected.keys() ^ tensors.keys())[0]
        raise CheckpointError(f"{path}: its tensors are not the architecture's ({odd})")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path}: {name} is {tuple(tensor.shape)}, "
                f"the configuration says {tuple(expected[name].shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} has values that are not finite")
    model.load_state_dict(tensors)
    return model.eval().requires_grad_(False)
