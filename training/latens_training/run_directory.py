"""What keeps a run directory whole: complete files, one writer, and a stop that saves first."""

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
    """Makes a directory and its parents.

    Raises:
        TrainingError: it cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be made: {error.strerror or error}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise TrainingError(f"{path}: not writable")


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file's content; whatever fails or kills us, the file is the old or the new one.

    Raises:
        TrainingError: the disk is full, the directory is not writable, and the like.
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
    """Removes the temporary files of writers that were killed."""
    for path in directory.glob(".*.*.????????"):
        with contextlib.suppress(OSError):
            path.unlink()


@contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Holds the run directory, which is made if need be; the system lets go of it with the process.

    Raises:
        TrainingError: another process holds it, or it cannot be written.
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
    """The run was asked to stop, and has saved what it had."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class StopSignal:
    """Which signal has asked us to stop, if one has."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Notes the signal; the same one again then ends the process at once."""
        self.signal = number
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def stop_on_signals() -> Iterator[StopSignal]:
    """Notes SIGINT and SIGTERM instead of dying of them; of no effect outside the main thread."""
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
