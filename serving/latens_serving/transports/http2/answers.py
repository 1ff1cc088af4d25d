"""How a call ends otherwise than well: statuses as trailers."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from urllib.parse import quote

from latens_serving.transports.http2 import hpack_blocks
from latens_serving.transports.http2.headers import Refusal

_STATUS_200 = b"\x88"
_CONTENT_TYPE = ("content-type", "application/grpc")
_LONGEST_MESSAGE = 1024
_LARGEST_BLOCK = 8 << 10
# Printable ASCII goes as it is, by the gRPC protocol; the percent sign does not.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")

Trailers = Iterable[tuple[str, str | bytes]]


def trailers(code: int, message: str, more: Trailers = (), *, alone: bool = True) -> bytes:
    """The header block of a status.

    Args:
        code: of gRPC.
        message: for people; cut, and percent-encoded.
        more: trailing metadata; bytes only for names that end in `-bin`.
        alone: whether no headers went before.
    """
    status = [("grpc-status", str(code))]
    if message:
        status.append(("grpc-message", quote(message[:_LONGEST_MESSAGE], safe=_PLAIN)))
    head = _STATUS_200 + hpack_blocks.encode([_CONTENT_TYPE]) if alone else b""
    block = head + hpack_blocks.encode(status + [_textual(*pair) for pair in more])
    if len(block) <= _LARGEST_BLOCK:
        return block
    return head + hpack_blocks.encode(status)  # peers drop long trailers, the status with them


def refusal(answer: Refusal) -> bytes:
    """The header block of a refusal: a status of gRPC, or of HTTP for what is not gRPC."""
    if answer.http == 200:
        more = [("grpc-accept-encoding", "identity,gzip")]
        return trailers(answer.code, answer.message, more)
    fields = [(":status", str(answer.http)), ("content-type", "text/plain")]
    status = [
        ("grpc-status", str(answer.code)),
        ("grpc-message", quote(answer.message, safe=_PLAIN)),
    ]
    return hpack_blocks.encode(fields + status)


def _textual(name: str, value: str | bytes) -> tuple[str, str]:
    if isinstance(value, bytes):
        return name, base64.b64encode(value).rstrip(b"=").decode()
    return name, value
