"""Loads a bundle: verifies it, runs its probe on the device that will serve, warms it up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from latens_serving.bundle.files import LARGEST_NPZ, read_manifest, verified_bytes, verified_graph
from latens_serving.bundle.prior import LARGEST_PRIOR, FittedPrior, read_prior
from latens_serving.bundle.probe import Probe, read_probe
from latens_serving.bundle.schema import BundleError, BundleManifest
from latens_serving.bundle.spec import ModelSpec
from latens_serving.bundle.test_embeddings import LARGEST_EMBEDDINGS, Embeddings, read_embeddings
from latens_serving.engine import run_cost
from latens_serving.engine.batcher import Batcher, BatchLimits
from latens_serving.engine.errors import EngineError
from latens_serving.engine.factory import open_engine
from latens_serving.engine.onnx import Engine, EngineSettings
from latens_serving.engine.run_seconds import RunSeconds
from latens_serving.errors import BundleRefusedError
from latens_serving.models.graph_shapes import answer_bytes, encodes, input_shapes
from latens_serving.models.model import CallLimits, LoadedModel, smallest_row_bytes
from latens_serving.models.probe import check_probe
from latens_serving.models.statistics import GraphRecorder, GraphStatistics, ModelObserver
from latens_serving.models.tiles import NO_LIMIT, TileLimits, batch_elements


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """The settings by which models are loaded and run; see `Settings.load_options`."""

    engine: EngineSettings
    max_rows: int
    max_row_passes: int
    max_message_bytes: int
    max_batch_rows: int
    queue_rows: int
    queue_bytes: int
    inline_seconds: float
    stuck_seconds: float
    tiles: TileLimits = NO_LIMIT


class _Parts(NamedTuple):
    """What a bundle holds besides its graphs."""

    manifest: BundleManifest
    probe: Probe
    embeddings: Embeddings | None
    prior: FittedPrior | None


def load(directory: Path, options: LoadOptions, observer: ModelObserver) -> LoadedModel:
    """Loads one version of one model; blocks.

    Raises:
        BundleRefusedError: it cannot be served; the message says why.
    """
    try:
        manifest = read_manifest(directory)
        probe = probe_of(directory, manifest)
        embeddings = _embeddings(directory, manifest)
        prior = _prior(directory, manifest)
        _check_row_fits(manifest.spec, options.max_message_bytes)
        with opened_engines(directory, manifest, manifest.graphs, options.engine) as engines:
            check_signature(manifest, engines)
            check_probe(probe, engines, manifest.spec.tolerance)
            parts = _Parts(manifest, probe, embeddings, prior)
            return _model(parts, engines, options, observer)
    except (BundleError, EngineError) as error:
        raise BundleRefusedError(str(error)) from error


def probe_of(directory: Path, manifest: BundleManifest) -> Probe:
    return read_probe(verified_bytes(directory, manifest.probe, LARGEST_NPZ), manifest.spec)


def _embeddings(directory: Path, manifest: BundleManifest) -> Embeddings | None:
    record = manifest.test_embeddings
    if record is None:
        return None
    content = verified_bytes(directory, record, LARGEST_EMBEDDINGS)
    return read_embeddings(content, manifest.spec)


def _prior(directory: Path, manifest: BundleManifest) -> FittedPrior | None:
    if manifest.prior is None:
        return None
    content = verified_bytes(directory, manifest.prior, LARGEST_PRIOR)
    return read_prior(content, manifest.spec)


def _check_row_fits(spec: ModelSpec, message_bytes: int) -> None:
    """Refuses models of which not even one usual image, with its latents, fits into a message.

    Calls with larger images are refused one by one, so all that is allocated per row is bounded.
    """
    size = smallest_row_bytes(spec, spec.usual_data_shape)
    if size > message_bytes:
        raise BundleError(
            f"bundle.json: spec: one image with its latents takes {size} bytes, "
            f"a message holds {message_bytes} (--max-message-bytes)"
        )


@contextlib.contextmanager
def opened_engines(
    directory: Path, manifest: BundleManifest, graphs: Iterable[str], settings: EngineSettings
) -> Iterator[dict[str, Engine]]:
    """Opens the engine of each graph named; closes them if the block fails."""
    settings = _with_declared_precision(settings, manifest)
    engines: dict[str, Engine] = {}
    try:
        for graph in graphs:
            content = verified_graph(directory, manifest, graph)
            engines[graph] = open_engine(content, settings, is_free=manifest.spec.is_free)
            del content  # the engine has a copy of the weights
        yield engines
    except BaseException:
        for engine in engines.values():
            engine.close()
        raise


def _with_declared_precision(settings: EngineSettings, manifest: BundleManifest) -> EngineSettings:
    """The settings, with TF32 where the bundle declares it."""
    declared = manifest.spec.precision == "tf32"
    return replace(settings, tf32=settings.tf32 or declared)


def check_signature(manifest: BundleManifest, engines: Mapping[str, Engine]) -> None:
    """Compares the graphs' shapes and types with the spec."""
    spec = manifest.spec
    image, latent = (
        tuple(size or 0 for size in shape) for shape in (spec.data_shape, spec.latent_shape)
    )
    rows_of_data, rows_of_latents = spec.graph_shape(image), spec.graph_shape(latent)
    for graph, engine in engines.items():
        pixels = "uint8" if graph.endswith("_uint8") else "float32"
        taken = (
            (rows_of_data, pixels) if encodes(graph) else (rows_of_latents, spec.latent_dtype.name)
        )
        heads = [(latent, spec.latent_dtype.name) for _ in spec.encoded_fields]
        given = heads if encodes(graph) else [(image, pixels)]
        for what, found, expected in (
            ("input", (engine.input,), [taken]),
            ("outputs", engine.outputs, given),
        ):
            got = [(tensor.row_shape, tensor.dtype.name) for tensor in found]
            if got != expected:
                raise BundleError(
                    f"{graph} {what}: the spec says rows of {expected}, the graph has {got}"
                )


def _model(
    parts: _Parts,
    engines: Mapping[str, Engine],
    options: LoadOptions,
    observer: ModelObserver,
) -> LoadedModel:
    manifest = parts.manifest
    statistics = {"encoder": GraphStatistics(), "decoder": GraphStatistics()}
    batchers = {}
    for graph, engine in engines.items():
        # All forms of a graph count as one.
        counted = statistics[graph.partition("_")[0]]
        recorder = GraphRecorder(manifest.name, graph, engine.provider, counted, observer)
        batchers[graph] = _batcher(engine, recorder, options, manifest)
    return LoadedModel(
        manifest,
        batchers,
        statistics,
        CallLimits.for_spec(
            manifest.spec, options.max_rows, options.max_message_bytes, options.max_row_passes
        ),
        engines=tuple(engines.values()),
        test_embeddings=parts.embeddings,
        probe=parts.probe,
        fitted_prior=parts.prior,
        recomputed=partial(observer.recomputed, manifest.name),
        tiles=options.tiles,
    )


def _batcher(
    engine: Engine, recorder: GraphRecorder, options: LoadOptions, manifest: BundleManifest
) -> Batcher:
    spec, graph = manifest.spec, recorder.graph
    shapes = input_shapes(spec, graph)
    cost = run_cost.measure(engine, shapes, options.inline_seconds)
    return Batcher(
        engine.run,
        BatchLimits(
            options.max_batch_rows,
            min(
                cost.batch_elements(engine.provider, shapes.usual_elements),
                batch_elements(spec, graph, options.tiles),
            ),
            cost.part_elements(engine.provider, shapes.usual_elements),
            options.queue_rows,
            options.queue_bytes,
            options.stuck_seconds,
        ),
        runs_inline=cost.runs_inline,
        report=recorder.ran,
        died=recorder.lost,
        answer_bytes=answer_bytes(spec, graph, engine),
        name=f"{manifest.name}-{manifest.version}-{graph}",
        run_seconds=RunSeconds(cost.start_seconds, cost.element_seconds),
    )
