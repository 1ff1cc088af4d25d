"""The settings of the commands. Those of `train` are the fields of a run's sections, flattened."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict

from latens_training.config import (
    DataConfig,
    DeviceConfig,
    LossConfig,
    ModelConfig,
    RunConfig,
    Section,
    TrainConfig,
)
from latens_training.presets import preset_values

if TYPE_CHECKING:
    from latens_training.checkpoint import Checkpoint
    from latens_training.data.types import Dataset

ENV_PREFIX = "LATENS_TRAIN_"


class CommandSettings(BaseSettings):
    """The settings of one command; its fields give flags, environment variables and help."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        cli_kebab_case=True,
        cli_implicit_flags="toggle",
        cli_avoid_json=True,
        cli_hide_none_type=True,
        cli_shortcuts={"architecture": "model", "json-lines": "json"},
    )


class RunCommandSettings(CommandSettings):
    """Settings of a command that works on a trained run and its images."""

    model_config = SettingsConfigDict()

    run: CliPositionalArg[Annotated[Path, Field(description="run directory")]]
    dataset: Annotated[
        str | None,
        Field(description="the run's data set, if it was moved, or other images of its shape"),
    ] = None
    data_dir: Annotated[
        Path | None, Field(description="folder of the run's named data set, if it was moved")
    ] = None

    def load_dataset(self, run: Checkpoint) -> Dataset:
        """The images to work on; a note on standard error says if they differ from the run's.

        Raises:
            TrainingError: they cannot be read, or are not of the model's shape.
        """
        from latens_training.run_data import dataset_of

        return dataset_of(run, _note, dataset=self.dataset, data_dir=self.data_dir)


def _note(text: str) -> None:
    print(f"latens-train: {text}", file=sys.stderr, flush=True)


# The last of the bases comes first in the help.
class TrainSettings(
    CommandSettings, DeviceConfig, TrainConfig, LossConfig, DataConfig, ModelConfig
):
    """Trains an autoencoder; writes its weights, test metrics, history and figures."""

    model_config = SettingsConfigDict()

    preset: Annotated[
        str | None,
        Field(description="start from a named set of settings (latens-train presets lists them)"),
    ] = None
    out: Annotated[
        Path | None, Field(description="run directory; default runs/DATASET-MODEL-L")
    ] = None
    resume: Annotated[
        bool, Field(description="continue the run in --out, exactly where it stopped")
    ] = False
    overwrite: Annotated[bool, Field(description="replace the run in --out, if there is one")] = (
        False
    )
    figures: Annotated[bool, Field(description="draw the figures at the end")] = True
    tensorboard: Annotated[bool, Field(description="also log for TensorBoard, into the run")] = (
        False
    )
    json_lines: Annotated[
        bool, Field(description="one JSON line per epoch on standard output, and one at the end")
    ] = False
    print_config: Annotated[bool, Field(description="print the resulting settings and exit")] = (
        False
    )

    def run_config(self) -> RunConfig:
        """The sections: values set here override the preset, which overrides the defaults.

        Raises:
            NotFoundError: there is no preset of this name.
        """
        preset = preset_values(self.preset) if self.preset else {}
        return RunConfig.model_validate(sectioned(preset | self.explicit()))

    def explicit(self) -> dict[str, Any]:
        """The fields that the command line or the environment set, by their flat names."""
        fields = {name for names in SECTION_FIELDS.values() for name in names}
        return {name: getattr(self, name) for name in self.model_fields_set & fields}

    def run_directory(self, config: RunConfig) -> Path:
        dataset = Path(config.data.dataset).stem
        default = f"{dataset}-{config.model.architecture}-{config.model.latent_size}"
        return self.out or Path("runs") / (self.preset or default)


_SECTIONS: dict[str, type[Section]] = {
    "data": DataConfig,
    "model": ModelConfig,
    "loss": LossConfig,
    "train": TrainConfig,
    "machine": DeviceConfig,
}
SECTION_FIELDS = {name: tuple(section.model_fields) for name, section in _SECTIONS.items()}

RESUMABLE_FIELDS = {"epochs", "dataset", "data_dir", *SECTION_FIELDS["machine"]}
"""The settings that may differ when a run is resumed."""


def sectioned(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Puts flat field values under their sections."""
    return {
        section: {name: values[name] for name in names if name in values}
        for section, names in SECTION_FIELDS.items()
    }


def flattened(config: RunConfig) -> dict[str, Any]:
    """The inverse of `sectioned`."""
    return {
        name: getattr(getattr(config, section), name)
        for section, names in SECTION_FIELDS.items()
        for name in names
    }
