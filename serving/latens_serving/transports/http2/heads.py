"""What the header list of a request asks for."""

from __future__ import annotations

import base64
import binascii
import re

from latens_serving.transports.http2.trailers import (
    INTERNAL,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    Metadata,
    Refusal,
    Status,
)

HeaderList = tuple[tuple[bytes, bytes], ...]

_LARGEST_KNOWN = 2 << 10
_FIELD_OVERHEAD = 32  # of a field in a list's size, by RFC 9113, section 6.5.2
_OURS = frozenset(b"te content-type content-length host".split()) | frozenset(
    b"grpc-timeout grpc-encoding grpc-accept-encoding grpc-message-type".split()
)
_CONTENT_TYPE = re.compile(rb"application/grpc(\+proto)?(;.*)?")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


class Head:
    """What a header list asks for. All calls that sent the same list share it."""

    __slots__ = ("encoding", "metadata", "path", "refusal", "text")

    def __init__(self, path: str) -> None:
        self.path = path
        self.encoding = b"identity"
        self.metadata: Metadata = ()
        self.refusal: Status | None = None
        """Why the call is not served."""
        self.text: dict[str, str] = {}
        """The first value of each textual field of the metadata."""

    def set_metadata(self, metadata: Metadata) -> None:
        self.metadata = metadata
        for name, value in metadata:
            if isinstance(value, str):
                self.text.setdefault(name, value)


class HeadReader:
    """Reads the heads of one connection's requests. Remembers the last list, if it is short."""

    def __init__(self, list_bytes: int) -> None:
        self._limit = list_bytes
        self._last: HeaderList = ()
        self._last_head = Head("")

    def read(self, fields: HeaderList) -> tuple[Head, float | None]:
        """The head, and the seconds that the caller will wait.

        The timeout differs from call to call where the rest is the same, so it is kept apart.
        """
        if fields == self._last:
            return self._last_head, None
        for index, (name, value) in enumerate(fields):
            if name == b"grpc-timeout":
                return self._read_timed(fields[:index] + fields[index + 1 :], value)
        return self._read(fields), None

    def _read_timed(self, fields: HeaderList, timeout: bytes) -> tuple[Head, float | None]:
        head = self._read(fields)
        match = _TIMEOUT.fullmatch(timeout)
        if match is None:
            head = Head(head.path)
            head.refusal = Status(INTERNAL, "malformed grpc-timeout")
            return head, None
        return head, int(match[1]) * _SECONDS[match[2]]

    def _read(self, fields: HeaderList) -> Head:
        if fields == self._last:
            return self._last_head
        head = _head(fields)
        size = sum(len(name) + len(value) + _FIELD_OVERHEAD for name, value in fields)
        if size > self._limit:
            text = f"metadata exceeds {self._limit} bytes ({size})"
            head.refusal = Status(RESOURCE_EXHAUSTED, text)
        if size <= _LARGEST_KNOWN:
            self._last, self._last_head = fields, head
        return head


def _head(fields: HeaderList) -> Head:
    named = dict(fields)
    head = Head(named.get(b":path", b"").decode("latin-1"))
    head.encoding = named.get(b"grpc-encoding", b"identity")
    if named.get(b":method") != b"POST":
        head.refusal = Status(UNIMPLEMENTED, "gRPC calls are POST", http=405)
    elif not _CONTENT_TYPE.fullmatch(named.get(b"content-type", b"")):
        text = "the content type is not application/grpc"
        head.refusal = Status(UNIMPLEMENTED, text, http=415)
    else:
        try:
            head.set_metadata(_metadata(fields))
        except Refusal as refusal:
            head.refusal = refusal.status
    return head


def _metadata(fields: HeaderList) -> Metadata:
    pairs: list[tuple[str, str | bytes]] = []
    for name, value in fields:
        if name[:1] == b":" or name in _OURS:
            continue
        key = name.decode("latin-1")
        if not key.endswith("-bin"):
            pairs.append((key, value.decode("latin-1")))
            continue
        try:
            pairs += [(key, _decoded(part.strip())) for part in value.split(b",")]
        except binascii.Error:
            raise Refusal(INTERNAL, f"malformed binary metadata: {key[:64]}") from None
    return tuple(pairs)


def _decoded(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
