"""From a bundle on disk to a model that may answer: verified, probed, warmed, or refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latens_serving.bundle.schema import (
    BundleError,
    BundleManifest,
    read_manifest,
    read_probe,
    verified_bytes,
)
from latens_serving.bundle.test_embeddings import Atlas, read_atlas
from latens_serving.engine.batcher import Batcher, BatchLimits, BatchReport
from latens_serving.engine.factory import open_engine
from latens_serving.engine.onnx import (
    CPU_PROVIDER,
    DeviceLostError,
    DeviceMemoryError,
    Engine,
    EngineError,
    EngineSettings,
)
from latens_serving.errors import BundleRefusedError, EngineFailedError, OutOfDeviceMemoryError
from latens_serving.models.model import CallLimits, LoadedModel
from latens_serving.models.probe import check_probe
from latens_serving.models.statistics import GraphStatistics

Floats = NDArray[np.float32]

# A run on the CPU longer than this makes everyone else wait for too long.
_LONGEST_CPU_RUN_SECONDS = 0.05
_SMALLEST_BATCH = 16
_MEASURED_ROWS = 64
_MEASUREMENTS = 3


class ModelObserver(Protocol):
    """Told what happens in a loaded model."""

    def ran(self, model: str, graph: str, provider: str, report: BatchReport) -> None:
        """A batch was run."""

    def lost(self, model: str, graph: str, error: BaseException) -> None:
        """An engine is gone; only a new process helps."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How models are loaded and run."""

    engine: EngineSettings = field(default_factory=EngineSettings)
    max_rows: int = 16384
    max_row_passes: int = 1_000_000
    max_message_bytes: int = 64 << 20
    max_batch_rows: int = 8192
    queue_rows: int = 65536
    queue_bytes: int = 256 << 20
    inline_seconds: float = 0.001
    """Runs shorter than this stay in the event loop: a thread's hand-over costs more."""
    stuck_seconds: float = 120.0
    """A run that takes longer will not end; the engine is given up."""


def load(directory: Path, options: LoadOptions, observer: ModelObserver) -> LoadedModel:
    """Loads one version of one model; blocks for as long as that takes.

    Raises:
        BundleRefusedError: it cannot be served; the message says why.
    """
    try:
        return _load(directory, options, observer)
    except (BundleError, EngineError) as error:
        raise BundleRefusedError(str(error)) from error


def _load(directory: Path, options: LoadOptions, observer: ModelObserver) -> LoadedModel:
    manifest = read_manifest(directory)
    probe = read_probe(verified_bytes(directory, manifest.probe), manifest.contract)
    settings = _engine_settings(manifest, options)
    engines = {
        graph: open_engine(verified_bytes(directory, record), settings)
        for graph, record in manifest.graphs.items()
    }
    _check_signature(manifest, engines)
    check_probe(probe, engines, manifest.contract.tolerance)
    limits = CallLimits.for_contract(
        manifest.contract, options.max_rows, options.max_message_bytes, options.max_row_passes
    )

    def close() -> None:
        for engine in engines.values():
            engine.close()

    statistics = {"encoder": GraphStatistics(), "decoder": GraphStatistics()}
    observer = _Counting(observer, statistics)
    return LoadedModel(
        manifest,
        {
            graph: _batcher(graph, engine, manifest, options, observer)
            for graph, engine in engines.items()
        },
        statistics,
        limits,
        provider=engines["encoder"].provider,
        device_fallback=any(engine.device_fallback for engine in engines.values()),
        atlas=_atlas(directory, manifest),
        probe=probe,
        close=close,
    )


def _engine_settings(manifest: BundleManifest, options: LoadOptions) -> EngineSettings:
    """The server's settings, with TF32 where the bundle declares it."""
    declared = manifest.contract.precision == "tf32"
    return replace(options.engine, tf32=options.engine.tf32 or declared)


@dataclass(frozen=True, slots=True)
class _Counting:
    """Counts the runs of one model and passes them on; a graph's two forms count as one."""

    observer: ModelObserver
    statistics: dict[str, GraphStatistics]

    def ran(self, model: str, graph: str, provider: str, report: BatchReport) -> None:
        self.statistics[graph.removesuffix("_uint8")].add(report)
        self.observer.ran(model, graph, provider, report)

    def lost(self, model: str, graph: str, error: BaseException) -> None:
        self.observer.lost(model, graph, error)


def _atlas(directory: Path, manifest: BundleManifest) -> Atlas | None:
    if manifest.atlas is None:
        return None
    return read_atlas(verified_bytes(directory, manifest.atlas), manifest.contract)


def _check_signature(manifest: BundleManifest, engines: Mapping[str, Engine]) -> None:
    """The graphs' shapes and types are those that the contract promises."""
    contract = manifest.contract
    image, latent = tuple(contract.image_shape), tuple(contract.latent_shape)
    heads = [latent] if contract.posterior == "point" else [latent, latent]
    for graph, engine in engines.items():
        pixels = "uint8" if graph.endswith("_uint8") else "float32"
        encodes = graph.startswith("encoder")
        taken = (image, pixels) if encodes else (latent, "float32")
        given = [(head, "float32") for head in heads] if encodes else [(image, pixels)]
        for what, specs, expected in (
            ("input", (engine.input,), [taken]),
            ("outputs", engine.outputs, given),
        ):
            got = [(spec.row_shape, spec.dtype.name) for spec in specs]
            if got != expected:
                raise BundleError(
                    f"{graph} {what}: the contract says rows of {expected}, the graph has {got}"
                )


def _batcher(
    graph: str,
    engine: Engine,
    manifest: BundleManifest,
    options: LoadOptions,
    observer: ModelObserver,
) -> Batcher:
    cost = _measure(engine)
    name = manifest.name

    def lost(error: BaseException) -> None:
        observer.lost(name, graph, error)

    return Batcher(
        _translated(engine, lost),
        BatchLimits(
            cost.batch_rows(engine, options.max_batch_rows),
            options.queue_rows,
            options.queue_bytes,
            options.stuck_seconds,
        ),
        runs_inline=lambda rows: cost.seconds(rows) < options.inline_seconds,
        report=lambda report: observer.ran(name, graph, engine.provider, report),
        died=lost,
        name=f"{name}-{manifest.version}-{graph}",
        seconds_a_row=cost.row_seconds,
    )


@dataclass(frozen=True, slots=True)
class RunCost:
    """What a run of n rows takes, as a line through two measurements."""

    start_seconds: float
    row_seconds: float

    def seconds(self, rows: int) -> float:
        return self.start_seconds + self.row_seconds * rows

    def batch_rows(self, engine: Engine, most: int) -> int:
        """The largest power of two whose run is not too long; on a GPU, as many as allowed."""
        if engine.provider != CPU_PROVIDER:
            return most
        fitting = int(_LONGEST_CPU_RUN_SECONDS / max(self.row_seconds, 1e-9))
        return min(most, max(_SMALLEST_BATCH, 1 << max(fitting.bit_length() - 1, 0)))


def _measure(engine: Engine) -> RunCost:
    """Warms the engine, and measures it on the way."""
    one, many = (_run_seconds(engine, rows) for rows in (1, _MEASURED_ROWS))
    row = max(many - one, 0.0) / (_MEASURED_ROWS - 1)
    return RunCost(max(one - row, 0.0), row)


def _run_seconds(engine: Engine, rows: int) -> float:
    batch = np.zeros((rows, *engine.input.row_shape), engine.input.dtype)
    engine.run(batch)  # the first one allocates
    seconds = []
    for _ in range(_MEASUREMENTS):
        begun = time.perf_counter()
        engine.run(batch)
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def _translated(
    engine: Engine, lost: Callable[[BaseException], None]
) -> Callable[[Floats], tuple[Floats, ...]]:
    """The engine's run, its failures put into the service's words."""

    def run(rows: Floats) -> tuple[Floats, ...]:
        try:
            return engine.run(rows)
        except DeviceMemoryError as error:
            raise OutOfDeviceMemoryError(
                f"the device has not enough memory for {len(rows)} rows; send fewer"
            ) from error
        except DeviceLostError as error:
            lost(error)
            raise EngineFailedError("the device is lost") from error

    return run
