"""The processes to measure: their cores and their CPU time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_DOWN_SECONDS = 15


def cores() -> tuple[set[int], set[int]]:
    """The cores for the server and for the load, which differ if there are two."""
    available = sorted(os.sched_getaffinity(0))
    return {available[0]}, {available[-1]}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, of its children, and of children that ended."""
    total = 0.0
    for member in _tree(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
            total += sum(int(field) for field in fields[11:15]) / _TICKS
    return total


def children(pid: int) -> list[int]:
    """The running children of a process."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for child in children(pid):
        yield from _tree(child)


@contextmanager
def running(
    command: Sequence[str], log: Path, *, core: set[int], environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server process on `core`, with its output in `log`; ends it and its children."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {}),
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, core),
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_DOWN_SECONDS)
            return


def wait_for(process: subprocess.Popen[bytes], log: Path, text: str, seconds: float = 90) -> str:
    """Waits for a line with `text` in the log and returns it.

    Raises:
        RuntimeError: the process ended, or the time is over; the message has the end of the log.
    """
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and process.poll() is None:
        for line in log.read_text(errors="replace").splitlines():
            if text in line:
                return line
        time.sleep(0.05)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise RuntimeError(f"no {text!r} from the server:\n{tail}")


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port
