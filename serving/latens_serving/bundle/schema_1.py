"""The manifest of schema 1, and its conversion to the present one.

It knew images and latents of fixed shape, the prior N(0, I), and a likelihood always.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, Field, FiniteFloat

from latens_serving.bundle.axes import Size, Strict
from latens_serving.bundle.schema import (
    BundleManifest,
    FileRecord,
    ModelName,
    Provenance,
    Reference,
    VersionNumber,
)
from latens_serving.bundle.spec import (
    LatentDim,
    Likelihood,
    ModelSpec,
    Posterior,
    Prior,
    fixed_image_axes,
    fixed_latent_axes,
)


class LatentContract(Strict):
    """What `ModelSpec` is now; the values are checked there."""

    image_shape: tuple[Size, Size, Size]
    latent_shape: Annotated[tuple[Size, ...], Field(min_length=1)]
    architecture: str
    beta: Annotated[FiniteFloat, Field(ge=0)]
    dataset: str
    likelihood: Likelihood
    sigma: Annotated[FiniteFloat, Field(gt=0)] = 0.5**0.5
    posterior: Posterior
    precision: str = "float32"
    tolerance: Annotated[FiniteFloat, Field(gt=0)]
    parameter_count: Annotated[int, Field(ge=0)]
    latent_dims: Annotated[
        tuple[LatentDim, ...], Field(validation_alias=AliasChoices("latent_dims", "latent_units"))
    ] = ()
    attributes: Annotated[dict[str, tuple[FiniteFloat, ...]], Field(default_factory=dict)]


class ManifestOfSchema1(Strict):
    """The content of a `bundle.json` of schema 1."""

    schema_version: Literal[1]
    name: ModelName
    version: VersionNumber
    contract: LatentContract
    encoder: FileRecord
    decoder: FileRecord
    probe: FileRecord
    encoder_uint8: FileRecord | None = None
    decoder_uint8: FileRecord | None = None
    test_embeddings: Annotated[FileRecord | None, Field(alias="atlas")] = None
    reference: Reference | None = None
    provenance: Provenance


def from_schema_1(manifest: ManifestOfSchema1) -> BundleManifest:
    """The same bundle as the present schema says it.

    A deterministic encoder has no prior: its latents were never drawn to N(0, I).

    Raises:
        ValidationError: the contract contradicts itself.
    """
    facts = manifest.contract.model_dump(exclude={"image_shape", "latent_shape"})
    deterministic = manifest.contract.posterior is Posterior.DETERMINISTIC
    spec = ModelSpec(
        data_axes=fixed_image_axes(manifest.contract.image_shape),
        latent_axes=fixed_latent_axes(manifest.contract.latent_shape),
        prior=Prior.NONE if deterministic else Prior.STANDARD_NORMAL,
        **facts,
    )
    same = {
        name: getattr(manifest, name)
        for name in ManifestOfSchema1.model_fields
        if name not in ("schema_version", "contract")
    }
    return BundleManifest(spec=spec, **same)
