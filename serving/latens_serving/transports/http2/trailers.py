"""How a call ends: gRPC statuses as lists of header fields."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from urllib.parse import quote

from ngh2 import NeverIndexedHeader

Metadata = tuple[tuple[str, str | bytes], ...]
Fields = list[tuple[bytes, bytes]]

# gRPC status codes that the protocol itself answers with.
OK = 0
CANCELLED = 1
DEADLINE_EXCEEDED = 4
RESOURCE_EXHAUSTED = 8
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14

RESPONSE = ((b":status", b"200"), (b"content-type", b"application/grpc"))
OK_TRAILERS = ((b"grpc-status", b"0"),)

_LONGEST_MESSAGE = 1024
_LARGEST_LIST = 8 << 10
# Printable ASCII is sent as it is, by the gRPC protocol; the percent sign is not.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


@dataclass(frozen=True, slots=True)
class Status:
    """A gRPC status and trailing metadata; values are bytes only for names that end in `-bin`."""

    code: int
    message: str = ""
    metadata: Metadata = ()
    http: int = 200
    """The HTTP status, if nothing was sent before."""


class Refusal(Exception):  # noqa: N818 - an answer, not an error of ours
    """A request that is answered without a handler, or that a handler cannot read."""

    def __init__(self, code: int, message: str, *, http: int = 200) -> None:
        super().__init__(message)
        self.status = Status(code, message, http=http)


def trailers(status: Status) -> Fields:
    """The fields of a status after an answer."""
    fields = [(b"grpc-status", b"%d" % status.code)]
    if status.message:
        text = quote(status.message[:_LONGEST_MESSAGE], safe=_PLAIN)
        fields.append(NeverIndexedHeader(b"grpc-message", text.encode()))
    more: Fields = [NeverIndexedHeader(*_bytes(*pair)) for pair in status.metadata]
    if sum(len(name) + len(value) for name, value in more) > _LARGEST_LIST:
        return fields  # peers drop long trailers, and the status with them
    return fields + more


def trailers_only(status: Status) -> Fields:
    """The fields of an answer that is a status and nothing else."""
    if status.http != 200:
        head = [(b":status", b"%d" % status.http), (b"content-type", b"text/plain")]
    elif status.code == UNIMPLEMENTED:
        head = [*RESPONSE, (b"grpc-accept-encoding", b"identity,gzip")]
    else:
        head = [*RESPONSE]
    return head + trailers(status)


def _bytes(name: str, value: str | bytes) -> tuple[bytes, bytes]:
    if isinstance(value, bytes):
        return name.encode(), base64.b64encode(value).rstrip(b"=")
    return name.encode(), value.encode("latin-1", "replace")
