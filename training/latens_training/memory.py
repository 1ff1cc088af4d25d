"""How much memory is free, and a refusal before more than that is used."""

from __future__ import annotations

import os
from pathlib import Path

from latens_training.errors import TrainingError

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
