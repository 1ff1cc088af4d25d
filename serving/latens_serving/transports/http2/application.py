"""What a session asks of the server that it is a part of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from latens_serving.transports.http2.headers import Head, Refusal
from latens_serving.transports.http2.inbox import Inbox
from latens_serving.transports.http2.inflow import Message, Stream
from latens_serving.transports.http2.limits import Account, Limits

if TYPE_CHECKING:
    from latens_serving.transports.http2.session import Session


class Application(Protocol):
    """What answers the calls of all connections."""

    limits: Limits
    account: Account

    def route(self, head: Head) -> None:
        """Fills in what serves a head's path, or why nothing does."""

    def start_call(self, session: Session, stream: Stream, message: Message | Inbox) -> None:
        """Begins a call whose request is whole, or is of several messages."""

    def refuse(self, session: Session, stream: Stream, refusal: Refusal) -> None:
        """Answers a call that cannot begin, or not go on."""

    def crowded(self) -> Refusal:
        """Why a call is refused when too much memory is held already."""

    def cancel(self, stream: Stream) -> None:
        """Ends a call that no one waits for."""
