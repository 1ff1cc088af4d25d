"""ModelInfer messages with raw contents, read and written without copies of their elements.

Calls of one client differ in the elements and in little else. So the bytes before the elements are
remembered with what they mean, and the head of an answer with its shapes. What is not in the form
that serializers write is parsed by protobuf.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from latens import wire
from latens.oip import open_inference_pb2 as oip
from latens_serving.transports.oip.requests import ReadRequest
from latens_serving.transports.oip.responses import Inferred
from latens_serving.transports.tensor_messages import Part, Payload

_RAW_INPUT = oip.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
_RAW_OUTPUT_TAG = wire.varint(oip.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER << 3 | 2)
_ID_TAG = wire.varint(oip.ModelInferResponse.ID_FIELD_NUMBER << 3 | 2)
_KNOWN = 64
_HEAD_BYTES = 512


class _Known(NamedTuple):
    """A request whose elements are its last bytes."""

    head: bytes
    request: ReadRequest


class InferReader:
    """Reads requests of ModelInfer."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}  # by the length of the request

    def read(self, payload: Payload) -> tuple[ReadRequest, Payload | None]:
        """The request, and its raw contents where it has one element of them.

        The contents are a view over `payload`. Without them the request holds what it was sent.

        Raises:
            DecodeError: the bytes are no such message.
        """
        known = self._known.get(len(payload))
        if known is not None and payload[: len(known.head)] == known.head:
            return known.request, memoryview(payload)[len(known.head) :]
        return self._parse(payload)

    def _parse(self, payload: Payload) -> tuple[ReadRequest, Payload | None]:
        message, span = wire.take_bytes(oip.ModelInferRequest, payload, _RAW_INPUT)
        request = ReadRequest(message)
        if span is None:
            return request, None
        begin, end = span
        if begin <= _HEAD_BYTES and end == len(payload):
            if len(self._known) >= _KNOWN and len(payload) not in self._known:
                self._known.clear()
            self._known[len(payload)] = _Known(bytes(payload[:begin]), request)
        return request, memoryview(payload)[begin:end]


class InferWriter:
    """Writes answers of ModelInfer."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], list[bytes]] = {}

    def write(self, answer: Inferred) -> tuple[list[Part], int]:
        """The parts of an answer, in the order of their bytes, and their size."""
        begun = time.perf_counter_ns()
        shapes = tuple([array.shape for array in answer.outputs.values()])
        key = (answer.name, answer.version, tuple(answer.outputs), shapes)
        heads = self._known.get(key)
        if heads is None:
            heads = _heads(answer)
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[key] = heads
        parts: list[Part] = []
        size = 0
        if answer.id:  # the fields of a message may come in any order
            encoded = answer.id.encode()
            parts.append(_ID_TAG + wire.varint(len(encoded)) + encoded)
            size = len(parts[0])
        for head, array in zip(heads, answer.outputs.values(), strict=True):
            parts += (head, array.data)
            size += len(head) + array.nbytes
        answer.statistics.output_ns += time.perf_counter_ns() - begun
        return parts, size


def _heads(answer: Inferred) -> list[bytes]:
    """What comes before the elements of each output; the first holds the small fields, too."""
    heads = [_RAW_OUTPUT_TAG + wire.varint(array.nbytes) for array in answer.outputs.values()]
    heads[0] = answer.small_fields().SerializeToString() + heads[0]
    return heads
