"""One HTTP/2 session: all that this package asks of libnghttp2, through the package `ngh2`.

libnghttp2 does frames, HPACK, flow control, the states of streams and the rules of HTTP (RFC 9113,
RFC 7541). It gives windows back only for bytes that were acknowledged here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import ngh2

from latens_serving.transports.http2.contract import Payload
from latens_serving.transports.http2.limits import (
    CONNECTION_WINDOW,
    FRAME_BYTES,
    STREAM_WINDOW,
    Limits,
)
from latens_serving.transports.http2.trailers import OK_TRAILERS, RESPONSE

Fields = Sequence[tuple[bytes, bytes]]

_CONTINUATIONS = 8
_LONGEST_LIST = 16  # times the longest list of a call that is served
# The library ends the connection of a client with more streams than were announced, and all calls
# on it. So it is told of more than are announced: what lies between is for the owner to refuse.
_LENIENCE = 2
_STREAMS = struct.Struct(">HI")  # a setting and its value
_JOINED = 32 << 10  # an answer up to this size is one piece of the body
# A client may have ended a stream, or the session, before its handler answers.
_GONE = (ngh2.StreamProtocolError, ngh2.ConnectionStateError)
_GOAWAY = struct.Struct(">IBIII")
_GOAWAY_SIZED = 8 << 8 | 7  # its length and its type


class Session:
    """The server's end of one session. Nothing here raises for what a client did."""

    def __init__(self, limits: Limits) -> None:
        misuse = (limits.misuse_burst, max(int(limits.misuse_rate), 1))
        # A list that is too long for a call is refused; one far beyond that ends the connection.
        configuration = ngh2.Configuration(
            auto_window_update=False,
            max_outbound_ack=limits.misuse_burst,
            max_continuations=_CONTINUATIONS,
            max_inbound_header_list_size=_LONGEST_LIST * limits.header_bytes,
            stream_reset_rate_limit=misuse,
            glitch_rate_limit=misuse,
        )
        self._http = ngh2.Connection(ngh2.Role.SERVER, configuration)
        self._http.initiate_connection(
            {
                ngh2.Setting.MAX_CONCURRENT_STREAMS: _LENIENCE * limits.streams,
                ngh2.Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                ngh2.Setting.MAX_FRAME_SIZE: FRAME_BYTES,
                ngh2.Setting.MAX_HEADER_LIST_SIZE: limits.header_bytes,
            }
        )
        self._http.set_local_window_size(CONNECTION_WINDOW)
        self._greeting = self._http.data_to_send().replace(
            _STREAMS.pack(ngh2.Setting.MAX_CONCURRENT_STREAMS, _LENIENCE * limits.streams),
            _STREAMS.pack(ngh2.Setting.MAX_CONCURRENT_STREAMS, limits.streams),
            1,
        )
        self.queued = self._http.queued_body_size
        """Bytes of answers, of all streams or of one, that the client's windows hold back, or that
        were not yet asked for."""
        self._fault: ngh2.ErrorCode | None = None
        self._is_cut = False
        self.is_over = False
        """Whether nothing that the client sends matters any more."""
        self.last_stream = 0
        """The newest stream that was served; kept by the owner."""
        self.failure = ""
        """Why the library gave the session up, if it did."""

    def receive(self, data: bytes | memoryview) -> list[ngh2.Event]:
        """Parses what came. Ends the session if it breaks the protocol or goes beyond a limit."""
        try:
            self._http.receive_data(data)
        except ngh2.DenialOfServiceError as error:
            self._fail(ngh2.ErrorCode.ENHANCE_YOUR_CALM, str(error))
        except ngh2.NGH2Error as error:
            self.is_over = True
            self.failure = str(error)
        events = self._http.events()
        if events and type(events[-1]) is ngh2.ConnectionClosed:
            self.is_over = True
        return events

    def output(self, limit: int) -> tuple[bytes, list[ngh2.Event]]:
        """Up to `limit` bytes to send, and what happened as they were made."""
        if self.failure:
            return self._last_words(), []
        output = self._http.data_to_send(limit)
        self._is_cut = len(output) == limit
        if self._greeting:
            output, self._greeting = self._greeting + output, b""
        events = self._http.events()
        if events and type(events[-1]) is ngh2.ConnectionClosed:
            self.is_over = True
        return output, events

    @property
    def has_output(self) -> bool:
        """Whether `output` would do something, or must be asked for the last words."""
        return self.is_over or self._http.want_write

    def acknowledge(self, size: int, stream: int) -> None:
        """Lets the client send as many bytes more."""
        if not self.is_over:
            self._http.acknowledge_received_data(size, stream)

    def answer(self, stream: int, parts: Sequence[Payload], size: int) -> None:
        """Sends a whole answer of `size` bytes: headers, its parts, and the trailers of OK."""
        http = self._http
        try:
            http.send_response(stream, RESPONSE)
            if size <= _JOINED:
                http.send_data(stream, b"".join(parts))
            else:
                for part in parts:
                    http.send_data(stream, part)
            http.send_trailers(stream, OK_TRAILERS)
        except _GONE:
            return

    def respond(self, stream: int, fields: Fields, *, end: bool = False) -> None:
        """Sends headers."""
        try:
            self._http.send_response(stream, fields, end_stream=end)
        except _GONE:
            return

    def write(self, stream: int, data: bytes) -> None:
        """Sends bytes of an answer that was begun."""
        try:
            self._http.send_data(stream, data)
        except _GONE:
            return

    def end(self, stream: int, fields: Fields) -> None:
        """Ends an answer that was begun with trailers."""
        try:
            self._http.send_trailers(stream, fields)
        except _GONE:
            return

    def reset(self, stream: int, code: ngh2.ErrorCode) -> None:
        """Ends a stream at once; what is queued for it is dropped."""
        if not self.is_over:
            self._http.reset_stream(stream, code)

    def ping(self) -> None:
        """Asks the client whether it is there."""
        if not self.is_over:
            self._http.ping()

    def announce_end(self) -> None:
        """Asks the client to open no more streams; those on their way are still served."""
        if not self.is_over:
            self._http.send_shutdown_notice()

    def refuse_more(self) -> None:
        """Serves the streams that came so far and no others; clients may retry those."""
        if not self.is_over:
            self._http.send_goaway()

    def terminate(self, code: ngh2.ErrorCode) -> None:
        """Ends the session, streams included."""
        if not self.is_over:
            self.is_over = True
            self._http.terminate_connection(code)

    def _fail(self, code: ngh2.ErrorCode, reason: str) -> None:
        self.is_over = True
        self.failure = reason
        self._fault = code

    def _last_words(self) -> bytes:
        """Why the session failed. The library has dropped its state, so it cannot say it.

        Nothing, if a frame of ours was cut in two: then what came after it could not be read.
        """
        code, self._fault = self._fault, None
        if code is None or self._is_cut:
            return b""
        # The next stream is counted as served: it may be the fault, and must not be retried.
        return _GOAWAY.pack(_GOAWAY_SIZED, 0, 0, self.last_stream + 2, code)
