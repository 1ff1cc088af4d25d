"""Measures how long other clients wait while one connection floods a server with frames.

`python tests/floods.py ADDRESS CASE SECONDS` is the flooding client, a process of its own.
"""

from __future__ import annotations

import argparse
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from hpack import Encoder

import http2_frames as frames
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc

SERVICE = "/latens.v1.LatentService"
STREAMS = 256
_SEND_BYTES = 64 << 10


@dataclass(frozen=True)
class Flood:
    """What a client sends.

    Attributes:
        start: after the greeting, once.
        more: the rest, piece by piece; the connection is opened anew when it ends or is closed.
    """

    start: Callable[[Encoder], bytes]
    more: Callable[[Encoder], Iterator[bytes]]


def request(
    encoder: Encoder,
    number: int,
    method: str,
    flags: int = 0,
    *,
    huffman: bool = True,
    **more: str,
) -> bytes:
    """The header list of a call, in as many frames as it takes."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", f"{SERVICE}/{method}")]
    fields += [(":authority", "x"), ("content-type", "application/grpc"), ("te", "trailers")]
    fields += [(name.replace("_", "-"), value) for name, value in more.items()]
    block = encoder.encode(fields, huffman=huffman)
    pieces = [block[at : at + 16384] for at in range(0, len(block), 16384)]
    head = frames.END_HEADERS if len(pieces) == 1 else 0
    sent = frames.frame(frames.HEADERS, head | flags, number, pieces[0])
    for place, piece in enumerate(pieces[1:], 2):
        last = frames.END_HEADERS if place == len(pieces) else 0
        sent += frames.frame(frames.CONTINUATION, last, number, piece)
    return sent


def _nothing(_: Encoder) -> bytes:
    return b""


def _endless(frame: bytes) -> Callable[[Encoder], Iterator[bytes]]:
    def more(_: Encoder) -> Iterator[bytes]:
        piece = frame * (_SEND_BYTES // len(frame))
        while True:
            yield piece

    return more


def _answers_that_wait(encoder: Encoder) -> bytes:
    """256 calls whose answers no window lets through."""
    body = pb.SampleRequest(count=8).SerializeToString()
    body = struct.pack(">BI", 0, len(body)) + body
    sent = frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: 0})
    for number in range(1, 2 * STREAMS, 2):
        sent += request(encoder, number, "Sample")
        sent += frames.body(number, body, frames.END_STREAM)
    return sent


def _half_calls(encoder: Encoder) -> bytes:
    """256 calls whose request has not come whole."""
    return b"".join(
        request(encoder, number, "Encode") + frames.body(number, b"\0\0")
        for number in range(1, 2 * STREAMS, 2)
    )


def _one_byte_frames(encoder: Encoder) -> bytes:
    begin = frames.body(1, struct.pack(">BI", 0, 16 << 20))
    return request(encoder, 1, "Encode") + begin


def _large_header_lists(encoder: Encoder) -> Iterator[bytes]:
    number = 1
    while True:
        filler = f"{number:08d}" + "%&" * 6000  # among the longest codes
        yield request(encoder, number, "Nothing", frames.END_STREAM, x_filler=filler)
        number += 2


def _resets(encoder: Encoder) -> Iterator[bytes]:
    number = 1
    while True:
        call = request(encoder, number, "Sample", frames.END_STREAM)
        yield call + frames.reset(number, frames.ErrorCode.CANCEL)
        number += 2


def _window(size: int) -> bytes:
    return frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: size})


FLOODS: dict[str, Flood] = {
    "PRIORITY of a wrong size": Flood(_nothing, _endless(frames.frame(2, 0, 1, bytes(4)))),
    "PRIORITY": Flood(_nothing, _endless(frames.frame(2, 0, 1, bytes(5)))),
    "PING": Flood(_nothing, _endless(frames.frame(frames.PING, 0, 0, bytes(8)))),
    "WINDOW_UPDATE": Flood(_nothing, _endless(frames.window_update(0, 1))),
    "WINDOW_UPDATE with 256 answers that wait": Flood(
        _answers_that_wait, _endless(frames.window_update(0, 1))
    ),
    "DATA of one byte": Flood(_one_byte_frames, _endless(frames.body(1, b"x"))),
    "empty DATA": Flood(_one_byte_frames, _endless(frames.body(1, b""))),
    "header lists in Huffman code": Flood(_nothing, _large_header_lists),
    "SETTINGS that open and close 256 windows": Flood(
        _half_calls, _endless(_window(0) + _window(65535))
    ),
    "RST_STREAM of every call": Flood(_nothing, _resets),
}


@contextmanager
def flooding(address: str, case: str, seconds: float) -> Iterator[None]:
    """A client that floods for a time, or until the block ends; fails if it could not connect."""
    command = [sys.executable, __file__, address, case, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "connected\n"
        try:
            yield
        finally:
            client.kill()


def largest_wait(address: str, seconds: float) -> float:
    """The largest wait, in seconds, of a caller that makes one call after the other."""
    with grpc.insecure_channel(address) as channel:
        stub = latens_pb2_grpc.LatentServiceStub(channel)
        stub.ListModels(pb.ListModelsRequest(), timeout=60)
        longest, end = 0.0, time.monotonic() + seconds
        while (begun := time.monotonic()) < end:
            stub.ListModels(pb.ListModelsRequest(), timeout=60)
            longest = max(longest, time.monotonic() - begun)
            time.sleep(0.002)
        return longest


def wait_under(address: str, case: str, seconds: float) -> float:
    """The largest wait of another client during one of the floods."""
    with flooding(address, case, seconds + 30):
        return largest_wait(address, seconds)


def answered_under(address: str, case: str, calls: int) -> int:
    """How many of so many calls of another client are answered while one of the floods goes on."""
    with flooding(address, case, 300), grpc.insecure_channel(address) as channel:
        stub = latens_pb2_grpc.LatentServiceStub(channel)
        answered = 0
        for _ in range(calls):
            stub.ListModels(pb.ListModelsRequest(), timeout=60)
            answered += 1
        return answered


def _flood(address: str, flood: Flood, seconds: float) -> None:
    host, _, port = address.rpartition(":")
    end, announced = time.monotonic() + seconds, False
    while time.monotonic() < end:
        encoder = Encoder()
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            if not announced:
                announced = True
                print("connected", flush=True)
            connection.sendall(frames.PREFACE + frames.settings({}) + frames.frame(4, 1, 0))
            try:
                _send(connection, flood.start(encoder), end)
                for piece in flood.more(encoder):
                    if not _send(connection, piece, end):
                        break
            except OSError:
                time.sleep(0.01)  # cut off: again


def _send(connection: socket.socket, data: bytes, end: float) -> bool:
    """Sends all of it and takes what comes meanwhile; False when the server or the time ended."""
    rest = memoryview(data)
    connection.setblocking(False)
    while rest:
        readable, writable, _ = select.select([connection], [connection], [], 1.0)
        if readable and not connection.recv(1 << 20):
            return False
        if writable:
            rest = rest[connection.send(rest) :]
        if time.monotonic() > end:
            return False
    return True


def main() -> None:
    """Runs as a flooding client."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("case", choices=FLOODS)
    parser.add_argument("seconds", type=float)
    options = parser.parse_args()
    _flood(options.address, FLOODS[options.case], options.seconds)


if __name__ == "__main__":
    main()
