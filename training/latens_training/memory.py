"""Refuses work that needs more memory than is free."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from latens_training.errors import TrainingError
from latens_training.likelihoods.registry import build_likelihood
from latens_training.models.build import build

if TYPE_CHECKING:
    from latens_training.config import RunConfig
    from latens_training.models.autoencoder import ImageShape

_BYTES_PER_WEIGHT = 4
_COPIES_TO_TRAIN = 4
"""Of the weights: themselves, their gradients, and Adam's two moments."""
_COPIES_TO_SAVE = 6
"""Weights and moments, once as bytes by tensor and once as one file."""
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_CGROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def require(needed: int, what: str, advice: str) -> None:
    """Refuses what would need more memory than is free.

    Args:
        needed: bytes.
        what: what needs them, for the message.
        advice: how to need less.

    Raises:
        TrainingError: less is free; the message has both numbers.
    """
    free = available()
    if free is not None and needed > free:
        raise TrainingError(
            f"{what} need about {_gigabytes(needed)} of memory, but {_gigabytes(free)} are free; "
            f"{advice}"
        )


def require_for_network(
    config: RunConfig, image_shape: ImageShape, device: torch.device, label_count: int = 0
) -> None:
    """Refuses a network that needs more memory to train and save than is free.

    Raises:
        TrainingError: less is free; the message has both numbers.
    """
    with torch.device("meta"):
        model = build(config.model, image_shape, build_likelihood(config.loss), label_count)
    weights = sum(weight.numel() for weight in model.parameters())
    copies = _COPIES_TO_SAVE + (_COPIES_TO_TRAIN if device.type == "cpu" else 0)
    channels, height, width = image_shape
    require(
        _BYTES_PER_WEIGHT * weights * copies,
        f"{config.data.dataset}: training and saving {config.model.architecture} with "
        f"{weights:,} weights, for images of {channels} x {height} x {width},",
        "use smaller images (--image-size for a folder of pictures), or a smaller --hidden",
    )


def available() -> int | None:
    """Bytes that this process can still take without swapping; None where nothing tells.

    The smaller of what the machine has free and what the container's limit leaves.
    """
    known = [value for value in (_of_machine(), _of_container()) if value is not None]
    return min(known, default=None)


def _of_machine() -> int | None:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _of_container() -> int | None:
    for limit, usage in _CGROUP_FILES:
        try:
            values = [(_CGROUP / name).read_text().strip() for name in (limit, usage)]
        except OSError:
            continue
        if all(value.isdecimal() for value in values):
            return max(0, int(values[0]) - int(values[1]))
    return None


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"
