"""From a checkpoint to a bundle: graphs, their check against the network, probe and manifest."""

from __future__ import annotations

import dataclasses
import os
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import torch

from export import parity
from export.atlas import make_atlas
from export.graphs import decoder_graph, encoder_graph
from serving.atlas import ATLAS_FILE
from serving.bundle import (
    PROBE_FILE,
    BundleManifest,
    LatentContract,
    LatentUnit,
    Likelihood,
    Posterior,
    Probe,
    Provenance,
    probe_bytes,
    record_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from export.parity import Parity
    from training.checkpoint import Checkpoint
    from training.models import Autoencoder

ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"
PROBE_ROWS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in memory: all but its version."""

    contract: LatentContract
    provenance: Provenance
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
            atlas=records.get(ATLAS_FILE),
            provenance=self.provenance,
        )


def make_bundle(
    checkpoint: Checkpoint,
    images: Tensor,
    tolerance: float,
    step: Callable[[str], None],
    *,
    labels: Tensor | None = None,
    atlas_images: int = 0,
) -> Bundle:
    """Makes a checkpoint's bundle, and proves that its graphs are its network.

    Args:
        checkpoint: the trained model.
        images: real test images, uint8 [n, c, h, w].
        tolerance: the largest difference from torch that is accepted, and then promised.
        step: told what begins, in a few words.
        labels: the images' labels, int64 [n], for the atlas.
        atlas_images: how many of the images the atlas holds; 0 leaves it out.

    Raises:
        GraphError: the network cannot be written as graphs.
        ParityError: the graphs differ from the network by more than the tolerance.
    """
    model = checkpoint.model
    step("writing the encoder's graph")
    encoder = encoder_graph(model)
    step("writing the decoder's graph")
    decoder = decoder_graph(model)
    step("comparing the graphs with the network")
    measured = parity.measure(model, encoder, decoder, images)
    parity.require(measured, tolerance)
    files = {
        ENCODER_FILE: encoder,
        DECODER_FILE: decoder,
        PROBE_FILE: probe_bytes(_probe(model, images)),
    }
    if atlas_images:
        step("placing test images on the atlas")
        files[ATLAS_FILE] = make_atlas(model, images, labels, atlas_images)
    return Bundle(_contract(checkpoint, tolerance), _provenance(checkpoint), files, measured)


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


def _contract(checkpoint: Checkpoint, tolerance: float) -> LatentContract:
    config, model = checkpoint.config, checkpoint.model
    return LatentContract(
        image_shape=model.image_shape,
        latent_shape=model.latent_shape,
        architecture=config.model.architecture,
        beta=config.loss.beta,
        dataset=config.data.dataset,
        likelihood=Likelihood(config.loss.likelihood),
        sigma=config.loss.sigma,
        posterior=Posterior(model.posterior),
        tolerance=tolerance,
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
