"""The settings of a client, the same for both kinds of client."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from latens.channel import Connection, Tls


@dataclass(frozen=True)
class CallOptions:
    """How calls are made."""

    timeout: float | None
    """Seconds for each; None for no bound."""
    max_in_flight: int
    """How many calls of one batch may be under way at a time."""

    def timeout_of(self, given: float | None) -> float | None:
        """The timeout of a call: as given, or the client's if None; infinity means no bound."""
        timeout = self.timeout if given is None else given
        return None if timeout is None or math.isinf(timeout) else timeout


@dataclass(frozen=True)
class ClientSettings:
    """The arguments of a client, from which a copy in another process is made."""

    address: str
    tls: Tls | None
    token: str | Callable[[], str] | None
    timeout: float | None
    max_in_flight: int
    rows_per_call: int | None
    max_message_bytes: int

    def connection(self) -> Connection:
        """The connection.

        Raises:
            ValueError: the address or the token is none, or a number is out of range.
        """
        for name in ("timeout", "max_in_flight", "rows_per_call", "max_message_bytes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}: expected a number above 0, got {value!r}")
        connection = Connection(self.address, self.tls, self.token, self.max_message_bytes)
        connection.location()
        if isinstance(self.token, str):
            connection.metadata()
        return connection

    def call_options(self) -> CallOptions:
        return CallOptions(self.timeout, self.max_in_flight)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of the client."""
        return dict(vars(self))

    def describe(self, kind: str) -> str:
        """A short representation, which never contains the token."""
        parts = [repr(self.address)]
        if self.tls is not None:
            parts.append("tls=True")
        if self.token is not None:
            parts.append("token=...")
        parts.append(f"timeout={self.timeout}")
        return f"{kind}({', '.join(parts)})"
