"""Reads latents back for training: a map-style data set for torch, without importing torch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens_bulk.errors import BadDataError
from latens_bulk.outputs.folder import OutputFolder
from latens_bulk.outputs.formats import FORMATS, Format

Item = dict[str, Any]


class LatentDataset:
    """The rows of an output of any format, in the order of the input.

    A `torch.utils.data.DataLoader` takes it as it is. Latents are memory-mapped: the first use
    copies them once into plain arrays (`OUTPUT/arrays`, or the folder given), which all workers
    then share without reading them into memory.

    An item is a dict: `index`, and `mean` and `log_var` (or `draws`) as arrays of the latent's
    shape; with `draw`, `latent` instead: mean + exp(log_var / 2) * noise, where the noise depends
    on the seed, the epoch and the index alone.

    Args:
        output: the folder that `latens-bulk encode` wrote.
        draw: give a draw from each posterior; a new one each epoch.
        seed: of the draws.
        arrays: where the plain arrays lie, if not in the output.

    Raises:
        NotFoundError: there is no output.
        BadDataError: it is incomplete, or does not hold what is asked for.
    """

    def __init__(
        self,
        output: str | Path,
        *,
        draw: bool = False,
        seed: int = 0,
        arrays: str | Path | None = None,
    ) -> None:
        self.root = Path(output)
        folder = OutputFolder(self.root)
        self.description = folder.description()
        manifest = folder.manifest()
        if manifest is None:
            raise BadDataError(f"{self.root}: incomplete; run latens-bulk encode again")
        if self._format().holds is not None and self.description["draws"]:
            raise BadDataError(f"{self.root}: sd-scripts files hold the first draw alone")
        self.names: tuple[str, ...] = self._format().holds or tuple(self.description["latents"])
        if draw and not {"mean", "log_var"} <= set(self.names):
            raise BadDataError(f"{self.root}: draws need mean and log_var, got {list(self.names)}")
        self._shards = manifest["shards"]
        self._length: int = manifest["rows"]
        self._draw, self._seed, self._epoch = draw, seed, 0
        self._folder = Path(arrays) if arrays is not None else self.root / "arrays"
        self._maps: dict[str, NDArray[Any]] | None = None

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Item:
        if not -self._length <= index < self._length:
            raise IndexError(f"row {index} of {self._length}")
        index %= self._length
        rows = {name: np.array(values[index]) for name, values in self._mapped().items()}
        if not self._draw:
            return {"index": index, **rows}
        generator = np.random.default_rng([self._seed, self._epoch, index])
        noise = generator.standard_normal(rows["mean"].shape, np.float32)
        return {"index": index, "latent": rows["mean"] + np.exp(0.5 * rows["log_var"]) * noise}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": None}  # a worker maps the files itself

    def set_epoch(self, epoch: int) -> None:
        """Chooses the noise of the draws; call it before each epoch's loader is made."""
        self._epoch = epoch

    def array(self, name: str) -> NDArray[Any]:
        """All rows of `mean`, `log_var` or the like: `[n, *latent_shape]`, memory-mapped."""
        return self._mapped()[name]

    def column(self, name: str) -> list[Any]:
        """All values of `key`, or of a column that was kept."""
        paths = [self.root / shard["part"] for shard in self._shards]
        return [value for path in paths for value in self._format().column(path, name)]

    def _format(self) -> Format:
        return FORMATS[self.description["format"]]

    def _mapped(self) -> dict[str, NDArray[Any]]:
        if self._maps is None:
            ready = self._folder / self._digest()
            if not ready.exists():
                self._write_arrays(ready)
            self._maps = {
                name: np.load(ready / f"{name}.npy", mmap_mode="r") for name in self.names
            }
        return self._maps

    def _digest(self) -> str:
        digests = json.dumps([shard["sha256"] for shard in self._shards]).encode()
        return hashlib.sha256(digests).hexdigest()[:16]

    def _write_arrays(self, ready: Path) -> None:
        """Writes the arrays under another name and renames them, as several workers may do."""
        unfinished = ready.with_name(f"{ready.name}-{os.getpid()}")
        unfinished.mkdir(parents=True, exist_ok=True)
        shape = (self._length, *self._row_shape())
        for name in self.names:
            target = np.lib.format.open_memmap(
                unfinished / f"{name}.npy", "w+", self.description["dtype"], shape
            )
            start = 0
            for shard in self._shards:
                rows = self._format().read(self.root / shard["part"], [name])[1][name]
                target[start : start + len(rows)] = rows
                start += len(rows)
            target.flush()
        try:
            unfinished.rename(ready)
        except OSError:  # another worker was faster
            shutil.rmtree(unfinished)

    def _row_shape(self) -> Sequence[int]:
        shape: list[int] = self.description["model"]["latent_shape"]
        draws = self.description["draws"]
        return [draws["count"], *shape] if draws else shape
