"""Memory of a gRPC front end under large calls, refused or answered, and unread answers.

Each case is a function of a server; `CASES` names them. `measure` tells what a server holds more
afterwards than before, once no call is under way.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.settings
import numpy as np

from latens.oip import open_inference_pb2 as oip
from latens.oip import open_inference_pb2_grpc
from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from process_figures import memory_of, metric_sum, wait_until
from server_process import Server

MODEL = "mnist-2d"
ROW_BYTES = 4 * 784
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
SECONDS = 60.0
MOST_GROWTH = 64 << 20
"""What large calls may leave behind: the allocator's slack, and not one call of 50 MB twice."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests of one size: images as the contract wants them, and of 0..255, a common mistake."""

    right: Any
    wrong: Any
    raw: bytes
    rows: int

    @classmethod
    def of(cls, rows: int) -> Requests:
        images = np.random.default_rng(0).random((rows, 1, 28, 28), np.float32)
        right, wrong = to_message(images), to_message(images * np.float32(255))
        return cls(right, wrong, images.tobytes(), rows)

    def infer(self) -> oip.ModelInferRequest:
        images = oip.ModelInferRequest.InferInputTensor(
            name="images", datatype="FP32", shape=[self.rows, 1, 28, 28]
        )
        return oip.ModelInferRequest(
            model_name=f"{MODEL}-encoder", inputs=[images], raw_input_contents=[self.raw]
        )

    def masks(self) -> Any:
        return to_message(np.ones((self.rows, 1, 28, 28), np.uint8))


def _encode(call: Requests) -> Any:
    return pb.EncodeRequest(model=MODEL, images=call.right)


def _encode_wrong(call: Requests) -> Any:
    return pb.EncodeRequest(model=MODEL, images=call.wrong)


def _decode(call: Requests) -> Any:
    return pb.DecodeRequest(model=MODEL, latents=to_message(np.zeros((call.rows, 2), np.float32)))


def _sample(call: Requests) -> Any:
    return pb.SampleRequest(model=MODEL, count=call.rows)


def _reconstruct(call: Requests) -> Any:
    return pb.ReconstructRequest(model=MODEL, images=call.right)


def _reconstruct_wrong(call: Requests) -> Any:
    return pb.ReconstructRequest(model=MODEL, images=call.wrong)


def _score(call: Requests) -> Any:
    return pb.ScoreRequest(model=MODEL, images=call.right, samples=1)


def _score_wrong(call: Requests) -> Any:
    return pb.ScoreRequest(model=MODEL, images=call.wrong, samples=1)


def _inpaint(call: Requests) -> Any:
    return pb.InpaintRequest(model=MODEL, images=call.right, masks=call.masks(), iterations=1)


def _inpaint_wrong(call: Requests) -> Any:
    masks = to_message(np.zeros((call.rows, 1, 28, 28), np.uint8))
    return pb.InpaintRequest(model=MODEL, images=call.wrong, masks=masks, iterations=1)


def _interpolate_wrong(call: Requests) -> Any:
    ends = pb.Endpoints(images=call.wrong)
    return pb.InterpolateRequest(model=MODEL, starts=ends, steps=2)


def _traverse_wrong(call: Requests) -> Any:
    axes = [pb.TraversalAxis(coordinate=0)]
    bases = pb.Endpoints(images=call.wrong)
    return pb.TraverseRequest(model=MODEL, bases=bases, steps=2, axes=axes)


def _infer(call: Requests) -> Any:
    return call.infer()


def _infer_wrong(call: Requests) -> Any:
    request = call.infer()
    request.inputs[0].name = "pictures"
    return request


CALLS: dict[str, tuple[str, Callable[[Requests], Any]]] = {
    "Encode, answered": ("Encode", _encode),
    "Encode, refused": ("Encode", _encode_wrong),
    "Decode, answered": ("Decode", _decode),
    "Sample, answered": ("Sample", _sample),
    "Reconstruct, answered": ("Reconstruct", _reconstruct),
    "Reconstruct, refused": ("Reconstruct", _reconstruct_wrong),
    "Score, answered": ("Score", _score),
    "Score, refused": ("Score", _score_wrong),
    "Inpaint, answered": ("Inpaint", _inpaint),
    "Inpaint, refused": ("Inpaint", _inpaint_wrong),
    "Interpolate, refused": ("Interpolate", _interpolate_wrong),
    "Traverse, refused": ("Traverse", _traverse_wrong),
    "ModelInfer, answered": ("ModelInfer", _infer),
    "ModelInfer, refused": ("ModelInfer", _infer_wrong),
}


@dataclass(frozen=True, slots=True)
class Held:
    """What a case left in a server's memory, in bytes."""

    name: str
    growth: int
    codes: tuple[str, ...]


def measure(server: Server, name: str, requests: Requests, calls: int, warm: int = 3) -> Held:
    """Makes so many calls of one kind, one after another.

    The first few allocate what the graphs work in, which stays; growth is what comes after.
    """
    method, make = CALLS[name]
    request = make(requests)
    with grpc.insecure_channel(server.address, OPTIONS) as channel:
        stub: Any = latens_pb2_grpc.LatentServiceStub(channel)
        if method == "ModelInfer":
            stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        ask = partial(_code_of, getattr(stub, method), request)
        for _ in range(warm):
            ask()
        before = settled_memory(server)
        codes = {ask() for _ in range(calls)}
        growth = _least_growth(server, before)
    return Held(name, growth, tuple(sorted(codes)))


def settled_memory(server: Server) -> int:
    """Resident bytes once they have stopped falling."""
    lowest, since = memory_of(server.pid), time.monotonic()
    while time.monotonic() - since < 1.5:
        time.sleep(0.05)
        now = memory_of(server.pid)
        if now < lowest:
            lowest, since = now, time.monotonic()
    return lowest


def _least_growth(server: Server, before: int, seconds: float = 15.0) -> int:
    """The growth once it is within the bound, or after so many seconds."""
    end = time.monotonic() + seconds
    while (growth := memory_of(server.pid) - before) > MOST_GROWTH and time.monotonic() < end:
        time.sleep(0.05)
    return growth


def _code_of(call: Any, request: Any) -> str:
    try:
        call(request, timeout=SECONDS)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code.name
    return "OK"


def ask_and_take_nothing(server: Server, calls: int, rows: int) -> socket.socket:
    """Asks for answers on a connection that gives them no room; the caller closes it."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    host, _, port = server.address.rpartition(":")
    head = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/latens.v1.LatentService/Sample"),
        (":authority", host),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    body = pb.SampleRequest(model=MODEL, count=rows).SerializeToString()
    begun = metric_sum(server, "grpc_server_started_total")
    ended = metric_sum(server, "grpc_server_handled_total")
    sending = socket.create_connection((host, int(port)))
    for number in range(1, 2 * calls, 2):
        connection.send_headers(number, head)
        connection.send_data(number, b"\0" + len(body).to_bytes(4, "big") + body, end_stream=True)
    sending.sendall(connection.data_to_send())
    for name, before in (("started", begun), ("handled", ended)):
        metric = f"grpc_server_{name}_total"
        wait_until(lambda m=metric, b=before: metric_sum(server, m) >= b + calls, SECONDS)  # type: ignore[misc]
    return sending
