"""What the header block of a request asks for."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from latens_serving.transports.http2.frames import ErrorCode, StreamFault
from latens_serving.transports.http2.hpack_blocks import BlockDecoder, Fields

Metadata = tuple[tuple[str, str | bytes], ...]

# gRPC status codes that the protocol itself answers with.
OK = 0
CANCELLED = 1
DEADLINE_EXCEEDED = 4
RESOURCE_EXHAUSTED = 8
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14

_KNOWN_BLOCKS = 64
_LONGEST_REQUEST_ID = 64
_PSEUDO = (b":method", b":scheme", b":path", b":authority")
_OURS = frozenset(b"te content-type content-length host".split()) | frozenset(
    b"grpc-timeout grpc-encoding grpc-accept-encoding grpc-message-type".split()
)
_CONNECTION_FIELDS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_NAME = re.compile(rb"[a-z0-9!#$%&'*+.^_`|~-]+")
_BAD_VALUE = re.compile(rb"[\x00\r\n]")
_CONTENT_TYPE = re.compile(rb"application/grpc(\+proto)?(;.*)?")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


class Refusal(Exception):  # noqa: N818 - an answer, not an error of ours
    """A request that is answered without a call: an HTTP status, or a gRPC one when that is 200."""

    def __init__(self, code: int, message: str, *, http: int = 200) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http = http


class Head:
    """What a header block asks for. Shared by all calls that sent the same block."""

    __slots__ = (
        "authorization",
        "encoding",
        "length",
        "metadata",
        "path",
        "refusal",
        "request_id",
        "route",
        "timeout",
    )

    def __init__(self, path: str) -> None:
        self.path = path
        self.timeout: float | None = None
        """Seconds that the caller will wait."""
        self.length: int | None = None
        """Bytes of the body, where the client says so."""
        self.encoding = b"identity"
        self.metadata: Metadata = ()
        self.authorization = ""
        self.request_id = ""
        self.refusal: Refusal | None = None
        self.route: Any = None
        """For the listener: what serves the path."""


class HeadReader:
    """The heads of one connection's requests. Remembers blocks that came before."""

    def __init__(self, list_bytes: int) -> None:
        self._limit = list_bytes
        # A list that is too long for a call is refused; one far beyond that ends the connection.
        self._blocks = BlockDecoder(4 * list_bytes)
        self._known: dict[bytes, Head] = {}

    def read(self, stream: int, block: bytes) -> Head:
        """The head of the request on `stream`.

        Raises:
            StreamFault: no request can look like this.
            ConnectionFault: the block cannot be decoded.
        """
        head = self._known.get(block)
        if head is not None:
            return head
        fields, table_changed = self._blocks.decode(block)
        if table_changed:
            self._known.clear()  # the same bytes may mean other fields now
        head = _head(stream, fields)
        if sum(len(name) + len(value) + 32 for name, value in fields) > self._limit:
            head.refusal = Refusal(RESOURCE_EXHAUSTED, f"metadata exceeds {self._limit} bytes")
        if len(self._known) < _KNOWN_BLOCKS and not table_changed:
            self._known[block] = head
        return head

    def skip(self, block: bytes) -> bool:
        """Decodes a block that no one wants, for the table's sake. Whether it was a request."""
        fields, table_changed = self._blocks.decode(block)
        if table_changed:
            self._known.clear()
        return any(name == b":path" for name, _ in fields)


def _head(stream: int, fields: Fields) -> Head:
    pseudo = _pseudo_fields(stream, fields)
    head = Head(pseudo[b":path"].decode("latin-1"))
    ordinary = dict(fields)
    try:
        _check_is_grpc(pseudo[b":method"], ordinary.get(b"content-type", b""))
        head.encoding = ordinary.get(b"grpc-encoding", b"identity")
        head.timeout = _seconds(ordinary.get(b"grpc-timeout"))
        head.length = _content_length(stream, ordinary.get(b"content-length"))
        head.metadata = _metadata(fields)
        head.authorization = ordinary.get(b"authorization", b"").decode("latin-1")
        head.request_id = ordinary.get(b"x-request-id", b"")[:_LONGEST_REQUEST_ID].decode("latin-1")
    except Refusal as refusal:
        head.refusal = refusal
    return head


def _pseudo_fields(stream: int, fields: Fields) -> dict[bytes, bytes]:
    pseudo: dict[bytes, bytes] = {}
    ordinary = False
    for name, value in fields:
        if name[:1] != b":":
            ordinary = True
            forbidden = name in _CONNECTION_FIELDS or (name == b"te" and value != b"trailers")
            if forbidden or not _NAME.fullmatch(name):
                raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "a field that must not be")
        elif ordinary or name in pseudo or name not in _PSEUDO:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "misplaced pseudo-header")
        else:
            pseudo[name] = value
        if _BAD_VALUE.search(value):
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "a value with a line break")
    if not pseudo.get(b":path") or not pseudo.get(b":method") or b":scheme" not in pseudo:
        raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "a pseudo-header is missing")
    return pseudo


def _check_is_grpc(method: bytes, content_type: bytes) -> None:
    if method != b"POST":
        raise Refusal(UNIMPLEMENTED, "gRPC calls are POST", http=405)
    if not _CONTENT_TYPE.fullmatch(content_type):
        raise Refusal(UNIMPLEMENTED, "the content type is not application/grpc", http=415)


def _seconds(text: bytes | None) -> float | None:
    if text is None:
        return None
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        raise Refusal(INTERNAL, "malformed grpc-timeout")
    return int(match[1]) * _SECONDS[match[2]]


def _content_length(stream: int, text: bytes | None) -> int | None:
    if text is None:
        return None
    if not text.isdigit() or len(text) > 12:
        raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "malformed content-length")
    return int(text)


def _metadata(fields: Fields) -> Metadata:
    pairs: list[tuple[str, str | bytes]] = []
    for name, value in fields:
        if name[:1] == b":" or name in _OURS:
            continue
        key = name.decode("latin-1")
        if not key.endswith("-bin"):
            pairs.append((key, value.decode("latin-1")))
            continue
        try:
            parts = [part.strip() for part in value.split(b",")]
            pairs += [
                (key, base64.b64decode(p + b"=" * (-len(p) % 4), validate=True)) for p in parts
            ]
        except binascii.Error:
            raise Refusal(INTERNAL, f"malformed binary metadata: {key[:64]}") from None
    return tuple(pairs)


def _decoded(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
