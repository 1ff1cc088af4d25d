"""A connection of the HTTP/2 server without a socket: what is written is kept."""

from __future__ import annotations

import asyncio
from typing import Any

from latens_serving.transports.http2.connection import Connection
from latens_serving.transports.http2.server import Server


class MemoryTransport(asyncio.Transport):
    """Takes whatever is written, at once."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_read = True
        self.is_closed = False

    def write(self, data: Any) -> None:
        assert not self.is_closed, "a write to a closed transport"
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del high, low

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def is_reading(self) -> bool:
        return self.is_read

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True


def connect(server: Server) -> tuple[Connection, MemoryTransport]:
    """A new connection, on which nothing was said."""
    connection, transport = server.accept(), MemoryTransport()
    connection.connection_made(transport)
    return connection, transport
