"""The metrics of several worker processes as one exposition.

Each worker answers with its own metrics on a socket in a folder of the supervisor. The supervisor
asks all workers and adds up; for a request of `/metrics`, a worker asks the supervisor. So one
process knows the earlier values: the counts of a dead worker stay in the sums, and so do the last
values of a worker that does not answer in time. No counter ever falls.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from latens_serving.workers.exposition import Exposition

_ANSWER_SECONDS = 5.0
_TOTAL_SECONDS = 2 * _ANSWER_SECONDS
_TOTAL_SOCKET = "total.sock"


class WorkerMetrics:
    """A worker's metrics: answers with its own, and asks the supervisor for the total."""

    def __init__(self, folder: Path, name: str, own: Callable[[], bytes]) -> None:
        """Does not listen yet.

        Args:
            folder: of the sockets of all workers.
            name: of this worker.
            own: this worker's exposition.
        """
        self._folder = folder
        self._own = own
        self._socket = _MetricsSocket(folder / f"{name}.sock", self._answer)

    async def start(self) -> None:
        await self._socket.start()

    async def stop(self) -> None:
        self._socket.stop()

    async def exposition(self) -> bytes:
        """The total of all workers.

        Raises:
            OSError: the supervisor does not answer. This worker's metrics alone would let the
                counters fall.
            TimeoutError: likewise.
        """
        async with asyncio.timeout(_TOTAL_SECONDS):
            return await _read(self._folder / _TOTAL_SOCKET)

    async def _answer(self) -> bytes:
        return self._own()


class TotalMetrics:
    """The sum of the metrics of all workers and of the supervisor, kept by the supervisor."""

    def __init__(
        self,
        folder: Path,
        workers: Iterable[str],
        own: Callable[[], bytes] | None = None,
        answer_seconds: float = _ANSWER_SECONDS,
    ) -> None:
        """Does not listen yet.

        Args:
            folder: of the sockets of all workers.
            workers: their names.
            own: the supervisor's exposition, if it has metrics.
            answer_seconds: how long to wait for a worker.
        """
        self._folder = folder
        self._own = own
        self._answer_seconds = answer_seconds
        self._last: dict[str, Exposition | None] = dict.fromkeys(workers)
        self._lives: Counter[str] = Counter()
        self._of_the_dead = Exposition()
        self._lock = asyncio.Lock()
        self._socket = _MetricsSocket(folder / _TOTAL_SOCKET, self.text)

    async def start(self) -> None:
        await self._socket.start()

    async def stop(self) -> None:
        self._socket.stop()

    def worker_died(self, name: str) -> None:
        """Keeps the counts of a worker; its successor counts from zero."""
        self._lives[name] += 1
        last, self._last[name] = self._last[name], None
        if last is not None:
            self._of_the_dead.add(last.cumulative())

    async def text(self) -> bytes:
        """Asks all workers, and adds up."""
        async with self._lock:  # so that no answer overtakes a later one
            await asyncio.gather(*map(self._ask, self._last))
        total = Exposition()
        total.add(self._of_the_dead)
        for last in self._last.values():
            if last is not None:
                total.add(last)
        if self._own is not None:
            total.add(Exposition.parse(self._own().decode()))
        return total.text()

    async def _ask(self, name: str) -> None:
        """Updates the last values of a worker if it answers."""
        life = self._lives[name]
        try:
            async with asyncio.timeout(self._answer_seconds):
                text = await _read(self._folder / f"{name}.sock")
            answer = Exposition.parse(text.decode())
        except (OSError, TimeoutError, ValueError):
            return  # dead, restarting, or too busy
        if text and life == self._lives[name]:
            self._last[name] = answer


class _MetricsSocket:
    """Answers each connection with a text, and closes it."""

    def __init__(self, path: Path, text: Callable[[], Awaitable[bytes]]) -> None:
        self._path = path
        self._text = text
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)  # of a predecessor that died
        self._server = await asyncio.start_unix_server(self._answer, str(self._path))

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(await self._text())
            with contextlib.suppress(OSError):
                await writer.drain()
        finally:
            writer.close()


async def _read(path: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        return await reader.read()
    finally:
        writer.close()
