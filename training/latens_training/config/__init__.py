"""The settings of a run, in sections. Each field is a flag, an environment variable and its help.

`RunConfig` is what a checkpoint stores. `latens_training.cli.settings.TrainSettings` flattens the
same fields into the command line of `latens-train`, so a field's name is unique over all sections.
The model, the objective, the likelihood and the data set are entries of registries; what such an
entry takes beyond the settings here are its options, in a dictionary beside its name.
"""

from __future__ import annotations

from latens_training.config.data import DataConfig, DataFields, Fit
from latens_training.config.model import LossConfig, LossFields, ModelConfig, ModelFields
from latens_training.config.section import Section
from latens_training.config.training import DeviceConfig, TrainConfig

__all__ = [
    "DataConfig",
    "DataFields",
    "DeviceConfig",
    "Fit",
    "LossConfig",
    "LossFields",
    "ModelConfig",
    "ModelFields",
    "RunConfig",
    "Section",
    "TrainConfig",
]


class RunConfig(Section):
    """All settings of a run, as stored in its `config.json`."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    train: TrainConfig = TrainConfig()
    machine: DeviceConfig = DeviceConfig()
