"""Completes the options of a run's entries, and finds the settings that would have no effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from latens_training.config import RunConfig
from latens_training.data.registry import DATASETS
from latens_training.errors import UsageError
from latens_training.likelihoods.registry import LIKELIHOODS
from latens_training.models.registry import DETERMINISTIC, MODELS, WITH_CODEBOOK
from latens_training.objectives.registry import OBJECTIVES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from latens_training.models.autoencoder import Autoencoder
    from latens_training.registry import Entry, Registry


class Kind(NamedTuple):
    """Where a run names an entry of a registry, and where it has the entry's options."""

    registry: Registry
    section: str
    name: str
    options: str
    flag: str


KINDS = (
    Kind(MODELS, "model", "architecture", "model_options", "model"),
    Kind(OBJECTIVES, "loss", "objective", "objective_options", "objective"),
    Kind(LIKELIHOODS, "loss", "likelihood", "likelihood_options", "likelihood"),
    Kind(DATASETS, "data", "dataset", "dataset_options", "dataset"),
)
_OF_A_PRIOR = ("beta", "objective", "samples")
"""Settings that mean nothing without a distribution over latents."""
_DEFAULT = RunConfig()


def entries(config: RunConfig) -> Iterator[tuple[Kind, Entry]]:
    """The entries that the settings name; a path for a data set is none.

    Raises:
        NotFoundError: one does not exist.
    """
    for kind in KINDS:
        name = getattr(getattr(config, kind.section), kind.name)
        if kind.registry is DATASETS and name not in DATASETS.names() and ":" not in name:
            continue
        yield kind, kind.registry.find(name)


def completed(config: RunConfig) -> RunConfig:
    """The same settings with the value of every option, checked.

    A model with a codebook has its own objective.

    Raises:
        NotFoundError: a model, an objective, a likelihood or a data set does not exist.
        UsageError: an option is unknown or invalid, or the objective is none of the model's.
    """
    if config.model.architecture in WITH_CODEBOOK and not _differs(config, "objective"):
        loss = config.loss.model_copy(update={"objective": "vq"})
        config = config.model_copy(update={"loss": loss})
    has_codebook = config.model.architecture in WITH_CODEBOOK
    if has_codebook and config.loss.objective != "vq" and ":" not in config.loss.objective:
        raise UsageError(
            f"objective: {config.model.architecture} is trained with vq, got "
            f"{config.loss.objective}"
        )
    for kind, entry in entries(config):
        section = getattr(config, kind.section)
        options = entry.complete(getattr(section, kind.options))
        changed = section.model_copy(update={kind.options: options})
        config = config.model_copy(update={kind.section: changed})
    return config


def without_effect(config: RunConfig) -> dict[str, str]:
    """The settings that differ from their defaults without an effect, each with the reason.

    Raises:
        NotFoundError: a model, an objective, a likelihood or a data set does not exist.
    """
    found: dict[str, str] = {}
    for kind, entry in entries(config):
        for setting in sorted(kind.registry.shared - entry.parameters):
            if takers := kind.registry.takers(setting):
                found[setting] = f"it belongs to --{kind.flag} {', '.join(takers)}"
    for setting in ("data_dir", "image_size"):
        found.pop(setting, None)  # the loader says what is wrong with them
    if config.model.architecture in DETERMINISTIC:
        found |= dict.fromkeys(_OF_A_PRIOR, _no_prior(config))
    if config.model.architecture in WITH_CODEBOOK:
        found.pop("objective", None)
    if "latent_size" not in MODELS.find(config.model.architecture).parameters:
        found["conditional"] = "the latent must be a vector, as that of --model vae-mlp"
    if config.data.image_size is None:
        found["fit"] = "it says how pictures are fitted to --image-size"
    if not config.data.validation:
        reason = "it needs held-out images, as --validation 0.1"
        found |= dict.fromkeys(("ema", "patience"), reason)
    return {name: reason for name, reason in found.items() if _differs(config, name)}


def require_effect_on(model: Autoencoder, config: RunConfig) -> None:
    """Refuses settings of the prior for a model that turns out to have none.

    Raises:
        UsageError: the first such setting.
    """
    if model.posterior != "deterministic":
        return
    for name in _OF_A_PRIOR:
        if name == "objective" and config.loss.objective == "vq":
            continue
        if _differs(config, name):
            raise UsageError(f"{name}: has no effect here: {_no_prior(config)}")


def _no_prior(config: RunConfig) -> str:
    return f"{config.model.architecture} has no distribution over latents; use --model vae-mlp"


def _differs(config: RunConfig, name: str) -> bool:
    for section in ("model", "loss", "data", "train"):
        if name in type(getattr(config, section)).model_fields:
            value: Any = getattr(getattr(config, section), name)
            return bool(value != getattr(getattr(_DEFAULT, section), name))
    return False  # a parameter that is no setting, as `decoder_channels`
