"""Listening sockets, for servers that are made later."""

from __future__ import annotations

import socket


def listen(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A socket that listens; connections wait in it until a server accepts them.

    Args:
        host: the address to listen on.
        port: 0 for any free one.
        reuse_port: let other processes listen on the same port (SO_REUSEPORT).

    Raises:
        OSError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, reuse_port=reuse_port)
