"""The HTTP/2 state of one connection: its streams, and what each kind of frame does to them."""

from __future__ import annotations

import time

from latens_serving.transports.http2 import frames, inflow
from latens_serving.transports.http2.application import Application
from latens_serving.transports.http2.control import Control, check_size
from latens_serving.transports.http2.frames import (
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    PADDED,
    ConnectionFault,
    ErrorCode,
    StreamFault,
)
from latens_serving.transports.http2.headers import INTERNAL, HeadReader, Refusal
from latens_serving.transports.http2.inbox import Inbox
from latens_serving.transports.http2.inflow import Stream
from latens_serving.transports.http2.limits import (
    CONNECTION_WINDOW,
    CONTROL_FRAME_BYTES,
    STREAM_WINDOW,
)
from latens_serving.transports.http2.outflow import Outflow

_LEFT_OPEN = 1024


class Session:
    """Streams by number, and the handlers of frames.

    Handlers take (flags, stream, payload) and raise ConnectionFault or StreamFault.
    """

    def __init__(self, application: Application) -> None:
        limits = application.limits
        self.out = Outflow(application.account, self._finished)
        self.streams: dict[int, Stream] = {}
        self.control = Control(self.out, self.streams, limits)
        self.last_stream = 0
        self.refusing = False
        """Whether new streams are turned away: the connection is ending."""
        self.peer = ""
        self.identity: dict[str, list[bytes]] = {}
        """What TLS says of the client, as grpc names it."""
        self._application = application
        self._heads = HeadReader(limits.header_bytes)
        self._credit = 0
        self._left_open: dict[int, None] = {}  # ended by us while the client was sending
        self._block: bytearray | None = None
        self._block_of = (0, 0)  # stream and flags of the block that CONTINUATION frames go on with
        self.handlers = self.control.handlers | {
            frames.HEADERS: self._headers,
            frames.RST_STREAM: self._reset,
            frames.WINDOW_UPDATE: self._window_update,
            frames.CONTINUATION: self._continuation,
        }

    def frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Any frame but DATA. Raises ConnectionFault or StreamFault."""
        if self._block is not None and kind != frames.CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted")
        if not self.control.settled and kind != frames.SETTINGS:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS must come first")
        handler = self.handlers.get(kind)
        if handler is not None:  # kinds that are not known are extensions, to be ignored
            handler(flags, number, payload)

    def data(self, flags: int, number: int, data: bytes, start: int, stop: int) -> None:
        """Bytes of a body: a DATA frame, or a part of one, in `data[start:stop]`."""
        self._credit += stop - start
        if self._credit >= CONNECTION_WINDOW // 2:
            self.out.send(frames.window_update(0, self._credit))
            self._credit = 0
        stream = self.streams.get(number)
        if stream is None or not stream.uploading or self._block is not None:
            self._stray_data(number, stream)
            return
        if flags == END_STREAM and not stream.received and stream.inbox is None:
            stream.uploading = False
            if stream.head.length is not None and stream.head.length != stop - start:
                raise StreamFault(number, ErrorCode.PROTOCOL_ERROR, "content-length is wrong")
            limit = self._application.limits.message_bytes
            try:
                message = inflow.take_whole(stream, data, start, stop, limit)
            except Refusal as refusal:
                self._application.refuse(self, stream, refusal)
            else:
                self._application.start_call(self, stream, message)
            return
        self._piece(stream, flags, memoryview(data)[start:stop])

    def reset(self, number: int, code: ErrorCode) -> None:
        """Ends a stream from our side."""
        stream = self.streams.get(number)
        if stream is None or stream.uploading:
            self._leave_open(number)
        if stream is not None:
            self._forget(stream)
        self.out.send(frames.reset(number, code))

    def look(self, stall_seconds: float) -> None:
        """Called every second: gives up on streams in which nothing moves any more."""
        for stream in list(self.streams.values()):
            if stream.unsent or inflow.is_awaited(stream):
                stream.still += 1
                if stream.still > stall_seconds:
                    self.reset(stream.id, ErrorCode.CANCEL)

    def close(self) -> None:
        """Cancels whatever runs."""
        for stream in list(self.streams.values()):
            self._forget(stream)

    def _piece(self, stream: Stream, flags: int, piece: memoryview) -> None:
        stream.credit += len(piece)  # padding takes of the window too
        if flags & PADDED:
            piece = frames.unpadded(piece)
        if not piece and not flags & END_STREAM:
            self.control.count_misuse()
        stream.still = 0
        stream.received += len(piece)
        application = self._application
        limit = application.limits.message_bytes
        try:
            application.account.held += inflow.take(stream, piece, limit)
            if application.account.held > application.account.limit:
                raise application.crowded()
            if flags & END_STREAM:
                self._end_upload(stream, limit)
                return
        except Refusal as refusal:
            application.refuse(self, stream, refusal)
            return
        self._give_room(stream)

    def _give_room(self, stream: Stream) -> None:
        """Lets the client send on, unless the handler is behind."""
        if stream.credit < STREAM_WINDOW // 2 or not stream.uploading:
            return
        if stream.inbox is None or stream.inbox.wants_more:
            self.out.send(frames.window_update(stream.id, stream.credit))
            stream.credit = 0

    def _taken(self, stream: Stream, size: int) -> None:
        """The handler has taken bytes of a request of several messages, or waits for more."""
        if stream.id in self.streams:
            self._application.account.held -= size
            self._give_room(stream)

    def _end_upload(self, stream: Stream, limit: int) -> None:
        stream.uploading = False
        if stream.head.length is not None and stream.head.length != stream.received:
            raise StreamFault(stream.id, ErrorCode.PROTOCOL_ERROR, "content-length is wrong")
        if stream.inbox is not None:
            stream.inbox.end()
        else:
            self._application.start_call(self, stream, inflow.take_end(stream, limit))

    def _stray_data(self, number: int, stream: Stream | None) -> None:
        if self._block is not None:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted")
        if stream is not None:
            raise StreamFault(number, ErrorCode.STREAM_CLOSED, "data after the end of the request")
        if number > self.last_stream or not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "data on a stream that is not open")
        if number not in self._left_open:
            self.control.count_misuse()
            raise StreamFault(number, ErrorCode.STREAM_CLOSED, "data after the end of the request")
        # Of a call that was answered before its request had all come: the client cannot know yet.

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if flags & (PADDED | HAS_PRIORITY):
            payload = frames.header_block(flags, payload)
        if flags & END_HEADERS:
            self._open(flags, number, payload)
        else:
            self._block = bytearray(payload)
            self._block_of = (number, flags)

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        block, (stream, first_flags) = self._block, self._block_of
        if block is None or number != stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        if not payload and not flags & END_HEADERS:
            self.control.count_misuse()
        block += payload
        if len(block) > CONTROL_FRAME_BYTES:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header block too long")
        if flags & END_HEADERS:
            self._block = None
            self._open(first_flags, number, bytes(block))

    def _open(self, flags: int, number: int, block: bytes) -> None:
        if number <= self.last_stream:
            self._late_headers(flags, number, block)
            return
        if not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client's streams are odd")
        self.last_stream = number
        head = self._heads.read(number, block)
        application = self._application
        if self.refusing or len(self.streams) >= application.limits.streams:
            self.reset(number, ErrorCode.REFUSED_STREAM)
            self.control.count_misuse()
            return
        stream = Stream(number, head, self.out.initial_window)
        self.streams[number] = stream
        application.account.calls += 1
        if head.timeout is not None:
            stream.deadline = time.monotonic() + head.timeout
        stream.uploading = not flags & END_STREAM
        if head.route is None and head.refusal is None:
            application.route(head)
        crowded = application.account.calls > application.limits.calls
        refusal = application.crowded() if crowded else head.refusal
        if refusal is not None:
            application.refuse(self, stream, refusal)
        elif head.route.takes_several:
            self._start_several(stream)
        elif not stream.uploading:
            application.refuse(self, stream, Refusal(INTERNAL, "a unary call carries one message"))

    def _start_several(self, stream: Stream) -> None:
        application = self._application
        stream.inbox = Inbox(stream, application.limits.message_bytes, self._taken)
        if not stream.uploading:
            stream.inbox.end()
        application.start_call(self, stream, stream.inbox)

    def _late_headers(self, flags: int, number: int, block: bytes) -> None:
        """Headers of a stream that was opened before: a client's trailers, or a mistake."""
        is_request = self._heads.skip(block)
        stream = self.streams.get(number)
        if stream is None:
            if is_request:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "a stream was opened twice")
            return
        if not stream.uploading:
            raise StreamFault(number, ErrorCode.STREAM_CLOSED, "headers after the end")
        if is_request or not flags & END_STREAM:
            raise StreamFault(number, ErrorCode.PROTOCOL_ERROR, "misplaced headers")
        try:
            self._end_upload(stream, self._application.limits.message_bytes)
        except Refusal as refusal:
            self._application.refuse(self, stream, refusal)

    def _reset(self, flags: int, number: int, payload: bytes) -> None:
        del flags
        check_size(payload, 4)
        self._check_not_idle(number)
        stream = self.streams.get(number)
        if stream is not None:
            self._forget(stream)
            self.control.count_misuse()

    def _window_update(self, flags: int, number: int, payload: bytes) -> None:
        del flags
        check_size(payload, 4)
        increment = frames.UINT32.unpack(payload)[0] & frames.LARGEST_WINDOW
        if number == 0:
            if increment == 0:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
            self.out.open_window(None, increment)
            return
        self._check_not_idle(number)
        stream = self.streams.get(number)
        if stream is None:
            return
        if increment == 0:
            raise StreamFault(number, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by nothing")
        self.out.open_window(stream, increment)

    def _check_not_idle(self, number: int) -> None:
        if number == 0 or number > self.last_stream or not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream that was never opened")

    def _finished(self, stream: Stream) -> None:
        """The answer is handed over whole."""
        if self.streams.pop(stream.id, None) is None:
            return
        self._application.account.held -= inflow.held(stream)
        self._application.account.calls -= 1
        if stream.uploading:  # what is left of the request would be read for nothing
            self._leave_open(stream.id)
            self.out.send(frames.reset(stream.id, ErrorCode.NO_ERROR))

    def _leave_open(self, number: int) -> None:
        """What the client still sends on this stream is no fault of its."""
        self._left_open[number] = None
        if len(self._left_open) > _LEFT_OPEN:
            del self._left_open[next(iter(self._left_open))]

    def _forget(self, stream: Stream) -> None:
        """No one waits for the answer any more."""
        self.streams.pop(stream.id, None)
        self._application.account.held -= inflow.held(stream)
        self._application.account.calls -= 1
        self.out.drop(stream)
        self._application.cancel(stream)
