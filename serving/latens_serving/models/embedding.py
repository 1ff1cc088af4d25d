"""Encodes and decodes without a server: for programs that embed a model.

```python
from latens_serving import Decoder, Encoder

encoder = Encoder("models/mnist")
posterior = encoder(images)              # {"mean": [n, *latent_shape], "log_var": ...}
images = Decoder("models/mnist")(posterior["mean"])
```
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens_serving.bundle.spec import ModelSpec
from latens_serving.errors import InvalidInputError
from latens_serving.models.codec import Codec, matching, version_directory
from latens_serving.models.pixels import as_bytes, as_floats

__all__ = ["Decoder", "Encoder", "version_directory"]

Floats = NDArray[np.float32]


class Encoder(Codec):
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

    _graphs = ("encoder", "encoder_uint8", "encoder_float32")

    def __call__(
        self, images: NDArray[Any], labels: NDArray[Any] | int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Encodes images to the parameters of their approximate posterior q(z|x).

        Args:
            images: `[n, channels, height, width]`: uint8 in 0..255, or floating in [0, 1]; of
                another modality items `[n, *data_shape]`, floating.
            labels: of a conditional model the class of each row, `[n]`, or one for all.

        Returns:
            `mean` and, unless the model is deterministic, `log_var`: float32 `[n, *latent_shape]`.
            Of a model with a codebook `codes` alone: int64 `[n, *latent_shape]`.

        Raises:
            InvalidInputError: shape, type or values are not those of the model's images.
            EngineError: the engine failed.
        """
        images, spec = np.asarray(images), self.manifest.spec
        row_shape = matching(spec.data_field, images, spec.latent_shape_of)
        if images.dtype == np.uint8 and "encoder_uint8" in self.manifest.graphs:
            graph, rows = "encoder_uint8", images
        else:
            graph, rows = "encoder", _pixels(images) if spec.is_image else _items(images)
        rows = self.with_labels(rows, labels)
        outputs = self.run(graph, rows, row_shape)
        self.mend("encoder", outputs, rows, row_shape)
        return dict(zip(spec.encoded_fields, outputs, strict=True))


class Decoder(Codec):
    """Decodes latents with the decoder of a bundle, in this process.

    Arguments, pickling and errors are those of `Encoder`.
    """

    _graphs = ("decoder", "decoder_float32")

    def __call__(
        self,
        latents: NDArray[Any],
        dtype: str = "float32",
        labels: NDArray[Any] | int | None = None,
    ) -> NDArray[Any]:
        """Decodes latents to images: the mean of p(x|z).

        Args:
            latents: `[n, *latent_shape]`, finite; of a model with a codebook its codes, int64.
            dtype: of the images: `float32` in [0, 1], or `uint8` in 0..255.
            labels: as for `Encoder`.

        Returns:
            `[n, channels, height, width]`, or items `[n, *data_shape]` of another modality.

        Raises:
            InvalidInputError: shape or values are not those of the model's latents.
            EngineError: the engine failed.
        """
        spec = self.manifest.spec
        latents = _latents(np.asarray(latents), spec)
        row_shape = matching(spec.latent_field, latents, spec.data_shape_of)
        types = ("float32", "uint8") if spec.is_image else ("float32",)
        if dtype not in types:
            raise ValueError(f"dtype: expected {' or '.join(types)}, got {dtype!r}")
        rows = self.with_labels(latents, labels)
        outputs = self.run("decoder", rows, row_shape)
        self.mend("decoder", outputs, rows, row_shape)
        (images,) = outputs
        return images if dtype == "float32" else as_bytes(images)


def _pixels(images: NDArray[Any]) -> Floats:
    if images.dtype == np.uint8:
        return as_floats(images)
    if images.dtype.kind != "f":
        raise InvalidInputError.at("images", f"expected uint8 or floats, got {images.dtype}")
    if len(images) and not (images.min() >= 0 and images.max() <= 1):  # NaN is refused, too
        raise InvalidInputError.at("images", "expected floats in 0..1")
    return images.astype(np.float32, copy=False)


def _items(items: NDArray[Any]) -> Floats:
    if items.dtype.kind != "f" or not np.isfinite(items).all():
        raise InvalidInputError.at("items", "expected finite floats")
    return items.astype(np.float32, copy=False)


def _latents(latents: NDArray[Any], spec: ModelSpec) -> NDArray[Any]:
    if spec.codebook_size is None:
        latents = latents.astype(np.float32, copy=False)
        if not np.isfinite(latents).all():
            raise InvalidInputError.at("latents", "expected finite values")
        return latents
    size = spec.codebook_size
    if latents.dtype.kind not in "iu" or (
        latents.size and not (latents.min() >= 0 and latents.max() < size)
    ):
        raise InvalidInputError.at("codes", f"expected whole numbers from 0 to {size - 1}")
    return latents.astype(np.int64, copy=False)
