"""CPU microseconds to read and to write a message, with protobuf and without it.

python benchmarks/wire.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens import wire
from latens.tensors import to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.transports.tensor_messages import AnswerWriter, RequestReader

_SECONDS = 0.25
_REPEATS = 5
_SHAPE = (1, 28, 28)
_ROWS = (1, 64, 1024)


def main() -> None:
    """Measures and prints."""
    cases = [
        (f"{dtype.__name__}, {rows}", rows, dtype)
        for dtype in (np.float32, np.uint8)
        for rows in _ROWS
    ]
    ways: dict[str, list[float]] = {}
    for _, rows, dtype in cases:
        for name, work in _ways(rows, dtype).items():
            ways.setdefault(name, []).append(_cpu_us(work))
    print("| us per message | " + " | ".join(name for name, _, _ in cases) + " |")
    print("|---" * (len(cases) + 1) + "|")
    for name, values in ways.items():
        print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in values) + " |")


def _ways(rows: int, dtype: type) -> dict[str, Callable[[], object]]:
    """All ways to read and to write a message with `rows` images."""
    images: NDArray[Any] = (np.random.default_rng(0).random((rows, *_SHAPE)) * 255).astype(dtype)
    request = pb.EncodeRequest(images=to_message(images)).SerializeToString()
    reader = RequestReader(pb.EncodeRequest)
    writer = AnswerWriter(pb.DecodeResponse, ("images",))
    empty = pb.DecodeResponse(version="1")
    key = (rows, dtype)

    def join() -> bytes:
        parts, _ = writer.write(key, lambda: empty, (images,))
        return b"".join(parts)

    return {
        "read: protobuf, field, numpy": lambda: to_array(
            pb.EncodeRequest.FromString(request).images
        ),
        "read: latens.wire": lambda: wire.parse(pb.EncodeRequest, request),
        "read: HTTP/2 front end": lambda: reader.read(request),
        "write: numpy, field, protobuf": lambda: pb.DecodeResponse(
            images=to_message(images), version="1"
        ).SerializeToString(),
        "write: latens.wire": lambda: wire.serialize(empty, {"images": images}),
        "write: HTTP/2 front end": join,
        "one copy of the bytes": lambda: bytearray(request),
    }


def _cpu_us(work: Callable[[], object]) -> float:
    """The smallest of several averages, because noise only adds time."""
    work()
    best = float("inf")
    for _ in range(_REPEATS):
        rounds, begun = 0, time.process_time()
        while (used := time.process_time() - begun) < _SECONDS / _REPEATS:
            work()
            rounds += 1
        best = min(best, used / rounds)
    return best * 1e6


if __name__ == "__main__":
    main()
