"""Gathers the rows of a shard, block after block, until they are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens_bulk.errors import BadDataError
from latens_bulk.inputs.shards import Block
from latens_bulk.job import Job
from latens_bulk.outputs.rows import Floats, ShardRows, draws_of


@dataclass
class Gathered:
    """What has been encoded of a shard so far."""

    keys: list[str] = field(default_factory=list)
    latents: list[NDArray[np.float32]] = field(default_factory=list)
    """`[n, variants * heads, *latent_shape]` each."""
    sizes: list[NDArray[np.int64]] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)
    """Key and reason of each image that could not be encoded."""

    def add(
        self,
        block: Block,
        rows: dict[int, NDArray[np.float32]],
        sizes: dict[int, NDArray[np.int64]],
    ) -> None:
        """Adds the rows of a block, given by their positions in it."""
        order = sorted(rows)
        if not order:
            return
        self.keys += [block.keys[row] for row in order]
        self.latents.append(np.stack([rows[row] for row in order]))
        self.sizes.append(np.stack([sizes[row] for row in order]))
        for name, values in block.columns.items():
            self.columns.setdefault(name, []).extend(values[row] for row in order)

    def rows(self, job: Job) -> ShardRows:
        """The rows as they are written: with draws in place of moments, in the job's type."""
        model = job.encoder.identity
        names = [head + suffix for suffix in job.variants for head in model.heads]
        stacked = np.empty((0, len(names), *model.latent_shape), np.float32)
        sizes = np.empty((0, 2), np.int64)
        if self.latents:
            stacked, sizes = np.concatenate(self.latents), np.concatenate(self.sizes)
        latents: dict[str, Floats] = {name: stacked[:, at] for at, name in enumerate(names)}
        if job.draws:
            latents = self._draws(job, latents)
        if job.dtype == "float16":
            latents = {name: _halved(values) for name, values in latents.items()}
        columns = self.columns or {name: [] for name in job.selection.keep}
        return ShardRows(self.keys, latents, columns, sizes)

    def _draws(self, job: Job, latents: dict[str, Floats]) -> dict[str, Floats]:
        drawn: dict[str, Floats] = {}
        for suffix in job.variants:
            noise_keys = [key + suffix for key in self.keys]
            mean, log_var = latents["mean" + suffix], latents["log_var" + suffix]
            drawn["draws" + suffix] = draws_of(noise_keys, mean, log_var, job.draws, job.seed)
        return drawn


def _halved(values: Floats) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise BadDataError(
            f"values up to {float(np.abs(values).max()):g} do not fit into float16; use float32"
        )
    return half
