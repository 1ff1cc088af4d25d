"""Load: calls with one fixed request, by h2load or, if it is not installed, over plain sockets."""

from __future__ import annotations

import os
import re
import selectors
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_FRAME = struct.Struct(">IBI")
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8


@dataclass(frozen=True, slots=True)
class Shape:
    """The callers: connections, and concurrent calls on each."""

    connections: int
    streams: int

    @property
    def callers(self) -> int:
        return self.connections * self.streams


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run."""

    calls: int
    seconds: float
    latencies: np.ndarray
    """The latency of each call, in seconds."""


class LoadError(Exception):
    """Calls failed."""


def generator() -> str:
    """The load generator of this machine."""
    return "h2load" if shutil.which("h2load") else "sockets"


def run(
    address: str, path: str, request: bytes, shape: Shape, calls: int, core: set[int]
) -> Outcome:
    """Makes `calls` calls, `shape.callers` of them concurrently, on `core`.

    Args:
        address: host and port.
        path: the method, `/package.Service/Method`.
        request: the message, serialized.
        shape: the callers.
        calls: the number of calls, rounded up to a multiple of the callers.
        core: the core of the load.

    Raises:
        LoadError: not every call was answered.
    """
    calls = -(-calls // shape.callers) * shape.callers
    if generator() == "h2load":
        return _h2load(address, path, request, shape, calls, core)
    return _sockets(address, path, request, shape, calls, core)


def _h2load(
    address: str, path: str, request: bytes, shape: Shape, calls: int, core: set[int]
) -> Outcome:
    with tempfile.TemporaryDirectory() as directory:
        body, log = Path(directory, "body"), Path(directory, "log")
        body.write_bytes(_prefixed(request))
        command = ["h2load", "-n", str(calls), "-c", str(shape.connections)]
        command += ["-m", str(shape.streams), "-d", str(body), f"--log-file={log}"]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        done = subprocess.run(
            [*command, f"http://{address}{path}"],
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, core),
        )
        table = np.loadtxt(log, dtype=np.int64, ndmin=2)
    found = re.search(r"status codes: (\d+) 2xx", done.stdout)
    if found is None or int(found[1]) != calls:
        raise LoadError(done.stdout)
    starts, latencies = table[:, 0], table[:, 2]
    seconds = (int((starts + latencies).max()) - int(starts.min())) / 1e6
    return Outcome(calls, seconds, latencies / 1e6)


def _prefixed(request: bytes) -> bytes:
    return struct.pack(">BI", 0, len(request)) + request


class _Connection:
    """A minimal HTTP/2 client that repeats one request."""

    def __init__(self, address: str, path: str, request: bytes) -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._block = _block(path, address)
        self._body = _prefixed(request)
        self._stream = 1
        self._begun: dict[int, float] = {}
        self._tail = b""
        self.latencies: list[float] = []
        window = struct.pack(">HI", 4, (1 << 31) - 1)
        greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, window)
        self._send(greeting + _frame(_WINDOW, 0, 0, struct.pack(">I", (1 << 30))))

    def call(self, count: int) -> None:
        """Starts `count` calls in one write."""
        chunks: list[bytes] = []
        for _ in range(count):
            number, self._stream = self._stream, self._stream + 2
            chunks.append(_frame(_HEADERS, 4, number, self._block))
            pieces = [self._body[i : i + 16384] for i in range(0, len(self._body), 16384)]
            chunks += [_frame(_DATA, 0, number, piece) for piece in pieces[:-1]]
            chunks.append(_frame(_DATA, 1, number, pieces[-1]))
            self._begun[number] = time.perf_counter()
        self._send(b"".join(chunks))

    def take(self) -> int:
        """Reads the received bytes; returns the number of calls that ended."""
        data = self._tail + self.socket.recv(1 << 18)
        position = ended = received = 0
        while len(data) - position >= 9:
            sized, flags, number = _FRAME.unpack_from(data, position)
            kind, stop = sized & 0xFF, position + 9 + (sized >> 8)
            if stop > len(data):
                break
            if kind == _DATA:
                received += sized >> 8
            elif kind in (_RST, _GOAWAY):
                raise LoadError(f"the server ended a call: {data[position:stop]!r}")
            elif kind == _HEADERS and flags & 1:
                self.latencies.append(time.perf_counter() - self._begun.pop(number))
                ended += 1
            position = stop
        self._tail = data[position:]
        if received:
            self._send(_frame(_WINDOW, 0, 0, struct.pack(">I", received)))
        return ended

    def _send(self, data: bytes) -> None:
        self.socket.sendall(data)


def _sockets(
    address: str, path: str, request: bytes, shape: Shape, calls: int, core: set[int]
) -> Outcome:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, core)
    selector = selectors.DefaultSelector()
    connections = [_Connection(address, path, request) for _ in range(shape.connections)]
    try:
        begun = time.perf_counter()
        left = dict.fromkeys(connections, calls // shape.connections)
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.call(shape.streams)
            left[connection] -= shape.streams
        open_calls = shape.callers
        while open_calls:
            for key, _ in selector.select(30):
                ended = key.data.take()
                more = min(ended, left[key.data])
                left[key.data] -= more
                open_calls += more - ended
                if more:
                    key.data.call(more)
        seconds = time.perf_counter() - begun
    finally:
        os.sched_setaffinity(0, before)
        selector.close()
        for connection in connections:
            connection.socket.close()
    latencies = np.concatenate([connection.latencies for connection in connections])
    return Outcome(calls, seconds, latencies)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _FRAME.pack(len(payload) << 8 | kind, flags, stream) + payload


def _block(path: str, authority: str) -> bytes:
    """The header block: POST and http from HPACK's static table, and literals."""
    fields = {":path": path, ":authority": authority, "te": "trailers"}
    fields["content-type"] = "application/grpc"
    literals = b"".join(
        b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
        for name, value in fields.items()
    )
    return b"\x83\x86" + literals
