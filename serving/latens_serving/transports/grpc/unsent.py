"""Bounds what clients of grpc.aio make the server hold: answers that they do not take.

grpc.aio keeps an answer, and the request it belongs to, until the client's flow control lets it
go. The bytes are counted by connection from the end of the handler to the end of the call.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

import grpc

from latens_serving.calls.free_memory import FreeMemory
from latens_serving.errors import QueueFullError

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_CALL_BYTES = 8 << 10
"""What a call holds besides its messages."""
_COPIES = 2
"""How often an answer is in memory: as Python's bytes, and as the core's buffer."""
_RETRY_SECONDS = 1.0


class UnsentAnswers:
    """The bytes of answers, and their requests, that are not yet sent; by connection.

    Up to `limit` bytes every connection holds what it wants. Beyond, one that holds more than an
    equal share is refused, and the others are not; at twice the limit, all are.
    """

    def __init__(self, limit: int, memory: FreeMemory) -> None:
        self.limit = limit
        self._memory = memory
        self.held = 0
        self._by_peer: dict[str, int] = {}

    def check(self, context: Context, size: int) -> None:
        """Refuses a call before any work is done for it, if its connection holds too much.

        Raises:
            QueueFullError: the client does not take its answers.
        """
        if self.held + size > self.limit:
            self._check(context.peer(), size)

    def charge(self, context: Context, request: int, answer: int) -> None:
        """Counts an answer until it is sent; refuses it as `check` does.

        Called in the task that answers the call, which ends when the answer is sent.
        """
        peer = context.peer()
        size = request + _COPIES * answer + _CALL_BYTES
        if self.held + size > self.limit:
            self._check(peer, size)
        self.held += size
        self._by_peer[peer] = self._by_peer.get(peer, 0) + size
        task: Any = asyncio.current_task()
        task.add_done_callback(lambda _: self._release(peer, size))

    def _check(self, peer: str, size: int) -> None:
        mine = self._by_peer.get(peer, 0)
        share = self.limit // max(len(self._by_peer), 1)
        if self.held + size > 2 * self.limit or (mine and mine + size > share):
            raise QueueFullError(
                f"{self.held} bytes of answers are not taken by clients, {mine} of them by this "
                f"connection; the server holds {self.limit}",
                retry_after=_RETRY_SECONDS,
            )

    def _release(self, peer: str, size: int) -> None:
        self.held -= size
        self._memory.note()
        left = self._by_peer[peer] - size
        if left:
            self._by_peer[peer] = left
        else:
            del self._by_peer[peer]
