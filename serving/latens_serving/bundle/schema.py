"""The bundle: one version of one model, as the export step writes it and the server reads it.

A bundle is the directory `<repository>/<model>/<version>/` with `bundle.json` (this schema), one
self-contained ONNX file a graph, and `probe.npz`: a few inputs with the outputs that the training
framework gave. The reader owns the schema, so that a server can be deployed without the exporter.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
import zlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

SCHEMA_VERSION = 1
MANIFEST_FILE = "bundle.json"
PROBE_FILE = "probe.npz"
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
VERSION_NAME = re.compile(r"[1-9][0-9]{0,17}\Z")

_FILE_NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
_ATTRIBUTE_NAME = _FILE_NAME


class BundleError(Exception):
    """A bundle that cannot be served; the message names the bundle's part and what is wrong."""


class Likelihood(StrEnum):
    """The distribution p(x|z) that the model was trained with."""

    BERNOULLI = "bernoulli"
    GAUSSIAN = "gaussian"


class Posterior(StrEnum):
    """The form of q(z|x)."""

    DIAGONAL_GAUSSIAN = "diagonal-gaussian"
    POINT = "point"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class FileRecord(_Strict):
    """A file of the bundle, by which it is found whole and unchanged."""

    name: Annotated[str, Field(pattern=_FILE_NAME)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]


class LatentUnit(_Strict):
    """What is known of one latent coordinate over the training set."""

    kl: float
    """Mean over the data of KL(q(z_i|x) || p(z_i)), nats."""
    mean: float
    """Mean over the data of the posterior's mean."""
    std: float
    """Standard deviation over the data of the posterior's mean."""


class LatentContract(_Strict):
    """All that a caller must know to use the model."""

    image_shape: tuple[
        Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]
    ]
    """Channels, height, width. Pixels are in [0, 1]."""
    latent_shape: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]
    architecture: str
    beta: Annotated[float, Field(ge=0)]
    dataset: str
    likelihood: Likelihood
    sigma: Annotated[float, Field(gt=0)] = 0.5**0.5
    """Standard deviation of a pixel given the latent, for a Gaussian likelihood."""
    posterior: Posterior
    precision: str = "float32"
    tolerance: Annotated[float, Field(gt=0)]
    """Largest absolute difference from the training framework, for mean, log_var and images."""
    parameter_count: Annotated[int, Field(ge=0)]
    latent_units: tuple[LatentUnit, ...] = ()
    """One entry a coordinate, in C order of the latent shape; empty when not known."""
    attributes: dict[Annotated[str, Field(pattern=_ATTRIBUTE_NAME)], tuple[FiniteFloat, ...]] = {}
    """Directions by name (`bold`, `italic`): added to a latent, each makes the image more so.

    Each has one value a coordinate, in C order of the latent shape.
    """

    @model_validator(mode="after")
    def _attributes_fit_the_latent(self) -> LatentContract:
        size = math.prod(self.latent_shape)
        for name, direction in self.attributes.items():
            if len(direction) != size:
                raise ValueError(f"attributes.{name}: {len(direction)} values for {size} units")
        return self


class Spread(_Strict):
    """How much one quantity of an image varies over a test set, nats."""

    mean: FiniteFloat
    quantiles: dict[Annotated[float, Field(ge=0, le=1)], FiniteFloat]
    """By level: that share of the images has at most so much."""

    @model_validator(mode="after")
    def _quantiles_ascend(self) -> Spread:
        values = [value for _, value in sorted(self.quantiles.items())]
        if values != sorted(values):
            raise ValueError("quantiles: they do not ascend with their levels")
        return self


class Reference(_Strict):
    """What the graphs make of the test set, measured as the server measures what callers encode.

    A server shows the two side by side, so that images unlike those of the training set are seen.
    """

    images: Annotated[int, Field(ge=1)]
    """How many were measured."""
    kl: Spread | None = None
    """KL of the posterior to the prior; None where the posterior is a point."""
    reconstruction: Spread
    """-log p(x|z) at the posterior's mean."""


class Provenance(_Strict):
    """Where the model comes from: free-form records of the training run."""

    created: AwareDatetime
    framework: str
    metrics: dict[str, float] = {}
    """Test-set figures by name, nats an image."""
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
    """The encoder with pixels 0..255 as its input, and otherwise the same."""
    decoder_uint8: FileRecord | None = None
    """The decoder with pixels 0..255 as its output, and otherwise the same."""
    atlas: FileRecord | None = None
    """Part of the test set with its posterior means: see `bundle.test_embeddings`."""
    reference: Reference | None = None
    """For telling drift; None in bundles that were made before there was any."""
    provenance: Provenance

    @property
    def graphs(self) -> dict[str, FileRecord]:
        """The files of the graphs that there are, by the graph's name."""
        names = ("encoder", "decoder", "encoder_uint8", "decoder_uint8")
        return {name: record for name in names if (record := getattr(self, name)) is not None}


class Probe(_Strict):
    """Inputs with the outputs that the training framework gave, float32, axis 0 the item."""

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    images: NDArray[np.float32]
    mean: NDArray[np.float32]
    log_var: NDArray[np.float32] | None
    latents: NDArray[np.float32]
    decoded: NDArray[np.float32]


def read_manifest(directory: Path) -> BundleManifest:
    """Reads and checks `bundle.json`.

    Raises:
        BundleError: it is missing, unreadable, of another schema, or not where it says it is.
    """
    path = directory / MANIFEST_FILE
    try:
        manifest = BundleManifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise BundleError(f"{path}: {where}: {first['msg']}") from error
    expected = (directory.parent.name, directory.name)
    if (manifest.name, str(manifest.version)) != expected:
        raise BundleError(
            f"{path}: says {manifest.name}/{manifest.version}, but lies in {'/'.join(expected)}"
        )
    return manifest


def verified_bytes(directory: Path, record: FileRecord) -> bytes:
    """Reads a file of the bundle whole, and checks its size and digest.

    The bytes are returned so that what was checked is what is used: nothing is read twice.

    Raises:
        BundleError: it is missing, truncated or changed.
    """
    path = directory / record.name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}") from error
    if len(content) != record.size:
        raise BundleError(f"{path}: {len(content)} bytes, the manifest says {record.size}")
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise BundleError(f"{path}: the SHA-256 digest differs from the manifest's")
    return content


def record_of(name: str, content: bytes) -> FileRecord:
    return FileRecord(name=name, sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def manifest_json(manifest: BundleManifest) -> bytes:
    return (json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n").encode()


def probe_bytes(probe: Probe) -> bytes:
    """The content of `probe.npz`: the same bytes for the same arrays."""
    arrays = {name: getattr(probe, name) for name in Probe.model_fields}
    content = io.BytesIO()
    np.savez(content, **{name: array for name, array in arrays.items() if array is not None})
    return content.getvalue()


def read_probe(content: bytes, contract: LatentContract) -> Probe:
    """Reads the content of `probe.npz`, and checks its arrays against the contract.

    Raises:
        BundleError: it is damaged, or an array is missing, too many, misshaped, or not finite.
    """
    expected = _probe_row_shapes(contract)
    arrays = _load_arrays(content)
    if arrays.keys() != expected.keys():
        raise BundleError(f"{PROBE_FILE}: holds {sorted(arrays)}, expected {sorted(expected)}")
    for name, (rows_of, row_shape) in expected.items():
        array = arrays[name]
        shape = (len(arrays[rows_of]), *row_shape)
        if array.dtype != np.float32 or array.shape != shape or not shape[0]:
            raise BundleError(
                f"{PROBE_FILE}: {name}: {array.dtype}{list(array.shape)}, "
                f"expected float32{list(shape)}, and at least one row"
            )
        if not np.isfinite(array).all():
            raise BundleError(f"{PROBE_FILE}: {name}: has values that are not finite")
    return Probe(**{"log_var": None, **arrays})


def _probe_row_shapes(contract: LatentContract) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Of each array that a probe must hold: whose rows it shares, and the shape of one."""
    latent, image = contract.latent_shape, contract.image_shape
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "images": ("images", image),
        "mean": ("images", latent),
        "latents": ("latents", latent),
        "decoded": ("latents", image),
    }
    if contract.posterior is Posterior.DIAGONAL_GAUSSIAN:
        shapes["log_var"] = ("images", latent)
    return shapes


def _load_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    try:
        with np.lib.npyio.NpzFile(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"{PROBE_FILE}: not a readable archive: {error}") from error
    if scalars := [name for name, array in arrays.items() if not array.ndim]:
        raise BundleError(f"{PROBE_FILE}: {scalars[0]}: expected an axis of rows")
    return arrays
