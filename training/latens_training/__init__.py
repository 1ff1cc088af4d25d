"""Trains autoencoders and variational autoencoders: `latens_training.train(...)`.

The names here are imported when they are used, so that `latens-train --help` needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latens_training.api import Run, train
    from latens_training.config import (
        DataConfig,
        DeviceConfig,
        LossConfig,
        ModelConfig,
        RunConfig,
        TrainConfig,
    )
    from latens_training.data.types import Dataset, Split
    from latens_training.likelihoods.likelihood import Likelihood
    from latens_training.models.autoencoder import Autoencoder
    from latens_training.objectives.batch import Batch

__all__ = [
    "Autoencoder",
    "Batch",
    "DataConfig",
    "Dataset",
    "DeviceConfig",
    "Likelihood",
    "LossConfig",
    "ModelConfig",
    "Run",
    "RunConfig",
    "Split",
    "TrainConfig",
    "train",
]

_PLACES = {
    "Autoencoder": "models.autoencoder",
    "Batch": "objectives.batch",
    "Dataset": "data.types",
    "Likelihood": "likelihoods.likelihood",
    "Run": "api",
    "Split": "data.types",
    "train": "api",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES.get(name, 'config')}"), name)
