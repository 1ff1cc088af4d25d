"""The settings of the commands. Those of `train` are the fields of a run's sections, flattened."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict

from latens_training.cli.config_file import read_config
from latens_training.config import (
    DataFields,
    DeviceConfig,
    LossFields,
    ModelFields,
    RunConfig,
    Section,
    TrainConfig,
)
from latens_training.effects import KINDS, entries
from latens_training.errors import UsageError
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
        from latens_training.runs.data import dataset_of

        return dataset_of(run, _note, dataset=self.dataset, data_dir=self.data_dir)


def _note(text: str) -> None:
    print(f"latens-train: {text}", file=sys.stderr, flush=True)


# The last of the bases comes first in the help.
class RunSettings(CommandSettings, DeviceConfig, TrainConfig, LossFields, DataFields, ModelFields):
    """The settings of a run, from flags over a preset or a file."""

    model_config = SettingsConfigDict()

    option_names: ClassVar[frozenset[str]] = frozenset()
    """The fields that are options of the chosen model, objective, likelihood and data set."""

    preset: Annotated[
        str | None,
        Field(description="start from a named set of settings (latens-train presets lists them)"),
    ] = None
    config: Annotated[
        Path | None,
        Field(description="start from a TOML file of settings, as --print-config writes one"),
    ] = None

    def run_config(self) -> RunConfig:
        """The sections: values set here override the preset or file, which override the defaults.

        Raises:
            TrainingError: there is no preset of this name, or the file cannot be used.
        """
        return merged(self.start(), self.explicit())

    def start(self) -> RunConfig:
        """The settings that the flags amend."""
        if self.preset and self.config:
            raise UsageError("config: contradicts --preset; write its settings into the file")
        if self.config:
            return read_config(self.config)
        return RunConfig.model_validate(
            sectioned(preset_values(self.preset) if self.preset else {})
        )

    def explicit(self) -> dict[str, Any]:
        """The fields that the command line or the environment set, by their flat names.

        Options of the chosen model, objective, likelihood and data set are among them.
        """
        options = type(self).option_names
        return {
            name: getattr(self, name) for name in self.model_fields_set & (_RUN_FIELDS | options)
        }


class TrainSettings(RunSettings):
    """Trains an autoencoder; writes its weights, test metrics, history and figures."""

    model_config = SettingsConfigDict()

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
    tracker: Annotated[
        str | None,
        Field(
            description="module:Class of an experiment tracker, which is made without arguments "
            "and has the methods begin, log and end"
        ),
    ] = None
    json_lines: Annotated[
        bool, Field(description="one JSON line per epoch on standard output, and one at the end")
    ] = False
    print_config: Annotated[
        bool, Field(description="print the resulting settings as TOML, for --config, and exit")
    ] = False

    def run_directory(self, config: RunConfig) -> Path:
        dataset = Path(config.data.dataset).stem
        default = f"{dataset}-{config.model.architecture}-{config.model.latent_size}"
        return self.out or Path("runs") / (self.preset or default)


_SECTIONS: dict[str, type[Section]] = {
    "data": DataFields,
    "model": ModelFields,
    "loss": LossFields,
    "train": TrainConfig,
    "machine": DeviceConfig,
}
SECTION_FIELDS = {name: tuple(section.model_fields) for name, section in _SECTIONS.items()}
_RUN_FIELDS = {name for names in SECTION_FIELDS.values() for name in names}

RESUMABLE_FIELDS = {"epochs", "dataset", "data_dir", *SECTION_FIELDS["machine"]}
"""The settings that may differ when a run is resumed."""


def sectioned(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Puts flat field values under their sections; dictionaries of options go with their entry."""
    places = {name: section for section, names in SECTION_FIELDS.items() for name in names}
    places |= {kind.options: kind.section for kind in KINDS}
    found: dict[str, dict[str, Any]] = {name: {} for name in SECTION_FIELDS}
    for name, value in values.items():
        found[places[name]][name] = value
    return found


def flattened(config: RunConfig) -> dict[str, Any]:
    """The inverse of `sectioned`, and the options of the entries by their own names."""
    fields = {
        name: getattr(getattr(config, section), name)
        for section, names in SECTION_FIELDS.items()
        for name in names
    }
    for kind in KINDS:
        fields |= getattr(getattr(config, kind.section), kind.options)
    return fields


def merged(start: RunConfig, explicit: dict[str, Any]) -> RunConfig:
    """The settings of a start with others over them; each option goes to the entry that has it.

    Options of an entry that the explicit settings replace are dropped.

    Raises:
        TrainingError: an entry does not exist.
    """
    fields = {name: value for name, value in explicit.items() if name in _RUN_FIELDS}
    options = {name: value for name, value in explicit.items() if name not in _RUN_FIELDS}
    values = {name: value for name, value in flattened(start).items() if name in _RUN_FIELDS}
    for kind in KINDS:
        kept = getattr(getattr(start, kind.section), kind.options)
        values[kind.options] = {} if fields.get(kind.name, values[kind.name]) != values[
            kind.name] else dict(kept)  # fmt: skip
    config = RunConfig.model_validate(sectioned(values | fields))
    for kind, entry in entries(config):
        given = {name: options[name] for name in options.keys() & entry.options.keys()}
        getattr(getattr(config, kind.section), kind.options).update(given)
    return config
