"""`latens-serve --self-test`: loads, verifies and runs every bundle as a server would, and reports.

An operator runs it first on a new node: it opens no port and ends by itself.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import numpy as np

from latens_serving.calls.free_memory import resident_bytes
from latens_serving.engine.batch import BatchReport
from latens_serving.engine.batcher import Batcher
from latens_serving.models.entry import Entry, State
from latens_serving.models.graph_shapes import input_shapes
from latens_serving.models.loading import load
from latens_serving.models.model import LoadedModel
from latens_serving.models.repository import Repository
from latens_serving.settings import Settings
from latens_serving.startup import check_models

_BATCH_ROWS = (1, 8, 64, 1024)
_REPEATS = 5
# A larger batch is not measured when it is expected to take longer.
_LONGEST_SECONDS = 5.0
_LARGEST_BYTES = 256 << 20
_COLUMNS = ("model", "graph", "provider", "rows", "milliseconds", "rows/s")


@dataclass(frozen=True, slots=True)
class Measured:
    """The median time of runs of one graph with one number of rows, through its batcher."""

    graph: str
    rows: int
    seconds: float


class _Silent:
    """Ignores the events of models: nothing is served."""

    def ran(self, model: str, graph: str, provider: str, report: BatchReport) -> None:
        """Ignores a run: they are timed by their caller."""

    def recomputed(self, model: str, graph: str, rows: int) -> None:
        """Ignores rows of float16 that overflow."""

    def lost(self, model: str, graph: str, error: BaseException) -> None:
        """Ignores a lost engine: the call that met it fails, and the self-test with it."""


async def self_test(settings: Settings) -> bool:
    """Tests every version in the repository, and prints a table.

    Returns:
        Whether a server would serve all of it, on the device that was asked for.

    Raises:
        NothingToServeError: no version can be served.
        UnknownDefaultModelError: the configured default model does not exist.
        DeviceUnavailableError: the device is not there.
    """
    before = resident_bytes()
    models = _repository(settings)
    await models.refresh()
    try:
        check_models(models, settings.repository)
        entries = models.entries()
        _print_row(_COLUMNS)
        doubts = [doubt for entry in entries async for doubt in _tested(entry)]
        print(f"\nresident memory: {_mib(resident_bytes())}, before the models {_mib(before)}")
    finally:
        models.close()
    if any(entry.model and entry.model.device_fallback for entry in entries):
        print("no GPU could be used, and --device=auto allows the CPU; --device=cuda would not")
    _print_verdict(entries, doubts)
    return not doubts


def _repository(settings: Settings) -> Repository:
    return Repository(
        settings.repository,
        functools.partial(load, options=settings.load_options(), observer=_Silent()),
        default_model=settings.default_model,
        max_versions=settings.max_versions,
        load_seconds=settings.load_seconds,
    )


async def _tested(entry: Entry) -> AsyncIterator[str]:
    """Measures one version, printing as it goes; yields each doubt."""
    name = f"{entry.name}/{entry.version}"
    if entry.state is not State.READY or entry.model is None:
        yield f"{name} was refused: {entry.reason}"
        return
    model = entry.model
    for graph, batcher in model.batchers.items():
        async for found in _measured(model, graph, batcher):
            milliseconds = f"{found.seconds * 1e3:.3f}"
            rate = f"{found.rows / found.seconds:,.0f}"
            _print_row((name, graph, model.provider, found.rows, milliseconds, rate))


async def _measured(model: LoadedModel, graph: str, batcher: Batcher) -> AsyncIterator[Measured]:
    shape = input_shapes(model.spec, graph).usual
    dtype = np.uint8 if graph == "encoder_uint8" else np.float32
    row_bytes = max(math.prod(shape), math.prod(model.spec.usual_data_shape)) * 4
    last: Measured | None = None
    for rows in _BATCH_ROWS:
        if last is not None and last.seconds * rows / last.rows * _REPEATS > _LONGEST_SECONDS:
            return
        if rows > 1 and rows * row_bytes > _LARGEST_BYTES:
            return
        last = Measured(graph, rows, await _median(batcher, np.zeros((rows, *shape), dtype)))
        yield last


async def _median(batcher: Batcher, batch: np.ndarray) -> float:
    seconds = []
    for _ in range(1 + _REPEATS):  # the first run of a batch size allocates
        begun = time.perf_counter()
        await batcher.submit(batch)
        seconds.append(time.perf_counter() - begun)
        if sum(seconds) > _LONGEST_SECONDS:
            break
    return sorted(seconds)[len(seconds) // 2]


def _print_row(cells: Iterable[object]) -> None:
    model, graph, provider, rows, milliseconds, rate = map(str, cells)
    print(f"{model:24} {graph:14} {provider:22} {rows:>6} {milliseconds:>13} {rate:>12}")


def _print_verdict(entries: list[Entry], doubts: list[str]) -> None:
    if doubts:
        print("\nself-test: FAILED", *(f"  {doubt}" for doubt in doubts), sep="\n")
    else:
        counted = "1 version" if len(entries) == 1 else f"{len(entries)} versions"
        print(f"\nself-test: passed, {counted}")


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
