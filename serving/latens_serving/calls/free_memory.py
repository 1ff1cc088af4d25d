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

    __slots__ = ("_busy_looks", "_ended", "_left", "_timer", "_trim")

    def __init__(self) -> None:
        self._trim = _malloc_trim()
        self._ended = 0
        self._busy_looks = 0
        self._left = 0
        self._timer: asyncio.TimerHandle | None = None

    def note(self) -> None:
        """A call ended or an answer was sent: looks for free memory once it is quiet."""
        self._ended += 1
        if self._timer is None and self._trim is not None:
            self._arm()

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_QUIET_SECONDS, self._look, self._ended)

    def _look(self, ended: int) -> None:
        self._timer = None
        self._busy_looks += 1
        if ended != self._ended and self._busy_looks * _QUIET_SECONDS < _BUSY_SECONDS:
            self._arm()
            return
        self._busy_looks = 0
        if _resident() > self._left + _GROWTH and self._trim is not None:
            asyncio.get_running_loop().run_in_executor(None, self._release)

    def _release(self) -> None:
        assert self._trim is not None
        self._trim(0)
        self._left = _resident()


def _resident() -> int:
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _malloc_trim() -> Callable[[int], int] | None:
    """Glibc's function; None where there is another C library or system."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return trim if _STATM.exists() else None
