"""Claims: which process works on which shard, on one machine or on shared storage.

Claims save work and carry no correctness: two processes that did the same shard would write the
same part, and the last rename would win. So a claim whose owner is silent is simply taken over.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

from latens_bulk.outputs.folder import is_running

_REFRESH_SECONDS = 10.0
_SILENT_SECONDS = 60.0


class Claims:
    """The claims of one process, which are refreshed while it lives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owner = f"{socket.gethostname()} {os.getpid()}"
        self._held: set[Path] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        threading.Thread(target=self._refresh, name="claims", daemon=True).start()

    def remove_abandoned(self) -> None:
        """Removes the claims of processes that have ended, on shards finished or not."""
        for path in self._folder.iterdir():
            if self._is_abandoned(path):
                path.unlink(missing_ok=True)

    def take(self, index: int) -> bool:
        """Claims a shard; False if another process works on it."""
        path = self._folder / f"{index:06d}"
        if not self._create(path):
            if not self._is_abandoned(path):
                return False
            path.unlink(missing_ok=True)
            if not self._create(path):
                return False
        with self._lock:
            self._held.add(path)
        return True

    def release(self, index: int) -> None:
        path = self._folder / f"{index:06d}"
        with self._lock:
            self._held.discard(path)
        path.unlink(missing_ok=True)

    def close(self) -> None:
        """Releases all claims."""
        self._ended.set()
        with self._lock:
            held, self._held = self._held, set()
        for path in held:
            path.unlink(missing_ok=True)

    def _create(self, path: Path) -> bool:
        try:
            with path.open("x") as file:
                file.write(self._owner)
        except FileExistsError:
            return False
        return True

    def _is_abandoned(self, path: Path) -> bool:
        try:
            host, _, pid = path.read_text().rpartition(" ")
            silent = time.time() - path.stat().st_mtime
        except FileNotFoundError:
            return True
        if host == socket.gethostname() and pid.isdigit():
            return int(pid) == os.getpid() or not is_running(int(pid))
        return silent > _SILENT_SECONDS

    def _refresh(self) -> None:
        while not self._ended.wait(_REFRESH_SECONDS):
            with self._lock:
                held = list(self._held)
            for path in held:
                with contextlib.suppress(OSError):
                    path.touch()
