"""Encodes and decodes without a server: for programs that embed a model.

```python
from latens_serving import Decoder, Encoder

encoder = Encoder("models/mnist")
posterior = encoder(images)              # {"mean": [n, *latent_shape], "log_var": ...}
images = Decoder("models/mnist")(posterior["mean"])
```
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from latens_serving.bundle.files import read_manifest
from latens_serving.bundle.schema import VERSION_NAME, BundleError, BundleManifest
from latens_serving.bundle.spec import ModelSpec, SpecError
from latens_serving.engine.errors import EngineError
from latens_serving.engine.onnx import CPU_PROVIDER, Device, Engine, EngineSettings
from latens_serving.errors import BundleRefusedError, InvalidInputError
from latens_serving.models.loading import check_signature, opened_engines, probe_of
from latens_serving.models.pixels import as_bytes, as_floats
from latens_serving.models.probe import check_probe

Floats = NDArray[np.float32]

# Large enough to keep the processor busy, small enough that padding costs little.
_RUN_BYTES, _RUN_ROWS = 256 << 10, 64
_GPU_RUN_BYTES, _GPU_RUN_ROWS = 32 << 20, 1024


class _Codec:
    """What `Encoder` and `Decoder` share: a bundle that is verified and opened at the first use."""

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

    def _run(
        self, graph: str, rows: NDArray[Any], row_shape: tuple[int, ...]
    ) -> list[NDArray[Any]]:
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


class Encoder(_Codec):
    """Encodes images with the encoder of a bundle, in this process.

    A row's latents do not depend on the other rows of its call. An encoder can be pickled: the copy
    reads and verifies the bundle itself, so the bundle's folder must be there. Not to be called
    from two threads at a time.

    Args:
        bundle: the folder of a model, `models/mnist` (its newest version), or of one version,
            `models/mnist/3`.
        device: `auto` (the GPU where there is one, else the CPU), `cpu` or `cuda`.
        device_id: which GPU.
        threads: threads of one operator on the CPU.
        batch_rows: rows of one run; None for a number that suits the size of the images.

    Raises:
        BundleRefusedError: the bundle is damaged, incomplete or unlike its probe. From the
            constructor for the manifest, from the first call for the graphs.
        ValueError: another argument is invalid.
    """

    _graphs = ("encoder", "encoder_uint8")

    def __call__(self, images: NDArray[Any]) -> dict[str, Floats]:
        """Encodes images to the parameters of their approximate posterior q(z|x).

        Args:
            images: `[n, channels, height, width]`: uint8 in 0..255, or floating in [0, 1].

        Returns:
            `mean` and, unless the model is deterministic, `log_var`: float32 `[n, *latent_shape]`.

        Raises:
            InvalidInputError: shape, type or values are not those of the model's images.
            EngineError: the engine failed.
        """
        images = np.asarray(images)
        row_shape = _matching("images", images, self.manifest.spec.latent_shape_of)
        if images.dtype == np.uint8 and "encoder_uint8" in self.manifest.graphs:
            outputs = self._run("encoder_uint8", images, row_shape)
        else:
            outputs = self._run("encoder", _pixels(images), row_shape)
        return dict(zip(("mean", "log_var"), outputs, strict=False))


class Decoder(_Codec):
    """Decodes latents with the decoder of a bundle, in this process.

    Arguments, pickling and errors are those of `Encoder`.
    """

    _graphs = ("decoder", "decoder_uint8")

    def __call__(self, latents: NDArray[Any], dtype: str = "float32") -> NDArray[Any]:
        """Decodes latents to images: the mean of p(x|z).

        Args:
            latents: `[n, *latent_shape]`, finite.
            dtype: of the images: `float32` in [0, 1], or `uint8` in 0..255.

        Returns:
            `[n, channels, height, width]`.

        Raises:
            InvalidInputError: shape or values are not those of the model's latents.
            EngineError: the engine failed.
        """
        latents = np.asarray(latents, np.float32)
        row_shape = _matching("latents", latents, self.manifest.spec.data_shape_of)
        if not np.isfinite(latents).all():
            raise InvalidInputError.at("latents", "expected finite values")
        if dtype not in ("float32", "uint8"):
            raise ValueError(f"dtype: expected float32 or uint8, got {dtype!r}")
        (images,) = self._run("decoder", latents, row_shape)
        return images if dtype == "float32" else as_bytes(images)


def _matching(
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


def _pixels(images: NDArray[Any]) -> Floats:
    if images.dtype == np.uint8:
        return as_floats(images)
    if images.dtype.kind != "f":
        raise InvalidInputError.at("images", f"expected uint8 or floats, got {images.dtype}")
    if len(images) and not (images.min() >= 0 and images.max() <= 1):  # NaN is refused, too
        raise InvalidInputError.at("images", "expected floats in 0..1")
    return images.astype(np.float32, copy=False)


def _rows_of_a_run(provider: str, spec: ModelSpec) -> int:
    """A power of two, which depends on the sizes of the float rows and the provider alone."""
    on_cpu = provider == CPU_PROVIDER
    size, most = (_RUN_BYTES, _RUN_ROWS) if on_cpu else (_GPU_RUN_BYTES, _GPU_RUN_ROWS)
    row_bytes = 4 * max(math.prod(spec.usual_data_shape), math.prod(spec.usual_latent_shape))
    fitting = max(1, size // row_bytes)
    return min(most, 1 << (fitting.bit_length() - 1))
