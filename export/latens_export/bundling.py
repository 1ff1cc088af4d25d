"""From a checkpoint to a bundle: graphs, their check against the network, probe and manifest."""

from __future__ import annotations

import dataclasses
import os
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import torch

from latens_export.checks import parity
from latens_export.checks.reference import measure_reference
from latens_export.checks.test_embeddings import make_atlas
from latens_export.graphs.pixels import with_byte_input, with_byte_output
from latens_export.graphs.precision import DEFAULT_TOLERANCE, Precision
from latens_export.graphs.splitting import measure, split
from latens_serving.bundle.schema import (
    PROBE_FILE,
    BundleManifest,
    LatentContract,
    LatentUnit,
    Likelihood,
    Posterior,
    Probe,
    Provenance,
    Reference,
    probe_bytes,
    record_of,
)
from latens_serving.bundle.test_embeddings import ATLAS_FILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from latens_export.checks.parity import Parity
    from latens_training.checkpoint import Checkpoint
    from latens_training.data.types import Dataset
    from latens_training.models.autoencoder import Autoencoder

ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"
ENCODER_UINT8_FILE = "encoder-uint8.onnx"
DECODER_UINT8_FILE = "decoder-uint8.onnx"
PROBE_ROWS = 8
_POSTERIORS = {
    "diagonal-gaussian": Posterior.DIAGONAL_GAUSSIAN,
    "deterministic": Posterior.POINT,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in memory: all but its version."""

    contract: LatentContract
    provenance: Provenance
    reference: Reference
    files: dict[str, bytes]
    parity: Parity

    def manifest(self, name: str, version: int) -> BundleManifest:
        """The content of `bundle.json` under a name and version."""
        records = {file: record_of(file, content) for file, content in self.files.items()}
        return BundleManifest(
            schema_version=1,
            name=name,
            version=version,
            contract=self.contract,
            encoder=records[ENCODER_FILE],
            decoder=records[DECODER_FILE],
            probe=records[PROBE_FILE],
            encoder_uint8=records.get(ENCODER_UINT8_FILE),
            decoder_uint8=records.get(DECODER_UINT8_FILE),
            atlas=records.get(ATLAS_FILE),
            reference=self.reference,
            provenance=self.provenance,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class BundleOptions:
    """What a bundle's maker chooses."""

    precision: Precision = Precision.FLOAT32
    tolerance: float = DEFAULT_TOLERANCE[Precision.FLOAT32]
    """The largest difference from torch that is accepted, and then promised."""
    atlas_images: int = 0
    """How many test images the atlas holds; 0 leaves it out."""
    byte_graphs: bool = True
    """Whether both graphs come a second time, with pixels 0..255."""


def make_bundle(
    checkpoint: Checkpoint, dataset: Dataset, options: BundleOptions, step: Callable[[str], None]
) -> Bundle:
    """Makes a checkpoint's bundle, and proves that its graphs are its network.

    Args:
        checkpoint: the trained model.
        dataset: the images it was trained for. The test split proves, the other one calibrates.
        options: what there is to choose.
        step: told what begins, in a few words.

    Raises:
        GraphError: the network cannot be written as graphs.
        ParityError: the graphs differ from the network by more than the tolerance.
        UsageError: the precision does nothing for this network.
    """
    model, test = checkpoint.model, dataset.test
    graphs = split(model, options.precision, dataset.train.images, step)
    step("comparing the graphs with the network")
    measured = measure(model, graphs, options.precision, test.images)
    parity.require(measured, options.tolerance)
    files = {
        ENCODER_FILE: graphs.encoder,
        DECODER_FILE: graphs.decoder,
        PROBE_FILE: probe_bytes(_probe(model, test.images)),
    }
    if options.byte_graphs:
        files[ENCODER_UINT8_FILE] = with_byte_input(graphs.encoder)
        files[DECODER_UINT8_FILE] = with_byte_output(graphs.decoder)
    if options.atlas_images:
        step("placing test images on the atlas")
        files[ATLAS_FILE] = make_atlas(model, test.images, test.labels, options.atlas_images)
    step("measuring the test set, for servers to tell drift by")
    contract = _contract(checkpoint, options)
    reference = measure_reference(graphs, contract, test.images)
    return Bundle(contract, _provenance(checkpoint), reference, files, measured)


def _probe(model: Autoencoder, images: Tensor) -> Probe:
    """A few real images, their means and as many draws from the prior, with torch's answers."""
    pixels = parity.pixels_of(images[:PROBE_ROWS])
    posterior = parity.reference_posterior(model, pixels)
    latents = np.concatenate([posterior["mean"], parity.prior_draws(model, len(pixels))])
    return Probe(
        images=pixels,
        mean=posterior["mean"],
        log_var=posterior.get("log_var"),
        latents=latents,
        decoded=parity.reference_images(model, latents),
    )


def _contract(checkpoint: Checkpoint, options: BundleOptions) -> LatentContract:
    config, model = checkpoint.config, checkpoint.model
    return LatentContract(
        image_shape=model.image_shape,
        latent_shape=model.latent_shape,
        architecture=config.model.architecture,
        beta=config.loss.beta,
        dataset=config.data.dataset,
        likelihood=Likelihood(config.loss.likelihood),
        sigma=config.loss.sigma,
        posterior=_POSTERIORS[model.posterior],
        precision=options.precision,
        tolerance=options.tolerance,
        parameter_count=sum(parameter.numel() for parameter in model.parameters()),
        latent_units=tuple(
            LatentUnit(kl=unit.kl, mean=unit.mean, std=unit.std) for unit in checkpoint.latent_units
        ),
        attributes=checkpoint.attribute_vectors,
    )


def _provenance(checkpoint: Checkpoint) -> Provenance:
    return Provenance(
        created=_now(),
        framework=f"torch {torch.__version__}, Python {platform.python_version()}",
        metrics=checkpoint.metrics,
        training=checkpoint.config.model_dump(mode="json"),
    )


def _now() -> datetime:
    """The time, or what SOURCE_DATE_EPOCH says it is (reproducible-builds.org)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
