"""The calls of one connection: what the session reports, applied to streams."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, cast

import ngh2

from latens_serving.transports.http2.admission import CROWDED, Admission, Member
from latens_serving.transports.http2.bodies import Body, StreamBody, UnaryBody
from latens_serving.transports.http2.contract import Handler
from latens_serving.transports.http2.heads import Head, HeadReader
from latens_serving.transports.http2.limits import Bucket, Limits
from latens_serving.transports.http2.stream import Owner, Stream
from latens_serving.transports.http2.trailers import UNIMPLEMENTED, Refusal, Status

log = logging.getLogger(__name__)


class Host(Owner, Member, Protocol):
    """What the calls ask of their connection."""

    def flush_soon(self) -> None:
        """Writes what is ready, at the end of this turn."""


class Directory(Protocol):
    """What the calls ask of their server."""

    limits: Limits
    admission: Admission

    def handler_of(self, path: str) -> Handler | None:
        """What serves a path; None if nothing does."""
        ...


class Calls:
    """Streams by number."""

    def __init__(self, host: Host, directory: Directory) -> None:
        self.streams: dict[int, Stream] = {}
        self.bodies = 0
        """Bytes of requests in memory."""
        self.begun: list[Stream] = []
        """Unary calls whose headers came in this turn."""
        self.early: set[int] = set()
        """Streams that were answered before their request was complete."""
        self.is_settled = False
        """Whether the client's first SETTINGS came."""
        self.is_pinged = False
        """Whether a ping of ours is unanswered."""
        self._is_misused = False
        self._host = host
        self._session = host.session
        self._handler_of = directory.handler_of
        self._heads = HeadReader(directory.limits.header_bytes)
        self._message_bytes = directory.limits.message_bytes
        self._most_streams = directory.limits.streams
        self._admission = directory.admission
        limits = directory.limits
        self._misuse = Bucket(limits.misuse_burst, limits.misuse_rate, time.monotonic())
        self._head: Head | None = None  # the last one, and what serves its path
        self._handler: Handler | None = None
        self._touched: dict[Stream, None] = {}  # received bytes that are not yet counted
        self._ready: list[Stream] = []  # to be started

    def handle(self, events: Sequence[ngh2.Event]) -> None:
        """Applies what the session reports."""
        for event in events:
            handler = _HANDLERS.get(type(event))
            if handler is not None:
                handler(self, event)
                if self._is_misused:  # what else the client sent does not matter
                    break
        if self._touched:
            self._count_touched()
        if self._ready:
            self._start_ready()

    def request(self, event: ngh2.RequestReceived) -> None:
        if len(self.streams) >= self._most_streams:
            self._session.reset(event.stream_id, ngh2.ErrorCode.REFUSED_STREAM)
            self.misuse(event)
            return
        head, timeout = self._heads.read(event.headers)
        deadline = None if timeout is None else time.monotonic() + timeout
        if head is not self._head:
            self._head, self._handler = head, self._handler_of(head.path)
        handler, number = self._handler, event.stream_id
        body: Body
        if handler is None or not handler.takes_stream:
            body = UnaryBody(head.encoding, self._message_bytes)
        else:
            body = StreamBody(head.encoding, self._message_bytes, lambda: self._taken(number))
        stream = Stream(number, head, handler, deadline, self._host, body)
        stream.is_uploading = not event.end_stream
        self._session.last_stream = number
        if not self.streams:
            self._admission.busy(self._host)
        self.streams[number] = stream
        if head.refusal is not None:
            stream.refuse(head.refusal)
        elif handler is None:
            stream.refuse(Status(UNIMPLEMENTED, f"method {head.path[:128]} is not known"))
        elif event.end_stream:
            self.end_of_request(event)
        elif handler.takes_stream:
            self._ready.append(stream)
        else:
            self.begun.append(stream)

    def end_turn(self) -> None:
        """Tells the admission of requests that began in this turn and did not come whole."""
        for stream in self.begun:
            if stream.is_open and not stream.is_started:
                self._admission.await_request(stream)
        self.begun.clear()

    def data(self, event: ngh2.DataReceived) -> None:
        """Gives bytes to the body of a request; the call starts if they complete it."""
        data, last = event.data, event.end_stream
        size = len(data)
        stream = self.streams.get(event.stream_id)
        if stream is None:  # of a call that was refused in the meantime
            self._session.acknowledge(size, event.stream_id)
            return
        stream.received += size
        stream.unacknowledged += size
        self._touched[stream] = None
        if last:
            stream.is_uploading = False
        elif not size:
            self._count_misuse("empty DATA")
        if not stream.is_open:
            return
        try:
            stream.body.add(data, last)
        except Refusal as refusal:
            stream.refuse(refusal.status)
        else:
            if last and not stream.is_started:
                self._ready.append(stream)

    def end_of_request(self, event: ngh2.TrailersReceived | ngh2.RequestReceived) -> None:
        """Trailers, or headers without a body, end a request as an empty last frame does."""
        self.data(ngh2.DataReceived(event.stream_id, b"", True))

    def closed(self, event: ngh2.StreamClosed) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:  # none was opened for a malformed request
            self._drop(stream)

    def settings(self, event: ngh2.SettingsReceived) -> None:
        if self.is_settled:
            self.misuse(event)
        self.is_settled = True

    def pong(self, _: ngh2.PingAcknowledged) -> None:
        self.is_pinged = False

    def misuse(self, event: ngh2.Event) -> None:
        self._count_misuse(type(event).__name__)

    def answered_early(self, stream: Stream) -> None:
        """A call was ended before its request was complete."""
        self._admission.forget_request(stream)
        self.early.add(stream.id)

    def forget_body(self, stream: Stream) -> None:
        """The request of a call that was ended is free; its answer may be held for long."""
        stream.body.drop()
        self.bodies -= stream.counted
        stream.counted = 0

    def stop_uploads(self) -> None:
        """Resets streams whose answer is sent: the rest of their request is not wanted."""
        for number in list(self.early):
            if not self._session.queued(number):
                self.early.discard(number)
                self._session.reset(number, ngh2.ErrorCode.NO_ERROR)
                self._host.flush_soon()

    def shed(self) -> bool:
        """Gives up the call that holds the most bytes that can be freed; False if there is none."""
        size, heaviest = 0, None
        for stream in self.streams.values():
            held = self._session.queued(stream.id)
            if stream.is_uploading:
                held += stream.body.held
            if held > size:
                size, heaviest = held, stream
        if heaviest is None:
            return False
        if heaviest.is_open and not heaviest.is_begun:
            heaviest.refuse(CROWDED)
            self.forget_body(heaviest)
        else:
            self._session.reset(heaviest.id, ngh2.ErrorCode.ENHANCE_YOUR_CALM)
        return True

    def close(self) -> None:
        """Cancels whatever runs."""
        for stream in list(self.streams.values()):
            self._drop(stream)

    def _count_touched(self) -> None:
        """Counts what requests now hold, and gives their clients room for more.

        Once for all frames of a request that came together: a large one has many.
        """
        for stream in self._touched:
            body, is_open = stream.body, stream.is_open
            self.bodies += body.held - stream.counted
            stream.counted = body.held
            if stream.is_awaited:
                if is_open and stream.is_uploading:
                    self._admission.await_request(stream)
                else:
                    self._admission.forget_request(stream)
            if stream.unacknowledged and (body.wants_more or not is_open):
                self._session.acknowledge(stream.unacknowledged, stream.id)
                stream.unacknowledged = 0
        self._touched.clear()

    def _start_ready(self) -> None:
        """Starts the calls whose request is complete, except those that were reset since."""
        admission, ready = self._admission, self._ready
        self._ready = []
        for stream in ready:
            if not stream.is_open or stream.is_started:
                continue
            if admission.is_full:
                stream.refuse(CROWDED)
                continue
            stream.is_started = True
            admission.calls += 1
            assert stream.handler is not None  # without one, the stream was refused
            stream.handler.start(stream)

    def _taken(self, number: int) -> None:
        """A handler has taken a message of a stream, or waits for one."""
        stream = self.streams.get(number)
        if stream is not None:
            self.bodies += stream.body.held - stream.counted
            stream.counted = stream.body.held
            if stream.unacknowledged and stream.body.wants_more:
                self._session.acknowledge(stream.unacknowledged, number)
                stream.unacknowledged = 0
                self._host.flush_soon()

    def _drop(self, stream: Stream) -> None:
        admission = self._admission
        del self.streams[stream.id]
        if self.early:
            self.early.discard(stream.id)
        if stream.is_awaited:
            admission.forget_request(stream)
        if stream.is_started:
            admission.calls -= 1
        self.bodies -= stream.counted
        stream.counted = 0
        stream.close()
        if stream.unacknowledged:
            self._session.acknowledge(stream.unacknowledged, stream.id)
            stream.unacknowledged = 0
        if not self.streams:
            admission.idle(self._host)

    def _count_misuse(self, what: str) -> None:
        """Counts a frame that a client may send, but not all the time."""
        if not self._misuse.take(time.monotonic()):
            facts = {"peer": self._host.peer, "frames": what}
            log.info("connection ended: too many frames of no use", extra={"facts": facts})
            self._is_misused = True
            self._session.terminate(ngh2.ErrorCode.ENHANCE_YOUR_CALM)


_Handler: TypeAlias = Callable[[Calls, ngh2.Event], None]
# Each handler takes one kind of event, which the type of a dictionary cannot say.
_HANDLERS = cast(
    "dict[type[ngh2.Event], _Handler]",
    {
        ngh2.RequestReceived: Calls.request,
        ngh2.DataReceived: Calls.data,
        ngh2.TrailersReceived: Calls.end_of_request,
        ngh2.StreamClosed: Calls.closed,
        ngh2.StreamReset: Calls.misuse,
        ngh2.SettingsReceived: Calls.settings,
        ngh2.PingReceived: Calls.misuse,
        ngh2.PingAcknowledged: Calls.pong,
        ngh2.PriorityUpdateReceived: Calls.misuse,
    },
)
