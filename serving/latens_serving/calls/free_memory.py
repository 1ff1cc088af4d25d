"""Gives memory that large calls have freed back to the system.

glibc keeps what is freed for the next allocation: after some hundred calls of 50 MB, 100 to 300 MB,
spread over its arenas. `malloc_trim` returns it. That costs milliseconds, and the pages must be
taken again by the next large call, so it is done when calls pause, and rarely while they do not.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

_QUIET_SECONDS = 0.5
_BUSY_SECONDS = 10.0
_GROWTH = 16 << 20
"""Resident bytes above what the last trim left that are worth another."""
_STATM = Path("/proc/self/statm")


class FreeMemory:
    """Returns free memory to the system. Belongs to one event loop."""

    __slots__ = ("_left", "_looks", "_seen", "_trim", "is_watching")

    def __init__(self) -> None:
        self._trim = _malloc_trim()
        self.is_watching = self._trim is None
        """Whether `watch` has nothing to do."""
        self._looks = 0
        self._seen = 0
        self._left = 0

    def note(self) -> None:
        """Something was freed that calls held."""
        if not self.is_watching:
            self.watch()

    def watch(self) -> None:
        """Looks for free memory once its use is steady: calls that begin and end change it."""
        self.is_watching = True
        self._seen = resident_bytes()
        asyncio.get_running_loop().call_later(_QUIET_SECONDS, self._look)

    def _look(self) -> None:
        self._looks += 1
        resident = resident_bytes()
        if resident != self._seen and self._looks * _QUIET_SECONDS < _BUSY_SECONDS:
            self.watch()
            return
        self.is_watching = False
        self._looks = 0
        if resident > self._left + _GROWTH:
            asyncio.get_running_loop().run_in_executor(None, self._release)

    def _release(self) -> None:
        assert self._trim is not None
        self._trim(0)
        self._left = resident_bytes()


def resident_bytes() -> int:
    """The memory of this process that is in RAM; 0 where the system does not say."""
    if not _STATM.exists():
        return 0
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _malloc_trim() -> Callable[[int], int] | None:
    """Glibc's function; None where there is another C library or system."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return trim if _STATM.exists() else None
