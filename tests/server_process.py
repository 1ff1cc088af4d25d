"""A real `latens-serve` process for tests, on ports of its own."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

_READY_SECONDS = 60
_STOP_SECONDS = 30


@dataclass(frozen=True)
class Server:
    """A server that takes calls."""

    address: str
    http_address: str
    process: subprocess.Popen[str]

    def stop(self) -> int:
        """SIGTERM, as an orchestrator would; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_SECONDS)


@contextmanager
def running_server(repository: Path, *flags: str) -> Iterator[Server]:
    """Serves a repository until the block ends, however it ends."""
    command = [
        *(sys.executable, "-m", "serving", "--repository", str(repository)),
        *("--port", "0", "--http-port", "0", "--device", "cpu", "--drain-delay", "0", *flags),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with (
        TemporaryFile("w+") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        ) as process,
    ):
        try:
            addresses = _addresses(process)
            if addresses is None:
                log.seek(0)
                raise RuntimeError(f"the server did not get ready:\n{log.read()}")
            yield Server(*addresses, process)
        finally:
            if process.poll() is None:
                process.kill()


def _addresses(process: subprocess.Popen[str]) -> tuple[str, str] | None:
    """What the server prints once it takes calls, or None if it ends or stays silent."""
    assert process.stdout is not None
    said = ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(_READY_SECONDS):
            line = process.stdout.readline()
            said += line
            found = re.search(r" at (\S+:\d+)\n(?s:.*)http://([^/\s]+)/metrics", said)
            if found:
                return found[1], found[2]
            if not line:
                break
    return None
