"""Requests and answers of the HTTP port as bytes, read and written off the event loop.

The Connect library decodes and encodes in the event loop, where a large message would hold up every
caller of every port. The codecs here only carry bytes; `Messages` reads and writes large ones in a
thread. There is one such thread: several would take turns with the event loop for the interpreter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from latens_serving.errors import InvalidInputError
from latens_serving.transports.http.json_requests import count_syntax, read_json
from latens_serving.transports.http.wire_bounds import check_values

JSON: Final = "json"
PROTO: Final = "proto"

# What is read and written in the event loop: less than a millisecond of work.
_SMALL_PROTO: Final = 4 << 10
_SMALL_JSON: Final = 64 << 10
_SMALL_SYNTAX: Final = 256
_SMALL_ANSWER: Final = 64 << 10

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class EncodedMessage:
    """A message as bytes, and their form."""

    content: bytes
    form: str
    message_class: type[Message]


@dataclass(frozen=True, slots=True)
class ByteCodec:
    """A codec of the Connect library that leaves the reading and the writing to `Messages`."""

    form: str

    def name(self) -> str:
        return self.form

    def encode(self, message: EncodedMessage) -> bytes:
        return message.content

    def decode(self, data: bytes | bytearray, message_class: type[Message]) -> EncodedMessage:
        return EncodedMessage(bytes(data), self.form, message_class)  # no copy of bytes


class Messages:
    """Reads and writes messages, large ones in a thread."""

    codecs: Final = (ByteCodec(PROTO), ByteCodec(JSON))

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "latens-http-messages")

    async def read(self, encoded: EncodedMessage) -> Message:
        """The message that the bytes hold.

        Raises:
            InvalidInputError: they are no such message, or one with too many values.
        """
        return await self._run(lambda: _read(encoded), small=_is_small(encoded))

    async def write(self, message: Message, form: str) -> EncodedMessage:
        """The bytes of a message."""
        content = await self._run(
            lambda: _written(message, form), small=message.ByteSize() <= _SMALL_ANSWER
        )
        return EncodedMessage(content, form, type(message))

    async def _run(self, work: Callable[[], _Result], *, small: bool) -> _Result:
        if small:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _is_small(encoded: EncodedMessage) -> bool:
    size = len(encoded.content)
    if encoded.form == PROTO:
        return size <= _SMALL_PROTO
    return size <= _SMALL_JSON and count_syntax(encoded.content) <= _SMALL_SYNTAX


def _read(encoded: EncodedMessage) -> Message:
    if encoded.form == JSON:
        return read_json(encoded.content, encoded.message_class)
    try:
        check_values(encoded.content, cast(Descriptor, encoded.message_class.DESCRIPTOR))
        return encoded.message_class.FromString(encoded.content)
    except DecodeError:
        raise InvalidInputError.at("request", "the bytes are no protobuf message") from None


def _written(message: Message, form: str) -> bytes:
    if form == PROTO:
        return message.SerializeToString()
    return json_format.MessageToJson(message, indent=None).encode()
