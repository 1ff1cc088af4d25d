"""One writer a run directory: two trainings in one place would mix their files."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from latens_training.atomic_files import make_directory
from latens_training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
