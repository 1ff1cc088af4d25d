"""The manifest of a bundle: one version of one model, as it is exported and served.

A bundle is the directory `<repository>/<model>/<version>/` with `bundle.json` (this schema), one
self-contained ONNX file per graph, and `probe.npz`: a few inputs with the outputs that the training
framework gave. The reader owns the schema, so that a server can be deployed without the exporter.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AwareDatetime, Field, FiniteFloat, model_validator

from latens_serving.bundle.axes import Strict
from latens_serving.bundle.spec import ModelSpec, Prior

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
VERSION_NAME = re.compile(r"[1-9][0-9]{0,17}\Z")

ModelName: TypeAlias = Annotated[str, Field(pattern=MODEL_NAME.pattern.replace(r"\Z", "$"))]
VersionNumber: TypeAlias = Annotated[int, Field(ge=1)]

_FILE_NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
GRAPH_NAMES = (
    "encoder",
    "decoder",
    "encoder_uint8",
    "decoder_uint8",
    "encoder_float32",
    "decoder_float32",
)


class BundleError(Exception):
    """A bundle cannot be served. The message names the part at fault, and no absolute path."""


class FileRecord(Strict):
    """The name, size and digest of a file of the bundle."""

    name: Annotated[str, Field(pattern=_FILE_NAME)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


class Spread(Strict):
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


class Reference(Strict):
    """KL and reconstruction error of the test set, measured as a server measures its calls.

    A server exports both side by side, so that a change of its inputs becomes visible.
    """

    images: Annotated[int, Field(ge=1)]
    """How many images were measured."""
    kl: Spread | None = None
    """KL of the posterior to the prior; None for a deterministic encoder."""
    reconstruction: Spread
    """-log p(x|z) at the posterior's mean."""


class Provenance(Strict):
    """Records of the training run, in free form."""

    created: AwareDatetime
    framework: str
    metrics: dict[str, float] = Field(default_factory=dict)
    """Test-set figures by name, nats per image."""
    training: dict[str, Any] = Field(default_factory=dict)
    """The run's configuration, as it was stored with the checkpoint."""


class BundleManifest(Strict):
    """The content of `bundle.json`."""

    schema_version: Literal[2] = 2
    name: ModelName
    version: VersionNumber
    spec: ModelSpec
    encoder: FileRecord
    decoder: FileRecord
    probe: FileRecord
    encoder_uint8: FileRecord | None = None
    """The encoder for pixels 0..255."""
    decoder_uint8: FileRecord | None = None
    """The decoder for pixels 0..255."""
    encoder_float32: FileRecord | None = None
    """The encoder in float32, for rows that a float16 one cannot hold."""
    decoder_float32: FileRecord | None = None
    """The decoder likewise."""
    weights: dict[str, FileRecord] = Field(default_factory=dict)
    """By graph: the file of its weights, for graphs that have more than a file can hold."""
    test_embeddings: FileRecord | None = None
    """Part of the test set with its posterior means: see `bundle.test_embeddings`."""
    prior: FileRecord | None = None
    """The parameters of a fitted prior: see `bundle.prior`."""
    reference: Reference | None = None
    """The baseline for drift; None in bundles of older exporters."""
    provenance: Provenance

    @model_validator(mode="after")
    def _has_the_prior_that_it_states(self) -> BundleManifest:
        if (self.spec.prior is Prior.FITTED_GAUSSIAN) != (self.prior is not None):
            raise ValueError(
                "prior: a file is expected for the prior fitted-gaussian, and then only"
            )
        return self

    @model_validator(mode="after")
    def _has_float32_beside_float16_only(self) -> BundleManifest:
        extra = self.encoder_float32 or self.decoder_float32
        if extra is not None and self.spec.precision != "float16":
            raise ValueError(f"{extra.name}: a second graph in float32 is for float16 alone")
        return self

    @model_validator(mode="after")
    def _has_weights_of_graphs_only(self) -> BundleManifest:
        if unknown := self.weights.keys() - self.graphs.keys():
            raise ValueError(f"weights: there is no graph {min(unknown)}")
        return self

    @property
    def optional_files(self) -> list[FileRecord]:
        """The files that no graph needs."""
        return [record for record in (self.test_embeddings, self.prior) if record]

    @property
    def graphs(self) -> dict[str, FileRecord]:
        """The graphs' files, by the name of the graph."""
        return {name: record for name in GRAPH_NAMES if (record := getattr(self, name)) is not None}
