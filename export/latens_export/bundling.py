"""Writes a bundle: graphs, their check against the network, probe and manifest."""

from __future__ import annotations

import dataclasses
import os
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from latens_export.checks import parity
from latens_export.checks.reference import measure_reference
from latens_export.checks.test_embeddings import make_atlas
from latens_export.graphs.pixels import with_byte_input, with_byte_output
from latens_export.graphs.precision import Precision
from latens_export.graphs.splitting import split_within
from latens_export.network import ModulePair
from latens_export.publish import publish, staging
from latens_serving.bundle.files import record_of
from latens_serving.bundle.probe import PROBE_FILE, Probe, probe_bytes
from latens_serving.bundle.schema import (
    BundleManifest,
    Provenance,
    Reference,
)
from latens_serving.bundle.spec import ModelSpec
from latens_serving.bundle.test_embeddings import EMBEDDINGS_FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

    from latens_export.checks.parity import Parity
    from latens_export.network import Network

ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"
ENCODER_UINT8_FILE = "encoder-uint8.onnx"
DECODER_UINT8_FILE = "decoder-uint8.onnx"
PROBE_ROWS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in memory: all but its version."""

    spec: ModelSpec
    provenance: Provenance
    reference: Reference
    files: dict[str, bytes]
    parity: Parity

    def manifest(self, name: str, version: int) -> BundleManifest:
        """The content of `bundle.json` under a name and version."""
        records = {file: record_of(file, content) for file, content in self.files.items()}
        return BundleManifest(
            name=name,
            version=version,
            spec=self.spec,
            encoder=records[ENCODER_FILE],
            decoder=records[DECODER_FILE],
            probe=records[PROBE_FILE],
            encoder_uint8=records.get(ENCODER_UINT8_FILE),
            decoder_uint8=records.get(DECODER_UINT8_FILE),
            test_embeddings=records.get(EMBEDDINGS_FILE),
            reference=self.reference,
            provenance=self.provenance,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class BundleOptions:
    """What goes into a bundle beside its two graphs."""

    atlas_images: int = 0
    """How many test images go into the bundle with their latents; 0 for none."""
    byte_graphs: bool = True
    """Whether both graphs are written a second time, for pixels 0..255."""


@dataclasses.dataclass(frozen=True, slots=True)
class WrittenBundle:
    """A bundle in its repository."""

    path: Path
    bundle: Bundle


def _say_nothing(_: str) -> None:
    """The `step` of callers that do not follow the work."""


def write_bundle(
    encoder: nn.Module,
    decoder: nn.Module,
    spec: ModelSpec,
    probe_inputs: Tensor,
    repository: Path,
    name: str,
    *,
    labels: Tensor | None = None,
    calibration: Tensor | None = None,
    provenance: tuple[dict[str, float], dict[str, Any]] = ({}, {}),
    options: BundleOptions = BundleOptions(),
    step: Callable[[str], None] = _say_nothing,
) -> WrittenBundle:
    """Exports an encoder and a decoder as the next version of a model in a repository.

    The bundle is written whole, once its graphs are proved to equal the modules, or not at all.

    Args:
        encoder: images [n, c, h, w] in [0, 1] to `(mean, log_var)`; log_var is None if the
            posterior is deterministic.
        decoder: latents [n, *latent_shape] to logits [n, c, h, w], whose sigmoid is the image.
        spec: what callers must know, the precision of the graphs and their tolerance among it.
        probe_inputs: real images that were not trained on, uint8 [n, c, h, w]. They prove the
            graphs, a few of them prove the bundle in each server, and drift is measured from them.
        repository: the model repository to add to; created if it does not exist.
        name: the model's name.
        labels: of the probe inputs, int64 [n].
        calibration: real training images, uint8 [n, c, h, w], for the ranges of integers;
            the probe inputs if None.
        provenance: figures of the test set by name, and the configuration of the training.
        options: what goes into the bundle beside the graphs.
        step: receives a line of text when a part of the work begins.

    Raises:
        GraphError: a module cannot be written as a graph.
        ParityError: the graphs differ from the modules by more than the tolerance.
        UsageError: the precision does nothing for this network.
        ExportError: the repository cannot be written.
    """
    channels, height, width = spec.usual_data_shape
    network = ModulePair(encoder, decoder, (channels, height, width), spec.usual_latent_shape)
    images = ProbeImages(probe_inputs, labels, probe_inputs if calibration is None else calibration)
    with staging(repository) as staged:
        bundle = make_bundle(network, spec, images, provenance, options, step)
        path = publish(staged, name, bundle.files, lambda version: bundle.manifest(name, version))
    return WrittenBundle(path, bundle)


class ProbeImages(NamedTuple):
    """Real images: those that prove the graphs, their labels, and those that calibrate."""

    images: Tensor
    labels: Tensor | None
    calibration: Tensor


def make_bundle(
    network: Network,
    spec: ModelSpec,
    probe: ProbeImages,
    provenance: tuple[dict[str, float], dict[str, Any]],
    options: BundleOptions,
    step: Callable[[str], None],
) -> Bundle:
    """Makes a bundle in memory; see `write_bundle`."""
    graphs, measured = split_within(
        network, Precision(spec.precision), spec.tolerance, probe.calibration, probe.images, step
    )
    files = {
        ENCODER_FILE: graphs.encoder,
        DECODER_FILE: graphs.decoder,
        PROBE_FILE: probe_bytes(_probe(network, probe.images)),
    }
    if options.byte_graphs:
        files[ENCODER_UINT8_FILE] = with_byte_input(graphs.encoder)
        files[DECODER_UINT8_FILE] = with_byte_output(graphs.decoder)
    if options.atlas_images:
        step("adding test images and their latents")
        files[EMBEDDINGS_FILE] = make_atlas(
            network, probe.images, probe.labels, options.atlas_images
        )
    step("measuring the test set as the reference for drift")
    reference = measure_reference(graphs, spec, probe.images)
    return Bundle(spec, _provenance(*provenance), reference, files, measured)


def _probe(model: Network, images: Tensor) -> Probe:
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


def _provenance(metrics: dict[str, float], training: dict[str, Any]) -> Provenance:
    return Provenance(
        created=_now(),
        framework=f"torch {torch.__version__}, Python {platform.python_version()}",
        metrics=metrics,
        training=training,
    )


def _now() -> datetime:
    """The time, or what SOURCE_DATE_EPOCH says it is (reproducible-builds.org)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
