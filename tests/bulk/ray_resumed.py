"""Encodes Parquet on a local Ray; the first start kills its driver when a file is written.

usage: ray_resumed.py SOURCE BUNDLE TARGET CHECKPOINTS (die|live)
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import ray

from latens_bulk import ray as latens_ray

SOURCE, BUNDLE, TARGET, CHECKPOINTS, HOW = sys.argv[1:]
DEADLY_ID, DRIVER, PATIENCE = 1900, os.getpid(), 60


def noted() -> list[Path]:
    """The notes of files that are written."""
    return [path for path in Path(CHECKPOINTS).rglob("*.parquet") if ".pending." not in path.name]


class KillingEncoder(latens_ray.EncodeBatch):
    """Kills the driver at one row, once the notes of some other rows are written."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        if DEADLY_ID in batch["id"]:
            start = time.monotonic()
            while not noted():
                assert time.monotonic() < start + PATIENCE, "no file was written"
                time.sleep(0.05)
            os.kill(DRIVER, signal.SIGKILL)
        return super().__call__(batch)


def main() -> None:
    if HOW == "die":
        setattr(latens_ray, "EncodeBatch", KillingEncoder)  # noqa: B010
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    latens_ray.encode_parquet(
        SOURCE,
        BUNDLE,
        TARGET,
        checkpoints=CHECKPOINTS,
        block_bytes=50_000,
        device="cpu",
        concurrency=2,
        batch_rows=64,
    )


if __name__ == "__main__":
    main()
