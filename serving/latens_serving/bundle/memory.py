"""How much memory this process can still take: of the machine, and of its container."""

from __future__ import annotations

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)
"""The files of a cgroup of version 2 and of version 1: limit, use, and what of the use is a cache
that is given up when memory is short."""


def available_bytes() -> int | None:
    """The bytes that can be taken without swapping; None where the system does not say.

    The smaller of what the machine has and what the container's limit leaves.
    """
    known = [value for value in (_of_machine(), _of_container()) if value is not None]
    return min(known, default=None)


def _of_machine() -> int | None:
    kibibytes = _field(_MEMINFO, "MemAvailable:")
    return None if kibibytes is None else kibibytes * 1024


def _of_container() -> int | None:
    for limit, usage, statistics, cache in _LIMITS:
        most, used = _number(_CGROUP / limit), _number(_CGROUP / usage)
        if most is not None and used is not None:
            return max(0, most - used + (_field(_CGROUP / statistics, cache) or 0))
    return None


def _number(path: Path) -> int | None:
    """The number that a file holds; None where it is missing or says `max`."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _field(path: Path, name: str) -> int | None:
    """The number behind a name that a line of a file begins with."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.split()[:1] == [name]]
    return int(found[0]) if found else None
