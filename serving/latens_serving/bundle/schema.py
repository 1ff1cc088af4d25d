"""The manifest of a bundle: one version of one model, as it is exported and served.

A bundle is the directory `<repository>/<model>/<version>/` with `bundle.json` (this schema), one
self-contained ONNX file per graph, and `probe.npz`: a few inputs with the outputs that the training
framework gave. The reader owns the schema, so that a server can be deployed without the exporter.
"""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    model_validator,
)

SCHEMA_VERSION = 1
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
VERSION_NAME = re.compile(r"[1-9][0-9]{0,17}\Z")

_FILE_NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
_ATTRIBUTE_NAME = _FILE_NAME

LARGEST_TOLERANCE = {"float32": 1e-2, "tf32": 5e-2, "float16": 5e-2, "int8": 1e-1}
"""By precision: the largest tolerance that a bundle may state. A larger one would accept graphs
that compute something else than the network."""


GRAPH_NAMES = ("encoder", "decoder", "encoder_uint8", "decoder_uint8")


class BundleError(Exception):
    """A bundle cannot be served. The message names the part at fault, and no absolute path."""


class Likelihood(StrEnum):
    """The distribution p(x|z) that the model was trained with."""

    BERNOULLI = "bernoulli"
    GAUSSIAN = "gaussian"


class Posterior(StrEnum):
    """The form of q(z|x)."""

    DIAGONAL_GAUSSIAN = "diagonal-gaussian"
    DETERMINISTIC = "deterministic"

    @classmethod
    def _missing_(cls, value: object) -> Posterior | None:
        """Reads "point", the former name of "deterministic"."""
        return cls.DETERMINISTIC if value == "point" else None


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        ser_json_inf_nan="strings",
        serialize_by_alias=True,
        validate_by_name=True,
        validate_by_alias=True,
    )


def _known_precision(precision: str) -> str:
    if precision not in LARGEST_TOLERANCE:
        raise ValueError(f"expected one of {', '.join(LARGEST_TOLERANCE)}, got {precision!r}")
    return precision


class FileRecord(_Strict):
    """The name, size and digest of a file of the bundle."""

    name: Annotated[str, Field(pattern=_FILE_NAME)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


class LatentDim(_Strict):
    """Statistics of one latent coordinate over the training set."""

    kl: FiniteFloat
    """Mean over the data of KL(q(z_i|x) || p(z_i)), nats."""
    mean: FiniteFloat
    """Mean over the data of the posterior's mean."""
    std: FiniteFloat
    """Standard deviation over the data of the posterior's mean."""


class LatentContract(_Strict):
    """What a caller must know to use the model."""

    image_shape: tuple[
        Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]
    ]
    """Channels, height, width. Pixels are in [0, 1]."""
    latent_shape: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]
    architecture: str
    beta: Annotated[FiniteFloat, Field(ge=0)]
    dataset: str
    likelihood: Likelihood
    sigma: Annotated[FiniteFloat, Field(gt=0)] = 0.5**0.5
    """Standard deviation of a pixel given the latent, for a Gaussian likelihood."""
    posterior: Posterior
    precision: Annotated[str, AfterValidator(_known_precision)] = "float32"
    tolerance: Annotated[FiniteFloat, Field(gt=0)]
    """Largest absolute difference from the training framework, for mean, log_var and images; at
    most that of `LARGEST_TOLERANCE`."""
    parameter_count: Annotated[int, Field(ge=0)]
    latent_dims: Annotated[
        tuple[LatentDim, ...], Field(validation_alias=AliasChoices("latent_dims", "latent_units"))
    ] = ()
    """One entry per coordinate, in C order of the latent shape; empty if not known. Older bundles
    have it as `latent_units`."""
    attributes: dict[Annotated[str, Field(pattern=_ATTRIBUTE_NAME)], tuple[FiniteFloat, ...]] = {}
    """Directions by name (`bold`, `italic`). A direction added to a latent strengthens that
    attribute of the image. Each has one value per coordinate, in C order of the latent shape."""

    @model_validator(mode="after")
    def _tolerance_fits_the_precision(self) -> LatentContract:
        largest = LARGEST_TOLERANCE[self.precision]
        if self.tolerance > largest:
            raise ValueError(
                f"tolerance: {self.tolerance:g}, but {self.precision} graphs may state at most "
                f"{largest:g}"
            )
        return self

    @model_validator(mode="after")
    def _attributes_fit_the_latent(self) -> LatentContract:
        size = math.prod(self.latent_shape)
        for name, direction in self.attributes.items():
            if len(direction) != size:
                raise ValueError(
                    f"attributes.{name}: expected {size} values, one per coordinate of the latent, "
                    f"got {len(direction)}"
                )
        return self


class Spread(_Strict):
    """How much one quantity per image varies over a test set, nats."""

    mean: FiniteFloat
    quantiles: dict[Annotated[float, Field(ge=0, le=1)], FiniteFloat]
    """By level: the largest value among that share of the images."""

    @model_validator(mode="after")
    def _quantiles_ascend(self) -> Spread:
        values = [value for _, value in sorted(self.quantiles.items())]
        if values != sorted(values):
            raise ValueError("quantiles: expected values that ascend with their levels")
        return self


class Reference(_Strict):
    """KL and reconstruction error of the test set, measured as a server measures its calls.

    A server exports both side by side, so that a change of its inputs becomes visible.
    """

    images: Annotated[int, Field(ge=1)]
    """How many images were measured."""
    kl: Spread | None = None
    """KL of the posterior to the prior; None for a deterministic encoder."""
    reconstruction: Spread
    """-log p(x|z) at the posterior's mean."""


class Provenance(_Strict):
    """Records of the training run, in free form."""

    created: AwareDatetime
    framework: str
    metrics: dict[str, float] = {}
    """Test-set figures by name, nats per image."""
    training: dict[str, Any] = {}
    """The run's configuration, as it was stored with the checkpoint."""


class BundleManifest(_Strict):
    """The content of `bundle.json`."""

    schema_version: Literal[1]
    name: Annotated[str, Field(pattern=MODEL_NAME.pattern.replace(r"\Z", "$"))]
    version: Annotated[int, Field(ge=1)]
    contract: LatentContract
    encoder: FileRecord
    decoder: FileRecord
    probe: FileRecord
    encoder_uint8: FileRecord | None = None
    """The encoder for pixels 0..255."""
    decoder_uint8: FileRecord | None = None
    """The decoder for pixels 0..255."""
    test_embeddings: Annotated[FileRecord | None, Field(alias="atlas")] = None
    """Part of the test set with its posterior means: see `bundle.test_embeddings`."""
    reference: Reference | None = None
    """The baseline for drift; None in bundles of older exporters."""
    provenance: Provenance

    @property
    def graphs(self) -> dict[str, FileRecord]:
        """The graphs' files, by the name of the graph."""
        return {name: record for name in GRAPH_NAMES if (record := getattr(self, name)) is not None}
