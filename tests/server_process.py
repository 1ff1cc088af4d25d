"""A real `latens-serve` in a process of its own, on ports that the system chose."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_UP_SECONDS = 120
_DOWN_SECONDS = 60


class Server:
    """A server process; `address` and `http_address` wait until it serves.

    Attributes:
        address: of gRPC, `127.0.0.1:<port>`.
        http_address: of HTTP, likewise.
        process: the process itself.
        printed: what it wrote to stdout; only once it has ended.
        lines: what it logged so far, one dict a line.
    """

    def __init__(self, repository: Path, *flags: str, environment: dict[str, str] | None = None):
        ours = {key: value for key, value in os.environ.items() if not key.startswith("LATENS_")}
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "latens_serving",
                f"--repository={repository}",
                *self._places(flags),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ours | {"OMP_NUM_THREADS": "1"} | (environment or {}),
        )
        self.lines: list[dict[str, Any]] = []
        self.noise: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self.printed = ""
        self._readers = [
            threading.Thread(target=read, daemon=True) for read in (self._read_log, self._read_out)
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _places(flags: tuple[str, ...]) -> list[str]:
        given = {flag.split("=")[0] for flag in flags}
        defaults = ["--port=0", "--http-port=0", "--drain-delay=0", "--log-format=json"]
        if frontend := os.environ.get("LATENS_TEST_FRONTEND"):
            defaults.append(f"--frontend={frontend}")
        return [*(flag for flag in defaults if flag.split("=")[0] not in given), *flags]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def address(self) -> str:
        return str(self.wait_for("serving")["address"])

    @property
    def http_address(self) -> str:
        return str(self.wait_for("serving")["http_address"])

    def wait_for(self, message: str, seconds: float = _UP_SECONDS, **facts: Any) -> dict[str, Any]:
        """The first log line with this message and these facts; fails if the server ends first."""
        wanted = {"message": message, **facts}

        def found() -> dict[str, Any] | None:
            return next((line for line in self.lines if wanted.items() <= line.items()), None)

        with self._news:
            self._news.wait_for(lambda: found() or self._ended, seconds)
            line = found()
        if line is None:
            raise AssertionError(f"no log line {wanted}; it said {self.lines} {self.noise}")
        return line

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = _DOWN_SECONDS) -> int:
        """The exit code, once it has ended."""
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(seconds)
        return code

    def stop(self) -> int:
        """Ends it as a platform does."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> int:
        self.process.kill()
        return self.wait()

    def is_running(self) -> bool:
        return self.process.poll() is None

    def _read_out(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as out:
            self.printed = out.read()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as log:
            for text in log:
                self._hear(text)
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _hear(self, text: str) -> None:
        with self._news:
            try:
                self.lines.append(json.loads(text))
            except json.JSONDecodeError:
                self.noise.append(text)
            self._news.notify_all()


@contextmanager
def running_server(
    repository: Path, *flags: str, environment: dict[str, str] | None = None
) -> Iterator[Server]:
    """A server that serves for the length of a block."""
    server = Server(repository, *flags, environment=environment)
    try:
        server.wait_for("serving")
        yield server
    finally:
        server.stop() if server.is_running() else server.wait()
