"""Encodes a data set of Ray Data: the same encoder and preprocessing, on actors of a cluster.

```python
import ray
from latens_bulk.ray import encode

images = ray.data.read_parquet("s3://bucket/images")          # columns `id` and `image`
encode(images, "/models/mnist", concurrency=8).write_parquet("s3://bucket/latents")
```

`encode_parquet` does these three steps with Ray's checkpoints, so that a driver that died can be
started again. Ray is not among the dependencies: install `ray[data]`. The bundle must be readable
under the same path on every machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens_bulk.errors import BadDataError
from latens_bulk.preprocessing import FitRule, Preprocessing
from latens_serving import Encoder

_BLOCK_BYTES = 8 << 20
"""Of the blocks of a resumable run. Ray notes a block once it is written: small ones lose less."""
_CPUS = 0.5
"""Of one actor of a resumable run: where actors take every CPU, the reading of the noted ids waits
for ever."""


class EncodeBatch:
    """An actor's state: an encoder, opened once."""

    def __init__(
        self,
        bundle: str,
        device: str,
        threads: int,
        column: str,
        fit: FitRule,
        *,
        keep_images: bool,
    ) -> None:
        self._encoder = Encoder(bundle, device, threads=threads)
        self._preprocessing = Preprocessing(self._encoder.image_shape, fit)
        self._column = column
        self._keep_images = keep_images

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Adds `mean` and `log_var` to the columns of a batch, in place of the images."""
        images = batch[self._column]
        if images.dtype == object and isinstance(images.flat[0], bytes):
            decoded = self._preprocessing.decode(list(images))
        else:
            decoded = self._preprocessing.arrays(np.stack(list(images)))
        if decoded.failures:
            row, reason = decoded.failures[0]
            where = {name: values[row] for name, values in batch.items() if name != self._column}
            raise BadDataError(f"{where}: {reason}")
        kept = {
            name: values
            for name, values in batch.items()
            if self._keep_images or name != self._column
        }
        return kept | self._encoder(decoded.images)


def encode(
    dataset: Any,
    bundle: str,
    *,
    column: str = "image",
    fit: FitRule = "exact",
    device: str = "auto",
    threads: int = 1,
    concurrency: int = 2,
    batch_rows: int = 256,
    keep_images: bool = False,
    **resources: Any,
) -> Any:
    """Encodes the images of a `ray.data.Dataset`.

    Each row's latents are those of `latens_serving.Encoder`, however the rows are batched. An actor
    that dies is started again by Ray, and its rows are encoded again.

    Args:
        dataset: with a column of picture files (bytes) or of arrays of pixels.
        bundle: the model's folder, the same on every machine.
        column: the images.
        fit: how pictures of another size become the model's; see `latens-bulk encode --help`.
        device: `auto`, `cpu` or `cuda`.
        threads: of one actor's engine on the CPU.
        concurrency: how many actors.
        batch_rows: rows of one call of an actor.
        keep_images: whether the images stay among the columns.
        resources: of one actor, as for `map_batches`: `num_cpus`, `num_gpus`, `memory`.

    Returns:
        The data set with `mean` and, unless the model is deterministic, `log_var`; it is
        evaluated when it is consumed.
    """
    options = {
        "bundle": bundle,
        "device": device,
        "threads": threads,
        "column": column,
        "fit": fit,
        "keep_images": keep_images,
    }
    return dataset.map_batches(
        EncodeBatch,
        fn_constructor_kwargs=options,
        batch_size=batch_rows,
        batch_format="numpy",
        concurrency=concurrency,
        **resources,
    )


def encode_parquet(
    source: str,
    bundle: str,
    target: str,
    *,
    checkpoints: str,
    id_column: str = "id",
    block_bytes: int = _BLOCK_BYTES,
    num_cpus: float = _CPUS,
    **options: Any,
) -> None:
    """Encodes the images of Parquet files to Parquet files; a second start does what is missing.

    Ray's `CheckpointConfig` notes the ids of the rows of each file that is written. It is in beta,
    reads all noted ids into memory, and needs an id of its own for every row.

    Args:
        source: the files, or the folder or address of them.
        bundle: as for `encode`.
        target: the folder to write to.
        checkpoints: the folder of the notes, an absolute path on storage that all machines share;
            they are kept when the run has ended.
        id_column: the column that tells rows apart.
        block_bytes: of the parts that Ray cuts the rows into; a part that was not written yet is
            encoded again.
        num_cpus: of one actor; all actors together must leave some.
        options: further ones of `encode`.

    Raises:
        BadDataError: `checkpoints` is no absolute path or address.
    """
    import ray
    from ray.data.checkpoint import CheckpointConfig

    if "://" not in checkpoints and not Path(checkpoints).is_absolute():
        raise BadDataError(f"checkpoints: expected an absolute path, got {checkpoints}")
    context = ray.data.DataContext.get_current()
    before = context.checkpoint_config, context.target_max_block_size
    context.checkpoint_config = CheckpointConfig(
        id_column, checkpoints, delete_checkpoint_on_success=False
    )
    context.target_max_block_size = block_bytes
    try:
        images = ray.data.read_parquet(source)
        encode(images, bundle, num_cpus=num_cpus, **options).write_parquet(target)
    finally:
        context.checkpoint_config, context.target_max_block_size = before
