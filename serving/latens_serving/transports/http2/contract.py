"""What a handler is given of a call, and what the server asks of a handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from latens_serving.transports.http2.heads import Head
from latens_serving.transports.http2.trailers import Status

Payload = bytes | memoryview
"""One message, without its prefix."""


class Responder(Protocol):
    """One call: its request, and the ways to answer it.

    Each call is ended once, by `answer` or `end`. Ending a call whose client has left does nothing.
    """

    @property
    def head(self) -> Head: ...

    @property
    def peer(self) -> str: ...

    @property
    def deadline(self) -> float | None:
        """On the clock of `time.monotonic`."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether the call can still be answered."""
        ...

    @property
    def is_begun(self) -> bool:
        """Whether headers were sent."""
        ...

    def read(self) -> Awaitable[Payload | None]:
        """The next message of the request; None after the last.

        A unary request is complete when its handler starts, so its first read does not wait.

        Raises:
            Refusal: what came is not a message, or is too large.
        """
        ...

    def answer(self, parts: Sequence[Payload], size: int) -> None:
        """Answers with one message of `size` bytes, given in parts, and the status OK."""
        ...

    async def write(self, message: bytes) -> None:
        """Sends one of several messages; waits while the client is behind with reading."""
        ...

    def end(self, status: Status) -> None:
        """Ends the call with a status."""
        ...

    def on_cancel(self, cancel: Callable[[], object]) -> None:
        """Registers what is called if the client leaves before the call is ended."""
        ...


class Handler(Protocol):
    """What serves a path."""

    @property
    def takes_stream(self) -> bool:
        """Whether requests are streams of messages; if so, a call starts with its headers."""
        ...

    def start(self, call: Responder) -> None:
        """Starts a call. Must not block or raise."""
        ...
