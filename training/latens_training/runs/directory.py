"""Keeps a run directory consistent: complete files, one writer, and a stop that saves first."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from latens_training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def make_directory(path: Path) -> None:
    """Creates a directory and its parents.

    Raises:
        TrainingError: it cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be created: {error.strerror or error}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise TrainingError(f"{path}: not writable")


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file's content. After any failure the file has the old content or the new one.

    Raises:
        TrainingError: it cannot be written, for example because the disk is full.
    """
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
        _flush_directory(path.parent)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise TrainingError(f"{path}: not saved: {error.strerror or error}") from error


def remove_leftovers(directory: Path) -> None:
    """Removes the temporary files that killed processes left behind."""
    for path in directory.glob(".*.*.????????"):
        with contextlib.suppress(OSError):
            path.unlink()


@contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Locks the run directory, creating it if needed; the lock ends with the process.

    Raises:
        TrainingError: another process has locked it, or it cannot be written.
    """
    make_directory(run)
    if sys.platform == "win32":
        yield  # no advisory locks there
        return
    import fcntl

    descriptor = os.open(run, os.O_RDONLY)  # the directory itself: no lock file to leave behind
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise TrainingError(f"out: another process is training in {run}") from error
    finally:
        os.close(descriptor)


class Interrupted(TrainingError):  # noqa: N818  (it is no error)
    """The run was asked to stop and has been saved."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class StopSignal:
    """The signal that asked the run to stop, if one arrived."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Stores the signal; the same signal again ends the process immediately."""
        self.signal = number
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def stop_on_signals() -> Iterator[StopSignal]:
    """Stores SIGINT and SIGTERM instead of ending; has no effect outside the main thread."""
    wish = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.signal(number, wish.note) for number in _STOP_SIGNALS}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
