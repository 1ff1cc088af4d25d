"""What encoding and decoding without a server share: a bundle that is opened at the first use."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from latens_serving.bundle.conditional import joined
from latens_serving.bundle.files import read_manifest
from latens_serving.bundle.schema import VERSION_NAME, BundleError, BundleManifest
from latens_serving.bundle.spec import ModelSpec, SpecError
from latens_serving.engine.errors import EngineError
from latens_serving.engine.onnx import CPU_PROVIDER, Device, Engine, EngineSettings
from latens_serving.errors import BundleRefusedError, InvalidInputError
from latens_serving.models.loading import check_signature, opened_engines, probe_of
from latens_serving.models.overflow import has_overflow, overflowing_rows
from latens_serving.models.pixels import as_floats
from latens_serving.models.probe import check_probe

# Large enough to keep the processor busy, small enough that padding costs little.
_RUN_BYTES, _RUN_ROWS = 256 << 10, 64
_GPU_RUN_BYTES, _GPU_RUN_ROWS = 32 << 20, 1024


class Codec:
    """The base of `Encoder` and `Decoder`; their arguments are described there."""

    _graphs: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        bundle: str | Path,
        device: str = "auto",
        *,
        device_id: int = 0,
        threads: int = 1,
        batch_rows: int | None = None,
    ) -> None:
        self._directory = version_directory(Path(bundle))
        try:
            self.manifest: BundleManifest = read_manifest(self._directory)
        except BundleError as error:
            raise BundleRefusedError(f"{self._directory}: {error}") from error
        try:
            self._settings = EngineSettings(Device(device), device_id, threads)
        except ValueError:
            expected = ", ".join(Device)
            raise ValueError(f"device: expected one of {expected}, got {device!r}") from None
        if batch_rows is not None and batch_rows < 1:
            raise ValueError(f"batch_rows: expected 1 or more, got {batch_rows}")
        self._batch_rows = batch_rows
        self._engines: dict[str, Engine] = {}

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The model's version."""
        return str(self.manifest.version)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height, width; the usual ones of a model with free sizes."""
        return self.manifest.spec.usual_data_shape

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of the latent of an image of `image_shape`."""
        return self.manifest.spec.usual_latent_shape

    @property
    def provider(self) -> str:
        """The ONNX Runtime provider that runs the graphs."""
        return self._opened()[self._graphs[0]].provider

    @property
    def batch_rows(self) -> int:
        """Rows of one run of a graph."""
        if self._batch_rows is None:
            self._batch_rows = _rows_of_a_run(self.provider, self.manifest.spec)
        return self._batch_rows

    def close(self) -> None:
        """Frees the memory; the next call opens the graphs again."""
        for engine in self._engines.values():
            engine.close()
        self._engines = {}

    def __getstate__(self) -> dict[str, Any]:
        # A copy opens the bundle itself; its rows per run stay those of the original.
        return self.__dict__ | {"_engines": {}}

    def _opened(self) -> dict[str, Engine]:
        if not self._engines:
            try:
                self._engines = self._open()
            except (BundleError, EngineError) as error:
                raise BundleRefusedError(f"{self._directory}: {error}") from error
        return self._engines

    def _open(self) -> dict[str, Engine]:
        manifest = self.manifest
        graphs = [graph for graph in self._graphs if graph in manifest.graphs]
        with opened_engines(self._directory, manifest, graphs, self._settings) as engines:
            check_signature(manifest, engines)
            check_probe(probe_of(self._directory, manifest), engines, manifest.spec.tolerance)
            return engines

    def with_labels(self, rows: NDArray[Any], labels: NDArray[Any] | int | None) -> NDArray[Any]:
        """The rows as the graphs take them: of a conditional model with their classes.

        Raises:
            InvalidInputError: labels are missing, not taken, or none of the model's classes.
        """
        count = self.manifest.spec.label_count
        if count is None:
            if labels is not None:
                raise InvalidInputError.at("labels", "the model is not conditional: none taken")
            return rows
        if labels is None:
            raise InvalidInputError.at("labels", f"expected classes from 0 to {count - 1}")
        known = np.asarray(labels)
        if known.dtype.kind not in "iu" or known.shape not in ((), (len(rows),)):
            raise InvalidInputError.at("labels", f"expected a whole number, or {len(rows)} of them")
        if known.size and not (known.min() >= 0 and known.max() < count):
            raise InvalidInputError.at("labels", f"expected classes from 0 to {count - 1}")
        return joined(rows, np.broadcast_to(known.astype(np.int64), len(rows)))

    def run(self, graph: str, rows: NDArray[Any], row_shape: tuple[int, ...]) -> list[NDArray[Any]]:
        """Runs a graph over all rows; each output has rows of `row_shape`.

        Every run has the same number of rows, the last one padded: sums of another number of rows
        may differ in their last bits, and a row must not depend on what is encoded with it.
        """
        engine, size = self._opened()[graph], self.batch_rows
        outputs = [np.empty((len(rows), *row_shape), spec.dtype) for spec in engine.outputs]
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            count = len(batch)
            if count < size:
                batch = np.concatenate(
                    [batch, np.zeros((size - count, *rows.shape[1:]), rows.dtype)]
                )
            for output, got in zip(outputs, engine.run(np.ascontiguousarray(batch)), strict=True):
                output[start : start + count] = got[:count]
        return outputs

    def mend(
        self,
        graph: str,
        outputs: list[NDArray[Any]],
        inputs: NDArray[Any],
        row_shape: tuple[int, ...],
    ) -> None:
        """Replaces rows that are not finite by those of the graph in float32, in place.

        Raises:
            InvalidInputError: the bundle has no such graph, or they are not finite either.
        """
        if not has_overflow(tuple(outputs)):
            return
        rows = overflowing_rows(tuple(outputs))
        again: list[NDArray[Any]] = []
        if f"{graph}_float32" in self.manifest.graphs:
            floats = as_floats(inputs[rows]).astype(np.float32, copy=False)
            again = self.run(f"{graph}_float32", floats, row_shape)
        if not again or has_overflow(tuple(again)):
            precision = "float32" if again else self.manifest.spec.precision
            raise InvalidInputError.at(graph, f"overflows {precision} for {rows.sum()} rows")
        for whole, part in zip(outputs, again, strict=True):
            whole[rows] = part


def matching(
    what: str, rows: NDArray[Any], shape_of: Callable[[Sequence[int]], tuple[int, ...]]
) -> tuple[int, ...]:
    """The shape of an output's row, for rows of a shape that the model takes."""
    try:
        return shape_of(rows.shape[1:])
    except SpecError as error:
        raise InvalidInputError.at(what, str(error)) from error


def version_directory(bundle: Path) -> Path:
    """The folder of one version: the given one, or the newest version of the given model.

    Raises:
        BundleRefusedError: there is no such folder, or it holds no version.
    """
    bundle = bundle.absolute()
    if VERSION_NAME.match(bundle.name):
        return bundle
    if not bundle.is_dir():
        raise BundleRefusedError(f"no such model: {bundle}")
    versions = [path for path in bundle.iterdir() if VERSION_NAME.match(path.name)]
    if not versions:
        raise BundleRefusedError(f"{bundle}: expected a folder per version, got none")
    return max(versions, key=lambda path: int(path.name))


def _rows_of_a_run(provider: str, spec: ModelSpec) -> int:
    """A power of two, which depends on the sizes of the float rows and the provider alone."""
    on_cpu = provider == CPU_PROVIDER
    size, most = (_RUN_BYTES, _RUN_ROWS) if on_cpu else (_GPU_RUN_BYTES, _GPU_RUN_ROWS)
    row_bytes = 4 * max(math.prod(spec.usual_data_shape), math.prod(spec.usual_latent_shape))
    fitting = max(1, size // row_bytes)
    return min(most, 1 << (fitting.bit_length() - 1))
