"""The record of a run: everything about its model except the weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from latens_training.config import RunConfig
from latens_training.errors import CheckpointError
from latens_training.models.autoencoder import ImageShape

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_VERSION = 1


class LatentDim(BaseModel):
    """Statistics of one latent coordinate over the training set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kl: float
    """Mean over the data of KL(q(z_i|x) || p(z_i)), nats."""
    mean: float
    """Mean over the data of the posterior's mean."""
    std: float
    """Standard deviation over the data of the posterior's mean."""


class RunRecord(BaseModel):
    """The data stored beside the weights. A run amends its record and never makes another one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA_VERSION
    config: RunConfig
    image_shape: ImageShape
    epoch: Annotated[int, Field(ge=0)] = 0
    """Whole epochs trained."""
    best_epoch: Annotated[int, Field(ge=1)] | None = None
    """The epoch of the weights, where held-out images chose it; None for the last one."""
    metrics: dict[str, float] = {}
    """Metrics of the test set by name, nats per image."""
    latent_dims: Annotated[
        tuple[LatentDim, ...], Field(validation_alias=AliasChoices("latent_dims", "latent_units"))
    ] = ()
    """One per coordinate, in C order of the latent shape; empty if not known. Records of older
    versions have it as `latent_units`."""
    attribute_vectors: dict[str, tuple[float, ...]] = {}
    """Directions of the latent space by attribute, in C order of the latent shape."""
    class_names: tuple[str, ...] = ()
    """What the labels 0, 1, ... of the data set stand for; empty if not known."""
    label_count: Annotated[int, Field(ge=0)] = 0
    """Classes that a conditional model knows; 0 for other models."""
    dataset_sha256: str = ""
    environment: dict[str, Any] = {}
    """The facts that a bit-equal rerun depends on: versions, device, thread count."""

    def after_epochs(
        self, epoch: int, metrics: dict[str, float], environment: dict[str, Any]
    ) -> RunRecord:
        """The record of new weights: measurements of the old ones are dropped."""
        changes = {"epoch": epoch, "best_epoch": None, "metrics": metrics}
        changes |= {"environment": environment}
        return self.model_copy(update=changes | {"latent_dims": (), "attribute_vectors": {}})


def parse_record(path: Path, document: str) -> RunRecord:
    try:
        values = json.loads(document)
        version = values.get("schema_version")
        if version != SCHEMA_VERSION:
            raise CheckpointError(
                f"{path}: schema version {version}, this program reads {SCHEMA_VERSION}"
            )
        return RunRecord.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"{path}: {where}: {first['msg']}") from error
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its record is not a JSON object") from error
