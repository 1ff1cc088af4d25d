"""Measures the memory of a server after clients that made it hold much have left."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator

import grpc
import numpy as np
from hpack import Encoder

import http2_frames as frames
from floods import request
from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from process_figures import memory_of
from server_process import Server

MEBIBYTE = 1 << 20
GREETING = frames.PREFACE + frames.settings({}) + frames.frame(frames.SETTINGS, frames.ACK, 0)
_ROW = 28 * 28 * 4
_NO_LIMIT = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@contextlib.contextmanager
def _connection(address: str) -> Iterator[socket.socket]:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(GREETING)
        yield connection


def _send(connection: socket.socket, data: bytes) -> None:
    """Sends as much as the server takes."""
    with contextlib.suppress(OSError):
        connection.sendall(data)


def _is_done(connection: socket.socket) -> None:
    """Waits until the server has taken what was sent, or has closed."""
    with contextlib.suppress(OSError):
        connection.sendall(frames.frame(frames.PING, 0, 0, b"are we??"))
        seen = b""
        while b"are we??" not in seen:
            received = connection.recv(MEBIBYTE)
            if not received:
                return
            seen = seen[-16:] + received


def long_header_lists(address: str) -> None:
    """A hundred connections, each with 32 different lists of almost 64 KiB."""
    encoder = Encoder()
    sent = b""
    for number in range(1, 64, 2):
        filler = {f"x_filler_{place}": f"{number:03d}" * 2000 for place in range(9)}
        sent += request(encoder, number, "Nothing", frames.END_STREAM, huffman=False, **filler)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(_connection(address)) for _ in range(100)]
        for connection in connections:
            _send(connection, sent)
        for connection in connections:
            _is_done(connection)


def windows_exceeded(address: str) -> None:
    """Ten connections that send 64 MiB on a stream, whatever room they were given."""
    for _ in range(10):
        with _connection(address) as connection:
            begin = frames.body(1, struct.pack(">BI", 0, 64 * MEBIBYTE))
            _send(connection, request(Encoder(), 1, "Encode") + begin)
            for _ in range(64):
                _send(connection, frames.body(1, bytes(MEBIBYTE)))
            _is_done(connection)


def streams_cut_off(address: str) -> None:
    """Forty requests of 12 MiB, each reset before its end."""
    with _connection(address) as connection:
        encoder = Encoder()
        for number in range(1, 80, 2):
            begin = frames.body(number, struct.pack(">BI", 0, 12 * MEBIBYTE))
            _send(connection, request(encoder, number, "Encode") + begin)
            for _ in range(3):  # within the window
                _send(connection, frames.body(number, bytes(MEBIBYTE)))
            _send(connection, frames.reset(number, frames.ErrorCode.CANCEL))
        _is_done(connection)


def refused_calls(address: str) -> None:
    """Twenty Encodes of 50 MB with pixels of 0..255 in place of 0..1."""
    rows = 50_000_000 // _ROW
    images = np.full((rows, 1, 28, 28), 200, np.float32)
    wrong = pb.EncodeRequest(images=to_message(images))
    with grpc.insecure_channel(address, _NO_LIMIT) as channel:
        stub = latens_pb2_grpc.LatentServiceStub(channel)
        for _ in range(20):
            with contextlib.suppress(grpc.RpcError):
                stub.Encode(wrong, timeout=60)


def refused_reconstructs(address: str) -> None:
    """Forty Reconstructs of 12.5 MB, refused likewise."""
    rows = 12_500_000 // _ROW
    images = np.full((rows, 1, 28, 28), 200, np.float32)
    wrong = pb.ReconstructRequest(images=to_message(images))
    with grpc.insecure_channel(address, _NO_LIMIT) as channel:
        stub = latens_pb2_grpc.LatentServiceStub(channel)
        for _ in range(40):
            with contextlib.suppress(grpc.RpcError):
                stub.Reconstruct(wrong, timeout=60)


def answers_not_taken(address: str) -> None:
    """A hundred Samples of 500 images, on a connection that gives no room for answers."""
    body = pb.SampleRequest(count=500).SerializeToString()
    body = struct.pack(">BI", 0, len(body)) + body
    with _connection(address) as connection:
        encoder = Encoder()
        connection.sendall(frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: 0}))
        for number in range(1, 200, 2):
            _send(connection, request(encoder, number, "Sample"))
            _send(connection, frames.body(number, body, frames.END_STREAM))
        _is_done(connection)


CASES: dict[str, Callable[[str], None]] = {
    "100 connections with header lists of 64 KiB": long_header_lists,
    "more sent than the windows allow": windows_exceeded,
    "requests cut off in mid-message": streams_cut_off,
    "refused Encodes of 50 MB": refused_calls,
    "refused Reconstructs of 12.5 MB": refused_reconstructs,
    "answers that are not taken": answers_not_taken,
}


def growth_after(server: Server, case: str) -> int:
    """Bytes by which the server's memory grew, once the clients of a case are gone."""
    before = memory_of(server.pid)
    CASES[case](server.address)
    with grpc.insecure_channel(server.address) as channel:  # it is through with all of it
        latens_pb2_grpc.LatentServiceStub(channel).ListModels(pb.ListModelsRequest(), timeout=60)
    return memory_of(server.pid) - before
