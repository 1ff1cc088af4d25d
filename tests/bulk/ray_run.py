"""Encodes images on a local Ray, one of whose two actors kills itself in mid-run.

usage: ray_run.py IMAGES.npz BUNDLE OUTPUT.npz MARKER
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import ray

from latens_bulk import ray as latens_ray

SOURCE, BUNDLE, OUTPUT, MARKER = sys.argv[1:]
DEADLY_ID = 700


class DyingEncoder(latens_ray.EncodeBatch):
    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        if DEADLY_ID in batch["id"] and not Path(MARKER).exists():
            Path(MARKER).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


def main() -> None:
    setattr(latens_ray, "EncodeBatch", DyingEncoder)  # noqa: B010
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    images = np.load(SOURCE)["images"]
    rows = [{"id": number, "image": image} for number, image in enumerate(images)]
    dataset = ray.data.from_items(rows, override_num_blocks=8)
    encoded = latens_ray.encode(dataset, BUNDLE, device="cpu", concurrency=2, num_cpus=0.5)
    found = encoded.take_all()
    arrays: dict[str, Any] = {name: np.stack([row[name] for row in found]) for name in found[0]}
    np.savez(OUTPUT, **arrays)


if __name__ == "__main__":
    main()
