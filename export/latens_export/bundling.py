"""Writes a bundle: graphs, their check against the network, probe and manifest."""

from __future__ import annotations

import dataclasses
import os
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

from latens_export.checks import parity
from latens_export.checks.fitted_prior import fit_prior
from latens_export.checks.inputs import Inputs, inputs_of, require_shapes, values_of
from latens_export.checks.locality import measure_locality
from latens_export.checks.reference import measure_reference
from latens_export.checks.test_embeddings import make_atlas
from latens_export.errors import UsageError
from latens_export.graphs.exporting import OPSET
from latens_export.graphs.forms import (
    DECODER_FLOAT32_FILE,
    DECODER_UINT8_FILE,
    ENCODER_FLOAT32_FILE,
    ENCODER_UINT8_FILE,
    byte_graphs,
    float32_graphs,
    weights_of,
)
from latens_export.graphs.precision import Precision
from latens_export.graphs.splitting import split_within
from latens_export.network import Network
from latens_export.publish import publish, staging
from latens_serving.bundle.files import record_of
from latens_serving.bundle.prior import PRIOR_FILE, prior_bytes
from latens_serving.bundle.probe import PROBE_FILE, Probe, probe_bytes
from latens_serving.bundle.schema import BundleManifest, Provenance, Reference
from latens_serving.bundle.spec import ModelSpec, Prior
from latens_serving.bundle.test_embeddings import EMBEDDINGS_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from latens_export.checks.parity import Parity

ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"
PROBE_ROWS = 8
PROBE_ELEMENTS = 1 << 20


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
            encoder_float32=records.get(ENCODER_FLOAT32_FILE),
            decoder_float32=records.get(DECODER_FLOAT32_FILE),
            weights={
                graph: records[file]
                for graph in ("encoder", "decoder")
                if (file := f"{graph}.weights") in records
            },
            test_embeddings=records.get(EMBEDDINGS_FILE),
            prior=records.get(PRIOR_FILE),
            reference=self.reference,
            provenance=self.provenance,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class BundleOptions:
    """What goes into a bundle beside its two graphs, and how those are written."""

    atlas_images: int = 0
    """How many test images go into the bundle with their latents; 0 for none."""
    byte_graphs: bool = True
    """Whether both graphs are written a second time, for pixels 0..255, unless they are large."""
    umap: bool = False
    """Whether UMAP coordinates of these latents are computed; needs the extra `umap`."""
    float32_graphs: bool = False
    """Whether a bundle in float16 has its graphs in float32 as well, for rows that overflow."""
    opset: int | None = OPSET
    """Of the graphs; None for the one that runs quickest on this machine."""


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
    probe_inputs: Tensor | Sequence[Tensor],
    repository: Path,
    name: str,
    *,
    logits: bool = False,
    labels: Tensor | None = None,
    calibration: Tensor | None = None,
    prior_data: Tensor | None = None,
    provenance: tuple[dict[str, float], dict[str, Any]] = ({}, {}),
    options: BundleOptions = BundleOptions(),
    step: Callable[[str], None] = _say_nothing,
) -> WrittenBundle:
    """Exports an encoder and a decoder as the next version of a model in a repository.

    The bundle is written whole, once its graphs are proved to equal the modules, or not at all.
    What the spec says of value range and scaling is folded into the graphs.

    Args:
        encoder: data `[n, *data_shape]` in `spec.graph_range` to `(mean, log_var)`, or to `z`,
            `(z,)` or `(z, None)` if the posterior is deterministic. An `OnnxModule` is taken as is.
        decoder: latents `[n, *latent_shape]`, before scaling, to data in `spec.graph_range`.
        spec: what callers must know, the precision of the graphs and their tolerance among it.
        probe_inputs: real data that were not trained on, uint8 `[n, c, h, w]` of images, else
            float32; a sequence for several sizes. They prove the graphs, a few of them prove the
            bundle in each server, and drift is measured from them.
        repository: the model repository to add to; created if it does not exist.
        name: the model's name.
        logits: whether the decoder gives logits, whose sigmoid is the data.
        labels: of the probe inputs, int64 [n].
        calibration: real training data, as the probe inputs, for the ranges of integers; the
            probe inputs if None.
        prior_data: real training data to which a prior is fitted; the probe inputs if None and
            the spec says that the prior is fitted.
        provenance: figures of the test set by name, and the configuration of the training.
        options: what goes into the bundle beside the graphs.
        step: receives a line of text when a part of the work begins.

    Raises:
        GraphError: a module cannot be written as a graph, or is not what the spec says.
        HalfRangeError: float16 cannot hold what the network computes.
        ParityError: the graphs differ from the modules by more than the tolerance.
        UsageError: the precision does nothing for this network, or the inputs do not fit the spec.
        ExportError: the repository cannot be written.
    """
    network = Network(encoder, decoder, spec, logits=logits)
    inputs = inputs_of(spec, probe_inputs, labels, calibration)
    with staging(repository) as staged:
        bundle = make_bundle(network, inputs, prior_data, provenance, options, step)
        path = publish(staged, name, bundle.files, lambda version: bundle.manifest(name, version))
    return WrittenBundle(path, bundle)


def make_bundle(
    network: Network,
    inputs: Inputs,
    prior_data: Tensor | None,
    provenance: tuple[dict[str, float], dict[str, Any]],
    options: BundleOptions,
    step: Callable[[str], None],
) -> Bundle:
    """Makes a bundle in memory; see `write_bundle`."""
    require_shapes(network, inputs.batches)
    if options.umap and network.spec.has_codes:
        raise UsageError("umap: a model that encodes to codes has no means to lay out")
    graphs, measured = split_within(network, inputs, step, options.opset)
    files = {
        ENCODER_FILE: graphs.encoder,
        DECODER_FILE: graphs.decoder,
        PROBE_FILE: probe_bytes(_probe(network, inputs.first)),
        **weights_of(graphs),
    }
    is_half = network.spec.precision == Precision.FLOAT16
    if options.byte_graphs and network.spec.is_image:
        files |= byte_graphs(graphs, step, decoder=not is_half)
    if options.float32_graphs:
        files |= float32_graphs(network, inputs, options.opset, step)
    if options.atlas_images and not network.spec.has_codes:
        step("adding test images and their latents")
        files[EMBEDDINGS_FILE] = make_atlas(
            network, inputs.first, inputs.labels, options.atlas_images, umap=options.umap
        )
    if network.spec.prior is Prior.FITTED_GAUSSIAN:
        step("fitting a Gaussian to the encoded means, as the prior")
        data = inputs.first if prior_data is None else prior_data
        files[PRIOR_FILE] = prior_bytes(fit_prior(graphs, network.spec, data))
    step("measuring the test set as the reference for drift")
    reference = measure_reference(graphs, network.spec, inputs.first)
    if network.spec.is_free:
        step("finding whether large rows can be computed in tiles")
    found = measure_locality(network)
    spec = network.spec.model_copy(
        update={
            "error": measured.largest,
            "tiles": found.tiles,
            "halo": found.halo,
            "activation_bytes": found.activation_bytes,
        }
    )
    return Bundle(spec, _provenance(*provenance), reference, files, measured)


def _probe(network: Network, data: Tensor) -> Probe:
    """A few real rows, their means and as many other latents, with torch's answers."""
    rows = max(1, min(PROBE_ROWS, PROBE_ELEMENTS // data[0].numel()))
    values = values_of(data[:rows])
    posterior = parity.reference_posterior(network, values)
    mean = next(iter(posterior.values()))
    latents = parity.probing_latents(network, mean, values)
    return Probe(
        images=values,
        mean=mean,
        log_var=posterior.get("log_var"),
        latents=latents,
        decoded=parity.reference_data(network, latents),
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
